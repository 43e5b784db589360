//! The possible states of a VDI, by the results of the commands so far.

use std::collections::BTreeSet;

use crate::BLOCKS;

/// The content of the blocks of a VDI, a number each.
pub type Content = [u64; BLOCKS];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Disk,
    Snapshot,
}

/// A VDI that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Present {
    pub kind: Kind,
    /// In bytes.
    pub size: u64,
    pub content: Content,
}

impl Present {
    /// A new disk of that size, in bytes.
    pub fn new(size: u64) -> Self {
        Present {
            kind: Kind::Disk,
            size,
            content: [0; BLOCKS],
        }
    }
}

/// The possible states of a VDI. Several if a command did not report how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct States {
    pub absent: bool,
    pub present: BTreeSet<Present>,
}

impl States {
    pub const ABSENT: States = States {
        absent: true,
        present: BTreeSet::new(),
    };

    pub fn only(present: impl IntoIterator<Item = Present>) -> Self {
        States {
            absent: false,
            present: present.into_iter().collect(),
        }
    }

    pub fn observed(found: Option<Present>) -> Self {
        States {
            absent: found.is_none(),
            present: found.into_iter().collect(),
        }
    }

    pub fn allow(&self, found: Option<Present>) -> bool {
        found.map_or(self.absent, |found| self.present.contains(&found))
    }

    /// Returns whether the VDI may be of that kind.
    pub fn may_be(&self, kind: Kind) -> bool {
        self.present.iter().any(|state| state.kind == kind)
    }

    /// Returns its states of that kind.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = Present> + '_ {
        self.present.iter().copied().filter(move |s| s.kind == kind)
    }

    /// Returns the states of a copy of it, as a disk or as a snapshot.
    pub fn copies(&self, kind: Kind) -> States {
        States::only(self.present.iter().map(|state| Present { kind, ..*state }))
    }

    /// Adds the states that a command may have made.
    pub fn or(&mut self, other: States) {
        self.absent |= other.absent;
        self.present.extend(other.present);
    }
}
