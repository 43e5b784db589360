//! Images that were changed outside smblock: an operation that this makes impossible is refused with
//! the command that undoes it.
//!
//! What costs a request is asked for only if the cluster has refused something, except before a
//! deletion: its first step cannot be taken back.

use nix::libc;
use uuid::Uuid;

use crate::cluster::{ClusterError, TrashedImage, MIGRATING, NON_PRIMARY};
use crate::error::{ByHand, Context, Error, Migrating, Result};
use crate::record::{ImageRef, VdiRecord};
use crate::sr::adopt::Successor;
use crate::Repository;

impl Repository<'_> {
    /// The path of an image, as a shell takes it.
    pub(crate) fn image_path(&self, name: &str) -> String {
        librbd::quoted(&format!("{}/{name}", self.cluster.pool_name()))
    }

    /// The path of a snapshot, as a shell takes it.
    pub(crate) fn snapshot_path(&self, image: &str, snapshot: &str) -> String {
        let pool = self.cluster.pool_name();
        librbd::quoted(&format!("{pool}/{image}@{snapshot}"))
    }

    /// The migration of an image that is under way.
    pub(crate) fn migrating(&self, name: &str) -> Migrating {
        Migrating {
            image: self.image_path(name),
            sr: self.sr,
        }
    }

    /// Why an image with those features is not used.
    pub(crate) fn refusal_of(&self, name: &str, features: u64) -> Option<ByHand> {
        let image = self.image_path(name);
        if features & MIGRATING != 0 {
            return Some(self.migrating(name).into());
        }
        (features & NON_PRIMARY != 0).then_some(ByHand::Demoted { image })
    }

    /// What the cluster's refusal to change an image means, if that was caused by hand. Of a limit of
    /// snapshots, librbd's own error says so.
    pub(crate) fn explain_refusal(&self, image: &ImageRef, error: Error) -> Error {
        if error.errno() == Some(libc::ENOENT) {
            return self.explain_not_found(image, error);
        }
        if error.errno() != Some(libc::EROFS) {
            return error;
        }
        let Ok(found) = self.cluster.image(&image.id) else {
            return error;
        };
        let refusal = self.refusal_of(&found.name, found.features);
        refusal.map_or(error, Error::from)
    }

    /// What it means that an image cannot be opened, if the pool's directory does not have it.
    fn explain_not_found(&self, image: &ImageRef, error: Error) -> Error {
        match (
            self.vdi_of_image_name(&image.name),
            self.cluster.image_name(&image.id),
        ) {
            (Some(vdi), Ok(None)) => self.explain_missing(vdi, image),
            _ => error,
        }
    }

    /// What it means that a snapshot cannot be removed.
    pub(crate) fn explain_kept_snapshot(
        &self,
        image: &ImageRef,
        id: u64,
        error: ClusterError,
    ) -> Error {
        match self.protected(image, id) {
            Ok(Some(protected)) if error.errno == libc::EBUSY => protected.into(),
            _ => {
                let doing = format!("removing snapshot {id} of image {}", image.name);
                self.explain_refusal(
                    image,
                    Error::Cluster {
                        doing,
                        source: error,
                    },
                )
            }
        }
    }

    fn protected(&self, image: &ImageRef, id: u64) -> Result<Option<ByHand>> {
        let doing = format!(
            "looking whether snapshot {id} of image {} is protected",
            image.name
        );
        match self.cluster.is_protected(&image.id, id) {
            Err(e) if e.is_not_found() => return Ok(None),
            Ok(false) => return Ok(None),
            other => other.doing(&doing)?,
        };
        let state = self.cluster.image(&image.id).doing(&doing)?;
        let found = state.snapshots.into_iter().find(|s| s.id == id);
        let snapshot = found.map_or_else(|| id.to_string(), |snapshot| snapshot.name);
        Ok(Some(ByHand::Protected {
            spec: self.snapshot_path(&state.name, &snapshot),
        }))
    }

    /// What it means that the image of a VDI does not exist.
    pub(crate) fn explain_missing(&self, vdi: Uuid, image: &ImageRef) -> Error {
        match self.successor_of(image) {
            Ok(Successor::Ours(found)) => ByHand::Moved {
                vdi,
                image: self.image_path(&image.name),
                found,
                sr: self.sr,
            }
            .into(),
            Ok(Successor::Open { id, address }) => ByHand::Open {
                vdi,
                image: self.image_path(&image.name),
                found: id,
                address,
                sr: self.sr,
            }
            .into(),
            Ok(Successor::Foreign(found)) => self.replaced(vdi, image, found).into(),
            Ok(Successor::Migrating) => ByHand::from(self.migrating(&image.name)).into(),
            Err(error) => error,
            Ok(Successor::None) => match self.cluster.features(&image.id) {
                Err(e) if e.is_not_found() => Error::ImageMissing {
                    vdi,
                    image: image.name.clone(),
                    id: image.id.clone(),
                    pool: self.cluster.pool_name().to_owned(),
                },
                Err(source) => Error::Cluster {
                    doing: format!("looking for image {}", image.name),
                    source,
                },
                Ok(_) => self.explain_unopened(vdi, image).into(),
            },
        }
    }

    /// What it means that the image of a VDI, which exists, is not in the pool's directory.
    pub(crate) fn explain_unlisted(&self, vdi: Uuid, image: &ImageRef, features: u64) -> String {
        match self.refusal_of(&image.name, features) {
            Some(refusal) => format!("VDI {vdi}: {refusal}"),
            None => self.explain_unopened(vdi, image).to_string(),
        }
    }

    /// Why an image that exists cannot be used. If the cluster does not say which it is, the cause named is
    /// that the image is in the trash.
    fn explain_unopened(&self, vdi: Uuid, image: &ImageRef) -> ByHand {
        let (name, id) = (image.name.clone(), image.id.clone());
        let pool = self.cluster.pool_name().to_owned();
        let is_trashed = |trash: Vec<TrashedImage>| trash.iter().any(|found| found.id == id);
        if self.cluster.trash().map_or(true, is_trashed) {
            return ByHand::Trashed {
                vdi,
                image: name,
                id,
                pool,
            };
        }
        match self.cluster.image_name(&image.id) {
            Ok(None) => ByHand::Unlisted {
                vdi,
                image: name,
                id,
                pool,
            },
            _ => ByHand::Incomplete {
                vdi,
                image: name,
                id,
                pool,
            },
        }
    }

    /// What it means that the source of a clone, a snapshot, does not exist.
    pub(crate) fn explain_missing_source(&self, source: &VdiRecord, error: Error) -> Error {
        if !matches!(&error, Error::Cluster { source, .. } if source.is_not_found()) {
            return error;
        }
        match self.image_state(source) {
            Err(
                reason @ (Error::SnapshotMissing { .. }
                | Error::ImageMissing { .. }
                | Error::ByHand(_)),
            ) => reason,
            _ => error,
        }
    }

    pub(crate) fn replaced(&self, vdi: Uuid, image: &ImageRef, found: String) -> ByHand {
        ByHand::Replaced {
            vdi,
            image: self.image_path(&image.name),
            lost: image.id.clone(),
            found,
            sr: self.sr,
            disk: self.vdi_of_image_name(&image.name).unwrap_or(vdi),
        }
    }

    /// Refuses to delete what would be left behind. Returns whether the record has changed: its
    /// image had another id. If the catalogue cannot take that over yet, since another VDI of the
    /// image is in use, the deletion finds the image itself.
    pub(crate) fn require_deletable(&self, record: &VdiRecord) -> Result<bool> {
        let image = record.volume.image();
        let doing = format!("looking at image {}", image.name);
        match self.cluster.features(&image.id) {
            Err(e) if e.is_not_found() => {
                let adopted = self.adopt(image)? > 0;
                if !adopted {
                    self.moved_to(image)?;
                }
                return Ok(adopted);
            }
            other => {
                let features = other.doing(&doing)?;
                if let Some(refusal) = self.refusal_of(&image.name, features) {
                    return Err(refusal.into());
                }
            }
        }
        let base = record.base.as_ref().map(|base| &base.snapshot);
        for snapshot in record.volume.snapshot().into_iter().chain(base) {
            if let Some(protected) = self.protected(image, snapshot.id)? {
                return Err(protected.into());
            }
        }
        Ok(false)
    }
}
