//! The catalogue against the pool's images, in both directions.

use std::collections::BTreeSet;

use sr::finding::{table, Finding, Severity};
use uuid::Uuid;

use super::look::Doctor;
use crate::catalogue::{hidden_key, image_prefix, intent_key};
use crate::chain::{MAX_DEPTH, MAX_SNAPSHOTS, SOFT_DEPTH};
use crate::error::{list_again, ByHand, Context, Error, Result};
use crate::image_features::ImageFeatures;
use crate::pool::spec::as_option;
use crate::pool::{MIGRATING, NON_PRIMARY};
use crate::record::{ImageRef, VdiRecord, Volume};
use crate::size::Size;

/// As many snapshots are worth a finding.
const MANY_SNAPSHOTS: usize = MAX_SNAPSHOTS / 10 * 9;

impl Doctor<'_, '_> {
    pub(super) fn look_at_images(&mut self) -> Result<()> {
        // A kernel without the module is a finding of the check.
        let supported = self.sr.host.supported_features().unwrap_or_default();
        let trash = self.sr.pool.trash().doing("listing the trash")?;
        let trash: BTreeSet<_> = trash.into_iter().map(|image| image.id).collect();
        let mut found = Vec::new();
        for record in &self.vdis {
            found.extend(self.look_at_image(record, supported, &trash)?);
        }
        found.extend(self.orphans());
        self.found.extend(found);
        Ok(())
    }

    fn look_at_image(
        &self,
        record: &VdiRecord,
        supported: Option<u64>,
        trash: &BTreeSet<String>,
    ) -> Result<Vec<Finding>> {
        let image = record.volume.image();
        let object = self.name_of(&record.uuid);
        let pool = self.sr.pool.spec();
        let path = self.sr.images.path(&image.name);
        let features = match self.sr.pool.features(&image.id) {
            Ok(features) => features,
            Err(e) if e.is_not_found() => return Ok(self.missing(record)),
            Err(e) => return Err(e).doing(&format!("looking at image {}", image.name)),
        };
        if features & MIGRATING != 0 {
            let text = format!("its image {path} is being migrated");
            let fix = format!("rbd migration commit {path}, or cancel: rbd migration abort {path}");
            return Ok(vec![table::REFUSED_IMAGE.found(object, text, fix)]);
        }
        if trash.contains(&image.id) {
            let text = format!("its image {} (id {}) is in the trash", image.name, image.id);
            let (place, id) = (as_option(&pool), &image.id);
            let fix = format!("rbd trash restore --pool {place} {id}");
            return Ok(vec![table::IN_TRASH.found(object, text, fix)]);
        }
        if features & NON_PRIMARY != 0 {
            let text = format!("its image {path} is demoted: a mirrored copy, which is read-only");
            let fix = format!("once the primary copy is demoted: rbd mirror image promote {path}");
            return Ok(vec![table::REFUSED_IMAGE.found(object, text, fix)]);
        }
        if !self.images.contains_key(&image.id) {
            let reason = self.sr.images.explain_unopened(record.uuid, image);
            return Ok(vec![self.unlisted(record.uuid, image, &reason)]);
        }
        let mut found = Vec::new();
        let lacking = supported.map_or(0, |bits| features & !bits);
        if lacking != 0 {
            let features = ImageFeatures::from_bits(lacking);
            let text = format!("its image {path} has {features}, which this kernel lacks");
            let fix = format!("rbd feature disable {path} {features}");
            found.push(table::UNMAPPABLE.found(object.clone(), text, fix));
        }
        found.extend(self.look_at_header(record, &object, &path)?);
        match self.sr.pool.require_unlocked(&image.id) {
            Err(e) if e.errno == nix::libc::EBUSY => {
                let text = format!("its image {path} has a lock that was set by hand");
                let fix = format!("rbd lock ls {path}, then: rbd lock rm {path} ID LOCKER");
                found.push(table::LOCKED.found(object, text, fix));
            }
            Err(e) if e.is_not_found() => {}
            other => other.doing(&format!("listing the locks of image {}", image.name))?,
        }
        Ok(found)
    }

    /// The size of the image, its parents and its snapshots.
    fn look_at_header(&self, record: &VdiRecord, object: &str, path: &str) -> Result<Vec<Finding>> {
        let image = record.volume.image();
        let header = match self.sr.pool.header(&image.id) {
            Err(e) if e.is_not_found() => return Ok(Vec::new()), // deleted this moment
            other => other.doing(&format!("reading the header of image {}", image.name))?,
        };
        let is_busy = self.intents.iter().any(|(vdi, _)| *vdi == record.uuid);
        let mut found = Vec::new();
        match &record.volume {
            Volume::Snapshot { snapshot, .. } => {
                let state = match self.sr.pool.image(&image.id) {
                    Err(e) if e.is_not_found() => return Ok(Vec::new()),
                    other => other.doing(&format!("looking at image {}", image.name))?,
                };
                let mut snapshots = state.snapshots.iter();
                if !snapshots.any(|s| s.id == snapshot.id && !s.removed) {
                    let (name, id) = (&snapshot.name, snapshot.id);
                    let text = format!("its snapshot {path}@{name} (id {id}) does not exist");
                    let fix = format!("xe vdi-destroy uuid={}", record.uuid);
                    found.push(table::NO_SNAPSHOT.found(object, text, fix));
                }
                return Ok(found);
            }
            Volume::Head { .. } if header.size < record.size => {
                let (is, was) = (Size(header.size), Size(record.size));
                let text = format!("its image {path} has {is}, and the disk has {was}");
                let expected = record.size;
                let fix = format!(
                    "rbd resize --size {expected}B {path}; then the end of the disk reads as zeros: check its \
                     filesystems, or restore a backup. To give the disk up: xe vdi-destroy uuid={}",
                    record.uuid
                );
                found.push(table::SHRUNK.found(object, text, fix));
            }
            Volume::Head { .. } if header.size > record.size && record.claim.is_some() => {
                found.push(self.grown_in_use(record, header.size, object, path)?);
            }
            // A disk that forgets its changes gets its size back with its next start.
            Volume::Head { .. }
                if header.size > record.size && record.reset_point.is_none() && !is_busy =>
            {
                let (is, was) = (Size(header.size), Size(record.size));
                let text = format!("its image {path} has {is}, and the disk has {was}");
                let fix = format!("xe sr-scan uuid={}", self.sr.sr);
                found.push(table::GROWN.found(object, text, fix));
            }
            Volume::Head { .. } => {}
        }
        if header.has_parent && record.depth > SOFT_DEPTH {
            found.push(self.long_chain(record, object));
        }
        if header.snapshots >= MANY_SNAPSHOTS {
            let text = format!(
                "its image has {} of {MAX_SNAPSHOTS} snapshots",
                header.snapshots
            );
            let fix = "destroy snapshots of the disk that you do not need: xe snapshot-list";
            let many = table::MANY_SNAPSHOTS.found(object, text, fix);
            found.push(match header.snapshots >= MAX_SNAPSHOTS {
                true => many.with_severity(Severity::Failure),
                false => many,
            });
        }
        Ok(found)
    }

    fn grown_in_use(
        &self,
        record: &VdiRecord,
        size: u64,
        object: &str,
        path: &str,
    ) -> Result<Finding> {
        let (is, was) = (Size(size), Size(record.size));
        let Some(host) = self.sr.host_of_smaller(record, size)? else {
            let text =
                format!("its image {path} has {is}, and the disk, which is in use, has {was}");
            let fix = format!("shut its VM down, then: xe sr-scan uuid={}", self.sr.sr);
            return Ok(table::GROWN.found(object, text, fix));
        };
        let text = format!(
            "its image {path} has {is}, and the tapdisk of host {host} has {was}: snapshots are refused"
        );
        let fix = format!(
            "shut its VM down and start it again; or, if the VM sees a disk of {was}: rbd resize --allow-shrink \
             --size {}B {path}",
            record.size
        );
        Ok(table::GROWN_IN_USE.found(object, text, fix))
    }

    fn long_chain(&self, record: &VdiRecord, object: &str) -> Finding {
        let (sr, vdi, image) = (self.sr.sr, record.uuid, record.volume.image());
        let is_of_image =
            |r: &&VdiRecord| r.volume.snapshot().is_some() && r.volume.image() == image;
        let snapshots = self.vdis.iter().filter(is_of_image).count();
        let text = format!(
            "its image has {} parents, one behind the other",
            record.depth
        );
        let first = match snapshots {
            0 => String::new(),
            _ => format!(
                " destroy its {snapshots} snapshot(s), also those of backups (their next run is a full one): xe vdi-list \
                 snapshot-of={vdi}, and for each: xe vdi-destroy uuid=SNAPSHOT-UUID;"
            ),
        };
        let fix = format!("shut its VM down;{first} then: smblock reclaim {sr}");
        let long = table::LONG_CHAIN.found(object, text, fix);
        match record.depth > MAX_DEPTH {
            true => long.with_severity(Severity::Failure),
            false => long,
        }
    }

    /// An image that exists and that the pool's list lacks.
    fn unlisted(&self, vdi: Uuid, image: &ImageRef, reason: &ByHand) -> Finding {
        let (name, id) = (&image.name, &image.id);
        let pool = as_option(&self.sr.pool.spec());
        let object = self.name_of(&vdi);
        let text = format!("its image {name} (id {id}) exists, and cannot be opened by its name");
        let fix = match reason {
            ByHand::Unlisted { image, id, pool, .. } => list_again(pool, image, id),
            _ => format!(
                "rados -p {pool} listomapvals rbd_header.{id} has the keys parent and data_pool_id: bring back the \
                 one that does not exist. To give the disk up: xe vdi-destroy uuid={vdi}"
            ),
        };
        table::UNLISTED.found(object, text, fix)
    }

    /// The image does not exist by its id.
    fn missing(&self, record: &VdiRecord) -> Vec<Finding> {
        if self.intents.iter().any(|(vdi, _)| *vdi == record.uuid) {
            return Vec::new(); // it is being deleted or reverted
        }
        let object = self.name_of(&record.uuid);
        let image = record.volume.image();
        let (sr, pool) = (self.sr.sr, self.sr.pool.spec());
        let error = self.sr.images.explain_missing(record.uuid, image);
        let text = error.to_string();
        let finding = match error {
            Error::ByHand(reason) => match *reason {
                ByHand::Moved { .. } | ByHand::Open { .. } => {
                    table::MOVED.found(object, text, format!("xe sr-scan uuid={sr}"))
                }
                ByHand::Migrating(_) => {
                    table::REFUSED_IMAGE.found(object, text, "as the text states")
                }
                _ => table::NO_IMAGE.found(object, text, "as the text states"),
            },
            _ => {
                let (name, id) = (&image.name, &image.id);
                let text = format!("its image {name} (id {id}) does not exist in pool {pool}");
                let fix = format!(
                    "look in other pools and in backups; if it is lost: xe vdi-destroy uuid={}",
                    record.uuid
                );
                table::NO_IMAGE.found(object, text, fix)
            }
        };
        vec![finding]
    }

    /// The images with the SR's prefix that the catalogue does not name.
    fn orphans(&self) -> Vec<Finding> {
        let prefix = image_prefix(&self.sr.sr);
        let mut named = BTreeSet::new();
        for record in &self.vdis {
            named.insert(record.volume.image().id.as_str());
            let point = record.reset_point.as_ref();
            named.extend(point.map(|point| point.image.id.as_str()));
        }
        let images = self.images.iter();
        let orphans = images.filter(|(id, name)| {
            let vdi = self.sr.images.vdi_of_name(name);
            let is_busy = vdi.is_some_and(|vdi| self.entries.contains_key(&intent_key(&vdi)));
            // A record that cannot be read may name it.
            let is_unread = vdi.is_some_and(|vdi| {
                let key = crate::catalogue::vdi_key(&vdi);
                let has_read = self.vdis.iter().any(|record| record.uuid == vdi);
                self.entries.contains_key(&key) && !has_read
            });
            // The image of a VDI that has moved to it has the VDI's image name.
            let successor = self.vdis.iter().any(|r| r.volume.image().name == **name);
            let has_key = self.entries.contains_key(&hidden_key(id));
            name.starts_with(&prefix)
                && !(named.contains(id.as_str()) || is_busy || is_unread || successor || has_key)
        });
        let orphans = orphans.map(|(_, name)| {
            let path = self.sr.images.path(name);
            let text = "no key of the catalogue names it; smblock leaves it alone";
            let fix =
                format!("if no disk needs it: rbd rm {path}; otherwise: rbd rename {path} NAME");
            table::ORPHAN.found(format!("image {name}"), text, fix)
        });
        orphans.collect()
    }
}
