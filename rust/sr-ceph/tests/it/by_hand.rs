//! Changes to images out of band, with `rbd`: no command loses data, and each refusal has the command that
//! undoes the change.

mod features;
mod flattened;
mod groups;
mod identity;
mod moved;
mod records;
mod sizes;
mod snapshots;

use uuid::Uuid;

use crate::support::{Lab, A, B, GIB};

/// Deletes a VDI.
fn delete(lab: &Lab, vdi: &Uuid) {
    lab.run(A, |sr| sr.delete_vdi(vdi)).unwrap();
}

/// Returns the text of a command's refusal.
fn refused<T: std::fmt::Debug>(
    lab: &Lab,
    command: impl FnOnce(sr_ceph::CephSr<'_>) -> sr_ceph::Result<T>,
) -> String {
    lab.run(A, command).unwrap_err().to_string()
}

/// Checks that a text contains all parts.
#[track_caller]
pub fn assert_contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

/// Returns the pending work that waits, with the reason.
fn waiting(lab: &Lab) -> Vec<String> {
    let pending = lab.run(A, |sr| sr.pending()).unwrap().into_iter();
    pending
        .filter_map(|pending| Some(pending.waits_for?.to_string()))
        .collect()
}
