//! The model: what each command does to the VDIs, or why it refuses.

use std::collections::BTreeMap;

use sr_ceph::Error;

use super::super::lab::{Content, BLOCKS, MIB, SIZE};
use super::Action;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vdi {
    pub is_snapshot: bool,
    /// In bytes.
    pub size: u64,
    pub content: Content,
    /// The host that its VM runs on.
    pub active: Option<usize>,
}

/// All VDIs, by number.
pub type Vdis = BTreeMap<usize, Vdi>;

#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    Exists,
    Missing,
    InUse,
    ReadOnly,
    Shrink,
    NotRevertible,
}

impl Refusal {
    /// Returns the reason of a refusal. Panics at any other error.
    pub fn of(error: &Error) -> Option<Refusal> {
        match error {
            Error::VdiExists { .. } => Some(Refusal::Exists),
            Error::VdiMissing { .. } => Some(Refusal::Missing),
            Error::VdiInUse { .. } => Some(Refusal::InUse),
            Error::ReadOnly { .. } => Some(Refusal::ReadOnly),
            Error::Shrink { .. } => Some(Refusal::Shrink),
            Error::NotRevertible { .. } => Some(Refusal::NotRevertible),
            _ => None,
        }
    }
}

/// Returns the VDIs after an action of a host.
pub fn expect(before: &Vdis, host: usize, action: Action) -> Result<Vdis, Refusal> {
    let mut vdis = before.clone();
    let find = |vdi: usize| before.get(&vdi).ok_or(Refusal::Missing);
    let absent = |vdi: usize| match before.contains_key(&vdi) {
        true => Err(Refusal::Exists),
        false => Ok(()),
    };
    let idle = |vdi: &Vdi| match vdi.active {
        Some(_) => Err(Refusal::InUse),
        None => Ok(()),
    };
    match action {
        Action::Create { vdi } => {
            absent(vdi)?;
            let blank = Vdi {
                is_snapshot: false,
                size: SIZE,
                content: [0; BLOCKS],
                active: None,
            };
            vdis.insert(vdi, blank);
        }
        Action::Snapshot { of, new } | Action::Clone { of, new } => {
            absent(new)?;
            let copy = Vdi {
                is_snapshot: matches!(action, Action::Snapshot { .. }),
                active: None,
                ..find(of)?.clone()
            };
            vdis.insert(new, copy);
        }
        Action::Revert { disk, to } => {
            let (snapshot, reverted) = (find(to)?, find(disk)?);
            if reverted.is_snapshot || !snapshot.is_snapshot {
                return Err(Refusal::NotRevertible);
            }
            idle(reverted)?;
            let reverted = Vdi {
                is_snapshot: false,
                ..snapshot.clone()
            };
            vdis.insert(disk, reverted);
        }
        Action::Delete { vdi } => {
            if let Some(found) = before.get(&vdi) {
                idle(found)?;
            }
            vdis.remove(&vdi);
        }
        Action::Grow { vdi, objects } => {
            let (found, size) = (find(vdi)?, objects * 4 * MIB);
            if found.is_snapshot {
                return Err(Refusal::ReadOnly);
            }
            if size < found.size {
                return Err(Refusal::Shrink);
            }
            if size > found.size {
                idle(found)?;
            }
            vdis.insert(
                vdi,
                Vdi {
                    size,
                    ..found.clone()
                },
            );
        }
        Action::Activate { vdi } => {
            let found = find(vdi)?;
            if found.is_snapshot {
                return Err(Refusal::ReadOnly);
            }
            if found.active.is_some_and(|active| active != host) {
                return Err(Refusal::InUse);
            }
            let active = Some(host);
            vdis.insert(
                vdi,
                Vdi {
                    active,
                    ..found.clone()
                },
            );
        }
        Action::Deactivate { vdi } => {
            if let Some(found) = vdis.get_mut(&vdi).filter(|v| v.active == Some(host)) {
                found.active = None;
            }
        }
    }
    Ok(vdis)
}
