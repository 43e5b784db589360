//! Why the kernel refused a map: its errno and its log, put in the administrator's words.

use std::io;

use nix::errno::Errno;

use super::MapRequest;
use crate::Error;

/// Makes one error of what the kernel answered to `request` and what it logged meanwhile.
pub(super) fn explain(request: &MapRequest, source: io::Error, log: &[String]) -> Error {
    let image = request.spec();
    if let Some(unsupported) = unsupported_features(log, &request.image_name) {
        return Error::UnsupportedFeatures {
            image,
            pool_and_image: request.image_spec(),
            unsupported,
        };
    }
    Error::Map {
        advice: advice(request, &source),
        image,
        source,
        reason: (!log.is_empty()).then(|| log.join("; ")),
    }
}

/// The mask in `rbd: image NAME: image uses unsupported features: 0x40`.
fn unsupported_features(log: &[String], image: &str) -> Option<u64> {
    let about = format!("rbd: image {image}: image uses unsupported features: 0x");
    log.iter().find_map(|message| {
        let digits = message.strip_prefix(&about)?;
        u64::from_str_radix(digits.trim(), 16).ok()
    })
}

fn advice(request: &MapRequest, source: &io::Error) -> String {
    let user = &request.user;
    let pool = &request.pool_name;
    match Errno::from_raw(source.raw_os_error().unwrap_or(0)) {
        Errno::EACCES | Errno::EPERM => format!(
            "the cluster refused client.{user}: compare the key with `ceph auth get client.{user}`, \
             and its caps with mon 'profile rbd', osd 'profile rbd pool={pool}'"
        ),
        Errno::ENOENT => "there is no such pool, image or snapshot (an image in the trash cannot \
                          be mapped); scan the storage repository"
            .to_owned(),
        Errno::ETIMEDOUT | Errno::EIO => format!(
            "no monitor let this host in: check that it reaches {} and that they speak msgr v1 there",
            request.monitors.join(", ")
        ),
        Errno::EINVAL => "krbd cannot map this image: more than 16 parents or 510 snapshots, or an \
                          option this kernel does not know"
            .to_owned(),
        Errno::ENXIO => "the image uses something this kernel does not support: compare `rbd info` \
                         with /sys/bus/rbd/supported_features"
            .to_owned(),
        Errno::ESHUTDOWN => "this host's kernel client is on the cluster's blocklist: see `ceph osd \
                             blocklist ls`, and map with a new client (noshare)"
            .to_owned(),
        _ => "see `dmesg`".to_owned(),
    }
}
