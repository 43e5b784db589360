//! Every alarm. `docs/user/monitoring.md` lists them, and a test compares.

use crate::finding::table;
use crate::finding::Kind;

/// What an alarm is about, and so which host raises it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The SR: one host of the pool raises it.
    Sr,
    /// A host: this host raises it.
    Host,
}

/// A kind of alarm.
#[derive(Debug, PartialEq, Eq)]
pub struct AlarmType {
    /// Its name in Xen Orchestra.
    pub name: &'static str,
    /// What it is about.
    pub scope: Scope,
    /// The findings that raise it.
    pub kinds: &'static [&'static Kind],
}

/// Nearly all of the quota, or of the free space, is used.
pub static USAGE: AlarmType = AlarmType {
    name: "smblock_usage",
    scope: Scope::Sr,
    kinds: &[&table::NEARLY_FULL],
};

/// The space of deleted disks is not freed.
pub static RECLAIM: AlarmType = AlarmType {
    name: "smblock_reclaim",
    scope: Scope::Sr,
    kinds: &[&table::NO_WORKER, &table::NOT_FREED],
};

/// A host was declared dead, and other hosts may use its disks.
pub static HOST_FENCED: AlarmType = AlarmType {
    name: "smblock_host_fenced",
    scope: Scope::Sr,
    kinds: &[&table::HOST_DECLARED_DEAD],
};

/// A host was declared dead and runs, or its disks are cut off from the cluster.
pub static HOST_CUT_OFF: AlarmType = AlarmType {
    name: "smblock_host_cut_off",
    scope: Scope::Host,
    kinds: &[&table::DECLARED_DEAD, &table::FENCED_DEVICE],
};

/// The SR cannot be read.
pub static UNREADABLE: AlarmType = AlarmType {
    name: "smblock_sr_unreadable",
    scope: Scope::Sr,
    kinds: &[&table::NO_CATALOGUE],
};

/// A Crucible volume has fewer copies than it should have.
pub static REDUNDANCY: AlarmType = AlarmType {
    name: "smblock_crucible_degraded",
    scope: Scope::Sr,
    kinds: &[
        &table::TARGET_DOWN,
        &table::TARGETS_DOWN,
        &table::ONE_MACHINE,
        &table::WRONG_TARGET,
    ],
};

/// The server of a Crucible volume on a host is gone, or works without a target.
pub static SERVER: AlarmType = AlarmType {
    name: "smblock_crucible_server",
    scope: Scope::Host,
    kinds: &[&table::SERVER_GONE, &table::SERVER_DEGRADED],
};

/// Only one host of the pool can use the SR.
pub static NOT_SHARED: AlarmType = AlarmType {
    name: "smblock_sr_not_shared",
    scope: Scope::Sr,
    kinds: &[&table::NOT_SHARED],
};

/// All of them. `smblock-setup` has one more, for a driver that an update has broken.
pub static ALARM_TYPES: [&AlarmType; 8] = [
    &USAGE,
    &RECLAIM,
    &HOST_FENCED,
    &HOST_CUT_OFF,
    &UNREADABLE,
    &REDUNDANCY,
    &SERVER,
    &NOT_SHARED,
];
