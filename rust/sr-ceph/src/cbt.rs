//! Changed-block tracking: which blocks of a disk differ between two of its snapshots.
//!
//! **The RBD snapshots are the record of the changes.** Ceph keeps for each object which parts changed between two
//! snapshots of an image. Nothing is written when a VM writes, and there is no log that can be lost: the flag in
//! a VDI's record ([`VdiRecord::cbt`]) only states that XAPI may ask.
//!
//! **Points.** A VDI is a *point* of an image: one of its snapshots, or its head. Two points of one image are
//! compared by Ceph, exactly or with a surplus, never with a gap.
//!
//! **Lineage.** A revert gives a disk another image, a clone. What a clone discards of its parent's data is in no
//! comparison of the two images. So if a tracked snapshot is cloned or reverted to, a snapshot of the new image
//! is taken before its first change, its *birth*. It has the same content as the snapshot that the image was
//! cloned from, its *origin*. The key `lineage.<image id>` names both ([`LineageRecord`]). It is written by the
//! transaction that makes the image a VDI's (`vdi/steps/birth.rs`).
//!
//! ```text
//! image A ── s1 ── s2         the changes from s2 to b1 = those on A between s1 and s2
//!            ║                                          and those on B from its birth to b1
//! image B ─ birth ── b1
//! ```
//!
//! From both points, `cbt/lineage.rs` goes up to their common image. `cbt/list.rs` compares on that image, and on
//! each image below it from its birth to its point.
//!
//! **Never approximate.** Without a birth, an origin or a snapshot, the command fails, and a backup program
//! makes a full backup. So every loss is harmless: version 0.1.0, which has no births; a snapshot that was
//! removed by hand; an image with another id.
//!
//! **What is kept for it.** A snapshot with a destroyed data is the RBD snapshot as before: it takes the space of
//! what was overwritten since. An origin stays as RBD snapshot if its VDI is deleted, as long as its lineage is
//! needed. `sr/reclaim/lineages.rs` removes births and origins that are not needed any more.

mod lineage;
mod list;

use crate::error::{CbtRefusal, Result};
#[cfg(doc)]
use crate::record::LineageRecord;
use crate::record::VdiRecord;

/// The name of an image's snapshot of its birth.
pub(crate) const BIRTH: &str = "birth";

/// Refuses an operation that needs the data of a snapshot whose data was destroyed. `refused`: what cannot be done,
/// as a participle.
pub(crate) fn require_data(record: &VdiRecord, refused: &'static str) -> Result<()> {
    if !record.data_destroyed {
        return Ok(());
    }
    let vdi = record.uuid;
    Err(CbtRefusal::DataDestroyed { vdi, refused }.into())
}
