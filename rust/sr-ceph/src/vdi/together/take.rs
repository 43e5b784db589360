//! Pausing all disks, taking all snapshots, resuming all disks.

use uuid::Uuid;

use super::members::Member;
use crate::error::{Context, Error, NotTogether, Result};
use crate::pool::PoolError;
use crate::CephSr;

/// What became of the snapshot of a member.
pub(super) enum Taken {
    /// It exists.
    Done {
        /// Its id.
        id: u64,
        /// Whether nothing wrote to the disk until all snapshots were taken.
        was_paused: bool,
    },
    /// It was not tried.
    Skipped,
    /// It failed, or it is unknown whether the disk runs.
    Failed { error: Error, is_resumed: bool },
}

impl Taken {
    /// Whether it is unknown what the cluster has done, or may still do.
    pub(super) fn is_unknown(&self) -> bool {
        matches!(self, Taken::Failed { error, .. } if error.is_outcome_unknown())
    }

    /// Whether the disk was resumed.
    pub(super) fn is_resumed(&self) -> bool {
        !matches!(
            self,
            Taken::Failed {
                is_resumed: false,
                ..
            }
        )
    }
}

/// Why nothing may be kept. `None`: the snapshot that was requested exists, and all snapshots show one instant.
pub(super) fn failure(members: &[Member], taken: &mut [Taken]) -> Option<Error> {
    if let Some(first @ Taken::Failed { .. }) = taken.first_mut() {
        if let Taken::Failed { error, .. } = std::mem::replace(first, Taken::Skipped) {
            return Some(error);
        }
    }
    let early = |(_, taken): &(&Member, &mut Taken)| {
        matches!(
            taken,
            Taken::Done {
                was_paused: false,
                ..
            }
        )
    };
    let early = members.iter().zip(taken).find(early);
    early.map(|(member, _)| NotTogether::Resumed { vdi: member.vdi }.into())
}

impl CephSr<'_> {
    /// Returns what became of each member, in their order. If the first one cannot be paused, no snapshot is
    /// taken.
    pub(super) fn take_all(&self, members: &[Member]) -> Vec<Taken> {
        let vdis: Vec<Uuid> = members.iter().map(|member| member.vdi).collect();
        let images = members
            .iter()
            .map(|member| member.source.record.volume.image().id.as_str());
        self.pool.hold_open(&images.collect::<Vec<_>>());
        let paused = self.host.pause_disks(&vdis);
        let goes_on = matches!(paused.first(), Some(Ok(())));
        let mut wanted = Vec::with_capacity(members.len());
        for (member, paused) in members.iter().zip(&paused) {
            if goes_on && paused.is_ok() {
                let image = member.source.record.volume.image();
                wanted.push((image.id.as_str(), member.name.as_str()));
            }
        }
        let mut snapshots = self.pool.create_snapshots(&wanted).into_iter();
        self.pool.let_go();
        let resumed = self.host.resume_disks(&vdis);
        let all = members.iter().zip(paused).zip(resumed);
        let taken = all.map(|((member, paused), resumed)| {
            let vdi = member.vdi;
            let resumed = resumed.doing(&format!("resuming VDI {vdi} after a snapshot"));
            let id = match paused.doing(&format!("pausing VDI {vdi} for a snapshot")) {
                Err(error) => Err(error),
                Ok(()) if !goes_on => Ok(None),
                Ok(()) => self.explained(member, snapshots.next()),
            };
            match (id, resumed) {
                (Ok(Some(id)), Ok(was_paused)) => Taken::Done { id, was_paused },
                (Ok(None), Ok(_)) => Taken::Skipped,
                (Ok(_), Err(error)) => Taken::Failed {
                    error,
                    is_resumed: false,
                },
                (Err(error), resumed) => {
                    if let Err(e) = &resumed {
                        log::warn!("VDI {vdi}: {e}");
                    }
                    Taken::Failed {
                        error,
                        is_resumed: resumed.is_ok(),
                    }
                }
            }
        });
        taken.collect()
    }

    fn explained(
        &self,
        member: &Member,
        taken: Option<std::result::Result<u64, PoolError>>,
    ) -> Result<Option<u64>> {
        let image = member.source.record.volume.image();
        let doing = format!("taking a snapshot of image {}", image.name);
        let taken = taken.transpose().doing(&doing);
        taken.map_err(|error| self.images.explain_refusal(image, error))
    }
}
