//! The lines of a check if no connection is made.

use librbd::{Cause, Error};
use sr::check::{CheckLine, Outcome};

use super::topics::{not_run, CONF, KEYRING, MONITORS, TOPICS, USER};
use crate::ceph::connection;
use crate::device_config::DeviceConfig;

/// Returns the lines if no connection is made. A fault of a file replaces that file's line.
pub(super) fn lines(
    config: &DeviceConfig,
    make_user: &str,
    error: &crate::Error,
) -> Vec<CheckLine> {
    let found = match error {
        crate::Error::Unreachable { source, .. } => source.to_string(),
        other => other.to_string(),
    };
    let failure = match error {
        crate::Error::Unreachable {
            source: Error::NoConnection(failure),
            ..
        } => Some(failure),
        _ => None,
    };
    let fix = match error {
        crate::Error::Unreachable { source, .. } => connection::fix(source, config),
        _ => None,
    };
    let fix = fix.unwrap_or_else(|| {
        "on a node of the cluster: ceph -s; ceph mon dump; and see /var/log/SMlog here".to_owned()
    });
    let topic = failure.map_or(MONITORS, |failure| match failure.cause {
        Cause::NoMonitors | Cause::NoMethod => CONF,
        Cause::UnknownHosts(_) | Cause::BadMonitors(_) if !failure.sources.monitors_were_given => {
            CONF
        }
        Cause::NoKey | Cause::KeyType => KEYRING,
        Cause::Refused => USER,
        Cause::UnknownHosts(_) | Cause::BadMonitors(_) | Cause::Silent | Cause::Other => MONITORS,
    });
    let topic = match error {
        crate::Error::Unreachable {
            source: Error::File { role, .. },
            ..
        } if *role == librbd::KEYRING => KEYRING,
        _ => topic,
    };
    let mut lines = Vec::new();
    let fix = match topic {
        USER | KEYRING => format!("{fix}. If the user does not exist: {make_user}"),
        _ => fix,
    };
    let failed = Outcome::failed(found, fix).on(topic);
    match topic {
        MONITORS => lines.push(failed),
        USER => {
            lines.push(Outcome::Ok("they reply".to_owned()).on(MONITORS));
            lines.push(failed);
        }
        _ => {
            lines.push(failed);
            lines.extend(not_run(&TOPICS, &format!("fix {topic} first")));
            return lines;
        }
    }
    lines.extend(not_run(&TOPICS[lines.len()..], "there is no connection"));
    lines
}
