//! The steps, and how they are chosen.

use std::ops::Range;

use proptest::prelude::*;
use sr_ceph::faults::Mode;

/// A command of a host. VDIs are numbers: see [`exactly`] and [`likely`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the names are those of the engine
pub enum Command {
    Create(usize),
    Snapshot { of: usize, new: usize },
    Clone { of: usize, new: usize },
    Revert { disk: usize, to: usize },
    Delete(usize),
    Grow { disk: usize, units: u64 },
    Activate { vdi: usize, writable: bool },
    Deactivate(usize),
    Scan,
    Attach,
}

impl Command {
    pub(crate) fn is_activation(self) -> bool {
        matches!(self, Command::Activate { .. } | Command::Deactivate(_))
    }

    pub(crate) fn reads_only(self) -> bool {
        matches!(self, Command::Activate { writable, .. } if !writable)
    }
}

/// What happens to the process of a command.
#[derive(Debug, Clone, Copy)]
pub enum Fate {
    /// It runs to its end.
    Lives,
    /// Its nth change fails.
    Dies {
        /// The number of the change, from 0.
        nth: usize,
        /// How it fails.
        mode: Mode,
        /// Who recovers at once: the same host, or the other one when the lease is over. `None`: a later step.
        here: Option<bool>,
    },
    /// It stops before its nth call. It continues after the other host has run another command: at once, or when
    /// its lease is over.
    HeldUp {
        /// The number of the call, from 0.
        nth: usize,
        /// Whether its lease is over then.
        past_lease: bool,
        /// The other host's command.
        meanwhile: Command,
    },
}

/// One step. `E` is what only one bench can let happen.
#[derive(Debug, Clone)]
pub enum Step<E> {
    /// A host runs a command in a new process.
    Run {
        /// The host.
        host: usize,
        /// The command.
        command: Command,
        /// What happens to the process.
        fate: Fate,
    },
    /// A request that timed out arrives.
    Deliver,
    /// A VM writes, if one runs on that disk.
    Write {
        /// The disk.
        vdi: usize,
        /// The block's number.
        block: usize,
        /// The block's new content, below 1000.
        value: u64,
    },
    /// XAPI's database gets a new name, which the SR does not have yet.
    Rename {
        /// The VDI.
        vdi: usize,
        /// The name.
        name: u8,
    },
    /// XAPI's database gets a new `snapshot_of`, which the SR does not have yet.
    Repoint {
        /// The VDI.
        vdi: usize,
        /// The VDI that it is a snapshot of.
        of: usize,
    },
    /// Another program opens the image with librbd, and keeps it open.
    OpenImage {
        /// The VDI.
        vdi: usize,
    },
    /// A lease's time passes.
    LeaseOver,
    /// What only this bench can let happen.
    Event(E),
}

/// A number below this selects exactly that VDI. From here on it selects a VDI that fits the command, if one exists.
pub(crate) const LIKELY: usize = 1000;

/// Numbers of exactly one of this many VDIs, whether or not it fits the command.
pub fn exactly(vdis: usize) -> BoxedStrategy<usize> {
    (0..vdis).boxed()
}

/// Numbers of VDIs that mostly fit the command.
pub fn likely(vdis: usize) -> BoxedStrategy<usize> {
    prop_oneof![9 => LIKELY..LIKELY + 36, 1 => 0..vdis].boxed()
}

/// Commands that change VDIs of such numbers. Disks grow to such sizes, in units.
pub fn change(vdi: &BoxedStrategy<usize>, units: Range<u64>) -> BoxedStrategy<Command> {
    let one = || vdi.clone();
    let two = || (vdi.clone(), vdi.clone());
    prop_oneof![
        3 => one().prop_map(Command::Create),
        3 => two().prop_map(|(of, new)| Command::Snapshot { of, new }),
        3 => two().prop_map(|(of, new)| Command::Clone { of, new }),
        3 => two().prop_map(|(disk, to)| Command::Revert { disk, to }),
        3 => one().prop_map(Command::Delete),
        1 => (one(), units).prop_map(|(disk, units)| Command::Grow { disk, units }),
    ]
    .boxed()
}
