//! Checks of this host: Ceph's client libraries and files, and the kernel's RBD client.

use std::path::Path;
use std::time::Duration;

use hostdev::{KernelRelease, Krbd, Module};
use librbd::Library;
use sr::check::{CheckLine, Outcome};

use super::files::{self, regular_file};
use super::topics::{not_run, CONF, KEYRING};
use crate::ceph::{connect_options, connection};
use crate::device_config::DeviceConfig;
use crate::image_features::ImageFeatures;

const LIBRARY: &str = "client library";
const KERNEL: &str = "kernel module";
const FEATURES: &str = "image features";

/// Checks what a connection needs. `make_user`: the command that creates the user.
pub(super) fn prerequisites(
    config: &DeviceConfig,
    make_user: &str,
    deadline: Duration,
) -> Vec<CheckLine> {
    let library = library();
    let sources = match library {
        Outcome::Ok(_) => librbd::inspect(&connect_options(config, deadline)).ok(),
        _ => None,
    };
    // Without sources: the library cannot be opened, or a file cannot be read. The checks below report that.
    let (conf, keyring) = match &sources {
        Some(sources) => (
            files::conf(sources),
            files::keyring(sources, config, make_user),
        ),
        None => (conf(config.ceph_conf()), keyring(config)),
    };
    vec![library.on(LIBRARY), conf.on(CONF), keyring.on(KEYRING)]
}

fn library() -> Outcome {
    match Library::load().and_then(Library::versions) {
        Ok(versions) => {
            let (rados, rbd) = (versions.rados, versions.rbd);
            Outcome::Ok(format!(
                "librados {}.{}.{} ({}), librbd {}.{}.{} ({})",
                rados.0,
                rados.1,
                rados.2,
                versions.rados_path.display(),
                rbd.0,
                rbd.1,
                rbd.2,
                versions.rbd_path.display()
            ))
        }
        Err(error) => Outcome::failed(
            error.to_string(),
            "yum install ceph-common (XCP-ng), apt install ceph-common (Debian)",
        ),
    }
}

fn conf(path: Option<&Path>) -> Outcome {
    let Some(path) = path else {
        return Outcome::Ok("none: device-config:mon_host names the monitors".to_owned());
    };
    readable(path, || {
        format!(
            "on a node of the cluster: ceph config generate-minimal-conf; put its output into {} \
             here, or name another file: device-config:ceph_conf=PATH",
            path.display()
        )
    })
}

/// The user's keyring, if librados cannot report it.
fn keyring(config: &DeviceConfig) -> Outcome {
    let path = config
        .keyring()
        .map_or_else(|| config.default_keyring(), Path::to_owned);
    readable(&path, || connection::get_key(None, config))
}

fn readable(path: &Path, fix: impl FnOnce() -> String) -> Outcome {
    match regular_file(path) {
        Ok(_) => Outcome::Ok(format!("{} can be read", path.display())),
        Err(error) => {
            let reason = hostos::errno::describe_io(&error);
            Outcome::failed(format!("cannot read {}: {reason}", path.display()), fix())
        }
    }
}

/// Checks the kernel's RBD client, which is loaded if necessary, and whether it can map the SR's images.
pub(super) fn kernel(config: &DeviceConfig, krbd: &Krbd, deadline: Duration) -> Vec<CheckLine> {
    let module = match old_kernel(config, krbd) {
        Some(old) => old,
        None => module(krbd, deadline),
    };
    let features = match module {
        Outcome::Ok(_) => vec![features(config, krbd).on(FEATURES)],
        _ => not_run(&[FEATURES], "fix the kernel module first"),
    };
    let mut lines = vec![module.on(KERNEL)];
    lines.extend(features);
    lines
}

/// A kernel that cannot map an image of the SR, because it is in a namespace.
fn old_kernel(config: &DeviceConfig, krbd: &Krbd) -> Option<Outcome> {
    let release = krbd.check_kernel().ok()?.release;
    let kernel = KernelRelease { name: release };
    if config.namespace().is_empty() || kernel.maps_namespaces() {
        return None;
    }
    Some(Outcome::failed(
        format!(
            "Linux {} cannot map images in a namespace, which needs Linux 4.19",
            kernel.name
        ),
        "update the host, or use an SR without device-config:namespace",
    ))
}

fn module(krbd: &Krbd, deadline: Duration) -> Outcome {
    let install = "install the kernel's package that has rbd.ko, then: modprobe rbd";
    let facts = match krbd.check_kernel() {
        Ok(facts) => facts,
        Err(error) => return Outcome::failed(error.to_string(), "mount /sys and /proc"),
    };
    let release = facts.release;
    match facts.module {
        Module::Loaded => Outcome::Ok(format!("Linux {release} has rbd loaded")),
        Module::Missing(reason) => {
            Outcome::failed(format!("Linux {release} has no rbd: {reason}"), install)
        }
        Module::Loadable => match krbd.load_module(deadline) {
            Ok(()) => Outcome::Ok(format!("Linux {release} has rbd; it is loaded now")),
            Err(error) => Outcome::failed(error.to_string(), install),
        },
    }
}

fn features(config: &DeviceConfig, krbd: &Krbd) -> Outcome {
    let wanted = config.image_format().needed_features();
    let supported = match krbd.mappable_features() {
        Ok(Some(bits)) => ImageFeatures::from_bits(bits),
        Ok(None) => {
            return Outcome::warning(
                format!("this kernel does not report the features that it supports; new images get {wanted}"),
                "if activation fails: device-config:image_features=layering",
            )
        }
        Err(error) => return Outcome::failed(error.to_string(), "ls -l /sys/bus/rbd"),
    };
    let lacking = wanted.minus(supported);
    if lacking.is_empty() {
        return Outcome::Ok(format!("this kernel can map {wanted}"));
    }
    if lacking.contains(ImageFeatures::STRIPING) {
        return Outcome::failed(
            "this kernel cannot map images with stripes, which need Linux 4.17".to_owned(),
            "update the host, or leave device-config:stripe_unit and stripe_count out",
        );
    }
    Outcome::failed(
        format!("this kernel cannot map {lacking}; it can map {supported}"),
        format!("device-config:image_features={}", wanted.minus(lacking)),
    )
}
