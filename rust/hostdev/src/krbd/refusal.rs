//! Explains why the kernel refused a map, from its errno and its log.

use std::io;

use nix::errno::Errno;

use super::keyring;
use super::request::MapRequest;
use crate::features::ImageFeatures;
use crate::Error;

/// Returns the error for a refused request, from the kernel's errno and its log.
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
        advice: logged(request, log).unwrap_or_else(|| advice(request, &source)),
        image,
        source,
        reason: (!log.is_empty()).then(|| log.join("; ")),
    }
}

/// Returns the features in `rbd: image NAME: image uses unsupported features: 0x40`.
fn unsupported_features(log: &[String], image: &str) -> Option<ImageFeatures> {
    let about = format!("rbd: image {image}: image uses unsupported features: 0x");
    log.iter().find_map(|message| {
        let digits = message.strip_prefix(&about)?;
        let bits = u64::from_str_radix(digits.trim(), 16).ok()?;
        Some(ImageFeatures::from_bits_retain(bits))
    })
}

/// Returns the remedy if the kernel's log shows the cause. The errno is ETIMEDOUT or EIO for all of these.
fn logged(request: &MapRequest, log: &[String]) -> Option<String> {
    let shows = |text: &str| log.iter().any(|message| message.contains(text));
    let version = request.ms_mode.version();
    if shows("no match of type") {
        return Some(format!(
            "a monitor or an OSD of the cluster has no v{version} address, and the kernel uses protocol \
             v{version} (ms_mode={}): compare `ceph mon dump` and `ceph osd dump`; run \
             `ceph config set osd ms_bind_msgr{version} true` and restart the OSDs, or choose \
             another device-config:ms_mode",
            request.ms_mode.name()
        ));
    }
    if shows("another match of type") {
        return Some(format!(
            "a monitor or an OSD of the cluster has two v{version} addresses (IPv4 and IPv6), which \
             this kernel does not support: update the kernel, or compare `ceph mon dump` and \
             `ceph osd dump`, run `ceph config set global ms_bind_ipv4 false` (or ms_bind_ipv6) and \
             restart the daemons"
        ));
    }
    if shows("failed to allocate gcm tfm context") {
        return Some(
            "the kernel lacks the algorithm for encryption (ms_mode=secure): `modprobe gcm`"
                .to_owned(),
        );
    }
    if shows("' not allowed") {
        return Some(format!(
            "the cluster accepts no connections with ms_mode={}: choose another \
             device-config:ms_mode (prefer-crc and prefer-secure also use the mode that the cluster \
             requires), or \
             compare `ceph config get mon ms_mon_service_mode` and `ceph config get osd \
             ms_service_mode`",
            request.ms_mode.name()
        ));
    }
    let unprepared = [
        "cannot prepare key",
        "no cipher",
        "failed to load transform",
    ];
    unprepared
        .iter()
        .any(|text| shows(text))
        .then(|| keyring::ALGORITHMS.to_owned())
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
                          be mapped); scan the storage repository (`xe sr-scan uuid=SR_UUID`)"
            .to_owned(),
        Errno::ETIMEDOUT | Errno::EIO if request.ms_mode.speaks_v2() => format!(
            "no monitor accepted a connection: check that this host reaches {} (open port 3300), or \
             use the protocol v1 on port 6789 with device-config:ms_mode=legacy",
            request.monitors.join(", ")
        ),
        Errno::ETIMEDOUT | Errno::EIO => format!(
            "no monitor accepted a connection: check that this host reaches {} and that these are v1 \
             addresses (`ceph mon dump`)",
            request.monitors.join(", ")
        ),
        Errno::ENOPKG => keyring::ALGORITHMS.to_owned(),
        Errno::EINVAL => format!(
            "the kernel cannot map this image: it has more than 16 parents or 510 snapshots \
             (`rbd snap ls {0}` and `rbd info {0}`), or the kernel does not support a map option",
            request.image_spec()
        ),
        Errno::ENXIO => format!(
            "the image has a feature that this kernel does not support: compare `rbd info {}` with \
             `cat /sys/bus/rbd/supported_features`",
            request.image_spec()
        ),
        Errno::ESHUTDOWN => "this host's kernel client is on the cluster's blocklist, and a new \
                             one was refused too: `ceph osd dump` lists the blocklist at its end; \
                             wait until the entries of this host's addresses expire"
            .to_owned(),
        _ => "see `dmesg`".to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::krbd::sim::request;
    use crate::MsMode;

    fn refused(errno: Errno, log: &[&str]) -> (Error, String) {
        let log: Vec<String> = log.iter().map(|line| (*line).to_owned()).collect();
        let error = explain(&request(), errno.into(), &log);
        let message = error.to_string();
        (error, message)
    }

    #[test]
    fn the_error_of_unsupported_features_has_the_command_that_drops_them() {
        let (error, message) = refused(
            Errno::ENXIO,
            &["rbd: image disk: image uses unsupported features: 0x58"],
        );
        assert_eq!(error.errno(), 6);
        assert!(
            message.contains("features object-map,fast-diff,journaling;"),
            "{message}"
        );
        assert!(
            message.contains("`rbd feature disable pool/disk object-map fast-diff journaling`"),
            "{message}"
        );
    }

    #[test]
    fn the_error_has_no_command_for_a_feature_that_cannot_be_dropped() {
        let (_, message) = refused(
            Errno::ENXIO,
            &["rbd: image disk: image uses unsupported features: 0x480"],
        );
        assert!(!message.contains("feature disable"), "{message}");
        assert!(
            message.contains("data-pool,non-primary cannot be dropped"),
            "{message}"
        );
    }

    #[test]
    fn a_log_message_about_another_image_is_no_cause() {
        let (error, message) = refused(
            Errno::ENXIO,
            &["rbd: image disk2: image uses unsupported features: 0x40"],
        );
        assert!(matches!(error, Error::Map { .. }), "{message}");
        assert!(message.contains("disk2"), "the log is quoted: {message}");
    }

    #[test]
    fn each_errno_of_a_refused_map_has_its_own_remedy() {
        for (errno, clue) in [
            (Errno::EACCES, "client.xcp"),
            (Errno::EPERM, "osd 'profile rbd pool=pool'"),
            (Errno::ENOENT, "trash"),
            (Errno::ETIMEDOUT, "10.0.0.1:6789, 10.0.0.2:6789"),
            (Errno::EINVAL, "16 parents"),
            (Errno::ENXIO, "supported_features"),
            (Errno::ESHUTDOWN, "`ceph osd dump` lists the blocklist"),
            (Errno::ENOPKG, "cts krb5enc"),
            (Errno::ENOMEM, "dmesg"),
        ] {
            let (error, message) = refused(errno, &[]);
            assert_eq!(error.errno(), errno as i32);
            assert!(message.contains("pool/disk"), "{message}");
            assert!(
                message.contains(&format!("({}): ", errno as i32)),
                "{message}"
            );
            assert!(message.contains(clue), "{message}");
        }
    }

    #[test]
    fn each_cause_in_the_log_has_its_own_remedy() {
        for (line, clue) in [
            (
                "libceph: no match of type 1 in addrvec",
                "ms_bind_msgr1 true",
            ),
            (
                "libceph: another match of type 1 in addrvec",
                "ms_bind_ipv4 false",
            ),
            (
                "libceph: failed to allocate gcm tfm context: -2",
                "modprobe gcm",
            ),
            (
                "libceph: preferred mode 'crc' not allowed",
                "choose another device-config:ms_mode",
            ),
            (
                "libceph: fallback mode 'crc' not allowed",
                "`ceph config get osd ms_service_mode`",
            ),
            ("libceph: cannot prepare key: -65", "modprobe -a aes cbc"),
        ] {
            let (error, message) = refused(Errno::ETIMEDOUT, &[line]);
            assert_eq!(error.errno(), Errno::ETIMEDOUT as i32);
            assert!(message.contains(clue), "{message}");
            assert!(message.contains(line), "{message}");
        }
    }

    #[test]
    fn the_error_without_a_v2_connection_suggests_legacy_mode() {
        let mut request = request();
        request.ms_mode = MsMode::PreferCrc;
        let error = explain(&request, Errno::ETIMEDOUT.into(), &[]);
        assert!(error.to_string().contains("device-config:ms_mode=legacy"));
    }

    #[test]
    fn the_error_quotes_the_kernel_log() {
        let (_, message) = refused(Errno::EINVAL, &["rbd: parent chain is too long (17)"]);
        assert!(
            message.contains("parent chain is too long (17)"),
            "{message}"
        );
    }
}
