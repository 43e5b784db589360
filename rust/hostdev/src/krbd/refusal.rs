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
        Errno::ESHUTDOWN => "this host's kernel client is on the cluster's blocklist, and a new \
                             one was refused too: see `ceph osd blocklist ls` for this host's \
                             addresses, and have them removed (`ceph osd blocklist rm`)"
            .to_owned(),
        _ => "see `dmesg`".to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::krbd::standin::request;

    fn refused(errno: Errno, log: &[&str]) -> (Error, String) {
        let log: Vec<String> = log.iter().map(|line| (*line).to_owned()).collect();
        let error = explain(&request(), errno.into(), &log);
        let message = error.to_string();
        (error, message)
    }

    #[test]
    fn features_the_kernel_lacks_are_named_with_the_command_that_drops_them() {
        let (error, message) = refused(
            Errno::ENXIO,
            &["rbd: image disk: image uses unsupported features: 0x58"],
        );
        assert_eq!(error.errno(), 6);
        assert!(
            message.contains("features object-map, fast-diff, journaling;"),
            "{message}"
        );
        assert!(
            message.contains("`rbd feature disable pool/disk object-map fast-diff journaling`"),
            "{message}"
        );
    }

    #[test]
    fn a_feature_that_cannot_be_dropped_is_not_offered_to_be() {
        let (_, message) = refused(
            Errno::ENXIO,
            &["rbd: image disk: image uses unsupported features: 0x480"],
        );
        assert!(!message.contains("feature disable"), "{message}");
        assert!(
            message.contains("data-pool, 0x400 cannot be dropped"),
            "{message}"
        );
    }

    #[test]
    fn features_of_another_image_mapped_meanwhile_are_not_blamed_on_this_one() {
        let (error, message) = refused(
            Errno::ENXIO,
            &["rbd: image disk2: image uses unsupported features: 0x40"],
        );
        assert!(matches!(error, Error::Map { .. }), "{message}");
        assert!(message.contains("disk2"), "the log is quoted: {message}");
    }

    #[test]
    fn each_refusal_names_the_image_the_errno_and_what_to_look_at() {
        for (errno, clue) in [
            (Errno::EACCES, "client.xcp"),
            (Errno::EPERM, "osd 'profile rbd pool=pool'"),
            (Errno::ENOENT, "trash"),
            (Errno::ETIMEDOUT, "10.0.0.1:6789, 10.0.0.2:6789"),
            (Errno::EINVAL, "16 parents"),
            (Errno::ENXIO, "supported_features"),
            (Errno::ESHUTDOWN, "blocklist rm"),
            (Errno::ENOMEM, "dmesg"),
        ] {
            let (error, message) = refused(errno, &[]);
            assert_eq!(error.errno(), errno as i32);
            assert!(message.contains("pool/disk"), "{message}");
            assert!(
                message.contains(&format!("os error {}", errno as i32)),
                "{message}"
            );
            assert!(message.contains(clue), "{message}");
        }
    }

    #[test]
    fn the_kernels_own_words_are_quoted() {
        let (_, message) = refused(Errno::EINVAL, &["rbd: parent chain is too long (17)"]);
        assert!(
            message.contains("parent chain is too long (17)"),
            "{message}"
        );
    }
}
