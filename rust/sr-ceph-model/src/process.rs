//! Runs a command as a process of a host.

use sr::xapi::{ScannedVdi, XapiFields, XapiVdi};
use sr_ceph::faults::{Faults, FaultyHost, FaultyPool};
use sr_ceph::host::Mapped;
use sr_ceph::image_features::ImageFeatures;
use sr_ceph::vdi::create::NewDisk;
use sr_ceph::{CephSr, Error, ImageError, Result};
use uuid::Uuid;

use crate::{Bench, Command};

/// The result of a command that succeeded.
#[derive(Debug)]
pub(crate) enum Done {
    Nothing,
    /// The size in bytes.
    Grown(u64),
    Mapped(Mapped),
    Listed(Vec<ScannedVdi>),
}

/// A command's result, or `None` if it did not report how it ended.
pub(crate) type Outcome = Option<Result<Done>>;

/// What XAPI has when a command starts: the UUIDs of the numbers, and its records.
#[derive(Clone)]
pub(crate) struct Database {
    pub uuids: Vec<Uuid>,
    pub known: Vec<XapiVdi>,
}

pub(crate) fn named(name: &str) -> XapiFields {
    XapiFields {
        name_label: name.to_owned(),
        name_description: format!("about {name}"),
        ty: "user".into(),
        managed: true,
        ..XapiFields::default()
    }
}

/// Runs a command to its end.
pub(crate) fn run<'w, B: Bench>(
    bench: &B,
    process: &'w B::Process,
    faults: &Faults<'w>,
    (host, command): (usize, Command),
    database: &Database,
) -> Outcome {
    let (inner_pool, inner_host) = B::sides(process);
    let pool = FaultyPool::new(inner_pool, faults);
    let faulty_host = FaultyHost::new(inner_host, faults);
    let uuid = |vdi: usize| &database.uuids[vdi];
    if let Command::Deactivate(vdi) = command {
        bench.set_used(host, uuid(vdi), false);
    }
    let sr = CephSr::new(&pool, &faulty_host, bench.sr(), ImageFeatures::DEFAULT);
    let result = perform::<B>(&sr, command, database);
    if let (Ok(Done::Mapped(mapped)), Command::Activate { vdi, .. }) = (&result, command) {
        bench.set_used(host, uuid(vdi), !mapped.read_only);
    }
    bench.stop(process);
    let faulty = faults.killed() || (faults.hit().is_some() && result.is_err());
    (!faulty).then_some(result)
}

/// Drops the result of a command that failed because another host acted at the same time.
pub(crate) fn unless_overtaken(outcome: Outcome) -> Outcome {
    outcome.filter(|result| !matches!(result, Err(error) if is_surprise(error)))
}

fn perform<B: Bench>(sr: &CephSr<'_>, command: Command, database: &Database) -> Result<Done> {
    let uuid = |vdi: usize| &database.uuids[vdi];
    let nothing = |()| Done::Nothing;
    match command {
        Command::Create(vdi) => {
            let disk = NewDisk {
                uuid: *uuid(vdi),
                size: i128::from(B::NEW * B::UNIT),
                xapi: named("disk"),
            };
            sr.create_disk(&disk).map(|_| Done::Nothing)
        }
        Command::Snapshot { of, new } => {
            sr.snapshot_vdi(uuid(of), uuid(new)).map(|_| Done::Nothing)
        }
        Command::Clone { of, new } => sr.clone_vdi(uuid(of), uuid(new)).map(|_| Done::Nothing),
        Command::Revert { disk, to } => sr.revert_vdi(uuid(disk), uuid(to)).map(|_| Done::Nothing),
        Command::Delete(vdi) => sr.delete_vdi(uuid(vdi)).map(nothing),
        Command::Grow { disk, units } => sr
            .resize_vdi(uuid(disk), i128::from(units * B::UNIT))
            .map(Done::Grown),
        Command::Activate { vdi, writable } => {
            sr.activate_vdi(uuid(vdi), writable).map(Done::Mapped)
        }
        Command::Deactivate(vdi) => sr.deactivate_vdi(uuid(vdi)).map(nothing),
        Command::Scan => sr.scan(&database.known).map(|scan| Done::Listed(scan.vdis)),
        Command::Attach => sr.attach_sr().map(nothing),
    }
}

/// Returns whether an error only occurs if another host has changed the VDI meanwhile.
fn is_surprise(error: &Error) -> bool {
    matches!(
        error,
        Error::Ceph { .. }
            | Error::Host { .. }
            | Error::Changed(_)
            | Error::NotUndone { .. }
            | Error::Image(
                ImageError::NameTaken { .. }
                    | ImageError::Missing { .. }
                    | ImageError::SnapshotMissing { .. }
            )
    )
}
