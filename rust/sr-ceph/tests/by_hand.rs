//! What an administrator has done to images with `rbd`: nothing of it is made worse, and each refusal
//! has the command that undoes it.
#![allow(clippy::unwrap_used)]

mod support;

#[path = "by_hand/features.rs"]
mod features;
#[path = "by_hand/groups.rs"]
mod groups;
#[path = "by_hand/identity.rs"]
mod identity;
#[path = "by_hand/moved.rs"]
mod moved;
#[path = "by_hand/records.rs"]
mod records;
#[path = "by_hand/sizes.rs"]
mod sizes;
#[path = "by_hand/snapshots.rs"]
mod snapshots;

use uuid::Uuid;

use support::{Lab, A, GIB};

/// Deletes a VDI.
fn delete(lab: &Lab, vdi: &Uuid) {
    lab.run(A, |sr| sr.delete_vdi(vdi)).unwrap();
}

/// The refusal of a command.
fn refused<T: std::fmt::Debug>(
    lab: &Lab,
    command: impl FnOnce(sr_ceph::CephSr<'_>) -> sr_ceph::Result<T>,
) -> String {
    lab.run(A, command).unwrap_err().to_string()
}

/// Both parts are there.
#[track_caller]
fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

/// What waits, and why.
fn waiting(lab: &Lab) -> Vec<String> {
    let pending = lab.run(A, |sr| sr.pending()).unwrap().into_iter();
    pending
        .filter_map(|pending| Some(pending.waits_for?.to_string()))
        .collect()
}
