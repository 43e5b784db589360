//! Images that were changed outside smblock: an operation that is impossible because of that is refused with
//! the command that undoes the change.
//!
//! What costs a request is checked only after the cluster has refused something. A deletion checks it first,
//! because its first step cannot be undone.

use nix::libc;

use super::older::is_older_snapshot;
use super::Images;
use crate::error::{ByHand, Context, Error, Result};
use crate::pool::PoolError;
use crate::record::{ImageRef, SnapshotRef};

impl Images<'_> {
    /// Explains why the cluster refused to change an image, if a change by hand is the cause. For a limit of
    /// snapshots, librbd's own error has the explanation.
    pub(crate) fn explain_refusal(&self, image: &ImageRef, error: Error) -> Error {
        if error.errno() == Some(libc::ENOENT) {
            return self.explain_not_found(image, error);
        }
        if error.errno() != Some(libc::EROFS) {
            return error;
        }
        let Ok(found) = self.pool.image(&image.id) else {
            return error;
        };
        let refusal = self.refusal_of(&found.name, found.features);
        refusal.map_or(error, Error::from)
    }

    /// Explains why an image cannot be opened, if the pool's directory does not have it.
    fn explain_not_found(&self, image: &ImageRef, error: Error) -> Error {
        let vdi = self.vdi_of_name(&image.name);
        match (vdi, self.pool.image_name(&image.id)) {
            (Some(vdi), Ok(None)) => self.explain_missing(vdi, image),
            _ => error,
        }
    }

    /// Explains why a snapshot cannot be removed.
    pub(crate) fn explain_kept_snapshot(
        &self,
        image: &ImageRef,
        id: u64,
        error: PoolError,
    ) -> Error {
        match self.protected(image, id) {
            Ok(Some(protected)) if error.errno == libc::EBUSY => protected.into(),
            _ => {
                let doing = format!("removing snapshot {id} of image {}", image.name);
                self.explain_refusal(
                    image,
                    Error::Ceph {
                        doing,
                        source: error,
                    },
                )
            }
        }
    }

    /// Refuses a snapshot that Ceph would not remove. What removes it in a later step checks that before its first
    /// one. `may_be_clone`: the snapshot may have a parent.
    pub(crate) fn require_removable(
        &self,
        image: &ImageRef,
        snapshot: &SnapshotRef,
        may_be_clone: bool,
        doing: &str,
    ) -> Result<()> {
        if let Some(protected) = self.protected(image, snapshot.id)? {
            if !is_older_snapshot(&snapshot.name) {
                return Err(protected.into());
            }
            self.unprotect(image, snapshot)?;
        }
        if !may_be_clone {
            return Ok(());
        }
        match self.pool.require_removable(&image.id, snapshot.id) {
            Err(e) if e.is_not_found() => Ok(()),
            other => other.doing(doing),
        }
    }

    /// Removes the protection of a snapshot that CephRBDSR has made, which protects each of them. Fails if it has
    /// clones of format 1.
    pub(crate) fn unprotect(&self, image: &ImageRef, snapshot: &SnapshotRef) -> Result<()> {
        match self.pool.set_protected(&image.id, snapshot.id, false) {
            Err(e) if e.is_not_found() => Ok(()),
            Err(e) if e.errno == libc::EBUSY => {
                let found = self.pool.image_name(&image.id).ok().flatten();
                let name = found.unwrap_or_else(|| image.name.clone());
                let spec = self.snapshot_path(&name, &snapshot.name);
                Err(ByHand::OlderClones { spec, source: e }.into())
            }
            other => other.doing(&format!("unprotecting snapshot {}", snapshot.name)),
        }
    }

    /// Returns the refusal of a protected snapshot. `None`: it is not protected.
    pub(crate) fn protected(&self, image: &ImageRef, id: u64) -> Result<Option<ByHand>> {
        let doing = format!(
            "checking whether snapshot {id} of image {} is protected",
            image.name
        );
        match self.pool.is_protected(&image.id, id) {
            Err(e) if e.is_not_found() => return Ok(None),
            Ok(false) => return Ok(None),
            other => other.doing(&doing)?,
        };
        let state = self.pool.image(&image.id).doing(&doing)?;
        let found = state.snapshots.into_iter().find(|s| s.id == id);
        let snapshot = found.map_or_else(|| id.to_string(), |snapshot| snapshot.name);
        Ok(Some(ByHand::Protected {
            spec: self.snapshot_path(&state.name, &snapshot),
        }))
    }
}
