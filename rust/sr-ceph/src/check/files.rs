//! Ceph's files on this host, as librados reads them.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use librbd::{CephFile, Sources};
use sr::check::Outcome;

use crate::ceph::connection::{get_key, make_aes_key, name_monitors};
use crate::device_config::DeviceConfig;

/// The configuration file.
pub(super) fn conf(sources: &Sources) -> Outcome {
    let Some(file) = &sources.conf else {
        return Outcome::Ok("none: device-config:mon_host names the monitors".to_owned());
    };
    let shown = file.path.display();
    if let Some(outcome) = file_faults(file) {
        return outcome;
    }
    let Some(monitors) = &sources.monitors else {
        return Outcome::warning(
            format!("{shown} can be read, but mon_host is not set in it: librados looks the monitors up in DNS"),
            name_monitors(Some(&file.path)),
        );
    };
    let place = match sources.monitors_were_given {
        true => "device-config:mon_host",
        false => "its mon_host",
    };
    Outcome::Ok(format!(
        "{shown} can be read; the monitors of {place}: {monitors}"
    ))
}

/// The file with the user's key.
pub(super) fn keyring(sources: &Sources, config: &DeviceConfig, make_user: &str) -> Outcome {
    let user = config.user();
    let Some(file) = &sources.keyring else {
        return no_keyring(sources, config, make_user);
    };
    let shown = file.path.display();
    if !sources.has_key() {
        let reason = file
            .refusal
            .as_ref()
            .map_or_else(String::new, |fault| format!(", {fault}"));
        let fix = match file.refusal.as_ref() {
            Some(fault) if fault.line.is_some() => fault.fix.clone(),
            _ => get_or_make_key(Some(file), config, make_user),
        };
        return Outcome::failed(format!("{shown}{reason}"), fix);
    }
    if let Some(outcome) = file_faults(file) {
        return outcome;
    }
    match regular_file(&file.path) {
        Ok(mode) if mode & 0o077 != 0 => {
            return Outcome::warning(
                format!("{shown} can be read by others than its owner"),
                format!("chmod 600 {shown}"),
            );
        }
        Ok(_) => {}
        Err(error) => {
            return Outcome::failed(
                format!(
                    "cannot read {shown}: {}",
                    hostos::errno::describe_io(&error)
                ),
                get_key(Some(&file.path), config),
            );
        }
    }
    if let Some((other, number)) = &sources.newer_key {
        return Outcome::warning(
            format!(
                "{shown}: the key of {other} is of type {number} (2: AES-256, aes256k); librados before 20.2.4 \
                 cannot read it, and kernels before 7.0 do not accept it"
            ),
            make_aes_key(user),
        );
    }
    Outcome::Ok(format!("{shown} has the key of client.{user}"))
}

fn get_or_make_key(used: Option<&CephFile>, config: &DeviceConfig, make_user: &str) -> String {
    let get = get_key(used.map(|file| file.path.as_path()), config);
    format!("{get}. If the user does not exist: {make_user}")
}

fn no_keyring(sources: &Sources, config: &DeviceConfig, make_user: &str) -> Outcome {
    let user = config.user();
    match (&sources.conf, sources.has_key()) {
        (_, true) => Outcome::Ok(format!("Ceph's configuration has the key of client.{user}")),
        (Some(conf), false) if conf.refusal.is_some() => Outcome::NotRun {
            because: format!("fix {} first", conf.path.display()),
        },
        _ => Outcome::failed(
            format!(
                "no key of client.{user} was found in {}",
                sources.key_places()
            ),
            get_or_make_key(None, config, make_user),
        ),
    }
}

/// What librados refuses or ignores in a file.
fn file_faults(file: &CephFile) -> Option<Outcome> {
    let shown = file.path.display();
    if let Some(fault) = &file.refusal {
        return Some(Outcome::failed(
            format!("{shown}, {fault}"),
            fault.fix.clone(),
        ));
    }
    let warnings: Vec<_> = file.warnings.iter().map(ToString::to_string).collect();
    let first = file.warnings.first()?;
    Some(Outcome::warning(
        format!("{shown}, {}", warnings.join("; ")),
        first.fix.clone(),
    ))
}

/// Returns the mode of a regular file that can be read. Reading a device or a pipe might never end.
pub(super) fn regular_file(path: &Path) -> io::Result<u32> {
    let metadata = path.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    File::open(path)?;
    Ok(metadata.mode())
}
