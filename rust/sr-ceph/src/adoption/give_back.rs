//! Giving the images back to CephRBDSR. `adoption.rs` states why it may be stopped anywhere.

use sr::engine::{AdoptedDisk, AdoptedSnapshot, Adoption, AdoptionRequest, Remark};
use sr::xapi::XapiVdi;
use uuid::Uuid;

use super::look::snapshots_of;
use crate::catalogue::{directory_key, with_prefix, Stored, DIRECTORY, SR_KEY};
use crate::error::{Context, Error, Result};
use crate::image::older::{is_older_snapshot, OlderNames};
use crate::pool::{Entries, ImageState, Transaction};
use crate::record::VdiRecord;
use crate::CephSr;

/// An image that was taken over.
struct Taken {
    state: ImageState,
    /// Its name in CephRBDSR.
    from: String,
}

impl CephSr<'_> {
    /// Gives the images back that were taken over.
    pub(super) fn give_back(&self, request: &AdoptionRequest) -> Result<Adoption> {
        let mut report = self.look_to_give_back(request)?.1;
        if !request.act || !report.refused.is_empty() {
            return Ok(report);
        }
        let marked = match self.catalogue.mark_deleting(true) {
            Err(Error::SrMissing { .. }) => None,
            other => Some(other?),
        };
        // Nothing can be made from now on.
        let (taken, looked) = self.look_to_give_back(request)?;
        if !looked.refused.is_empty() {
            if marked.is_some() {
                self.catalogue.mark_deleting(false)?;
            }
            return Ok(looked);
        }
        if let Some(marked) = marked {
            self.drop_own_snapshots()?;
            let expect = Entries::from([(SR_KEY.to_owned(), marked.bytes)]);
            let doing = format!("removing the catalogue of SR {}", self.sr);
            match self.pool.remove_object(&self.catalogue.object(), &expect) {
                Err(e) if e.is_not_found() => {}
                other => other.doing(&doing)?,
            }
        }
        for image in &taken {
            self.give_image_back(image)?;
        }
        let transaction = Transaction::default().erase(directory_key(&self.sr));
        match self.pool.transaction(DIRECTORY, &transaction) {
            Err(e) if e.is_not_found() => {}
            other => other.doing("removing the SR from the pool's directory")?,
        }
        report.done = true;
        Ok(report)
    }

    /// The images that were taken over, and what prevents that they are given back.
    fn look_to_give_back(&self, request: &AdoptionRequest) -> Result<(Vec<Taken>, Adoption)> {
        let mut report = Adoption {
            sr: self.sr,
            pool: self.pool.spec(),
            undo: true,
            ..Adoption::default()
        };
        self.refuse_while_plugged(request, &mut report);
        let images = self.pool.images().doing("listing the pool's images")?;
        let mut taken = Vec::new();
        for (id, name) in &images {
            let is_older = OlderNames::of_image(name).is_some();
            if !is_older && self.images.vdi_of_name(name).is_none() {
                continue;
            }
            let state = match self.pool.image(id) {
                Err(e) if e.is_not_found() => continue,
                other => other.doing(&format!("looking at image {name}"))?,
            };
            let Some(from) = self.adopted_from(&state) else {
                continue;
            };
            report.refused.extend(self.what_prevents(&state)?);
            if from != *name && images.values().any(|other| *other == from) {
                report.refused.push(Remark::new(
                    &from,
                    format!("another image has this name, which image {name} had before"),
                    "rename the other one with 'rbd rename'",
                ));
            }
            report.disks.push(disk(&state, &from, &request.known));
            taken.push(Taken { state, from });
        }
        match self.catalogue.read() {
            Err(Error::SrMissing { .. }) if taken.is_empty() => report.refused.push(Remark::new(
                format!("SR {}", self.sr),
                "nothing of it was taken over from CephRBDSR",
                "",
            )),
            Err(Error::SrMissing { .. }) => {}
            other => report.refused.extend(self.what_is_lost(&other?, &taken)),
        }
        Ok((taken, report))
    }

    /// What smblock has made since, or is doing: it would be lost.
    fn what_is_lost(&self, entries: &Entries, taken: &[Taken]) -> Vec<Remark> {
        let pool = self.pool.spec();
        let mut lost = Vec::new();
        for (key, value) in entries {
            let remark = match key.split_once('.') {
                Some(("vdi", uuid)) => match Stored::<VdiRecord>::parse(value.clone()) {
                    Ok(stored) => self.what_is_lost_of(&stored.record, taken),
                    Err(e) => Some(Remark::new(format!("VDI {uuid}"), e.to_string(), "")),
                },
                Some(("op", uuid)) => Some(Remark::new(
                    format!("VDI {uuid}"),
                    "an operation on it is not finished",
                    format!("smblock doctor --repair {}", self.sr),
                )),
                Some(("hidden" | "trash", id)) => Some(Remark::new(
                    format!("image id {id} in pool {pool}"),
                    "a VDI of it was destroyed, and its space is not freed yet",
                    format!(
                        "destroy its snapshots, and run: smblock reclaim {}",
                        self.sr
                    ),
                )),
                _ => None,
            };
            lost.extend(remark);
        }
        lost
    }

    fn what_is_lost_of(&self, record: &VdiRecord, taken: &[Taken]) -> Option<Remark> {
        let object = format!("VDI {} ({})", record.uuid, record.xapi.name_label);
        let id = &record.volume.image().id;
        let image = taken.iter().find(|image| image.state.id == *id);
        let keep = "destroy it, or copy it to another SR with 'xe vdi-copy' first";
        let Some(image) = image else {
            let why = "smblock has made its image since the adoption, also by a revert";
            return Some(Remark::new(object, why, keep));
        };
        let names = OlderNames::of_image(&image.from);
        let is_older = match record.volume.snapshot() {
            None => names.and_then(|names| names.disk(&image.from)) == Some(record.uuid),
            Some(snapshot) => {
                names.and_then(|names| names.snapshot(&snapshot.name)) == Some(record.uuid)
            }
        };
        if !is_older {
            return Some(Remark::new(
                object,
                "smblock has made it since the adoption",
                keep,
            ));
        }
        if let Some(claim) = &record.claim {
            return Some(Remark::new(
                object,
                format!("host {} has claimed it", claim.owner.host),
                format!("smblock release --vdi {} {}", record.uuid, self.sr),
            ));
        }
        let why = "its changes are forgotten at each start, and smblock keeps a snapshot for that";
        let fix = format!(
            "xe vdi-param-set uuid={} on-boot=persist, then start its VM once",
            record.uuid
        );
        record
            .reset_point
            .as_ref()
            .map(|_| Remark::new(object, why, fix))
    }

    /// Removes the snapshots that are no VDIs: CephRBDSR would refuse to delete their disks. No disk is in use, so
    /// no command adopts a prepared one.
    fn drop_own_snapshots(&self) -> Result<()> {
        let entries = self.catalogue.read()?;
        self.drop_all_prepared(&entries)?;
        self.drop_lineages(&entries)?;
        for (_, value) in with_prefix(&entries, crate::catalogue::VDI_PREFIX) {
            let Ok(stored) = Stored::<VdiRecord>::parse(value.clone()) else {
                continue; // refused above
            };
            self.drop_base(&stored.record.uuid, &stored)?;
        }
        Ok(())
    }

    fn give_image_back(&self, image: &Taken) -> Result<()> {
        let (id, from) = (&image.state.id, &image.from);
        let snapshots = image.state.snapshots.iter();
        for snapshot in snapshots.filter(|s| !s.removed && is_older_snapshot(&s.name)) {
            let protected = self.pool.set_protected(id, snapshot.id, true);
            protected.doing(&format!("protecting snapshot {} of {from}", snapshot.name))?;
        }
        let names = OlderNames::of_image(from);
        let vdi = names.and_then(|names| names.disk(from)).unwrap_or_default();
        self.return_image(id, from, &self.images.first_name(&vdi))
    }
}

/// A disk, as it is reported.
fn disk(state: &ImageState, from: &str, known: &[XapiVdi]) -> AdoptedDisk {
    let name = |uuid: &Uuid| {
        let vdi = known.iter().find(|vdi| vdi.uuid == *uuid);
        vdi.map_or_else(String::new, |vdi| vdi.fields.name_label.clone())
    };
    let names = OlderNames::of_image(from);
    let vdis = names.as_ref().map(|names| snapshots_of(names, state).0);
    let snapshots = vdis.unwrap_or_default().into_iter();
    let uuid = names.and_then(|names| names.disk(from)).unwrap_or_default();
    AdoptedDisk {
        uuid,
        name: name(&uuid),
        size: state.size,
        from: from.to_owned(),
        to: state.name.clone(),
        parents: 0,
        snapshots: snapshots
            .map(|(uuid, snapshot)| AdoptedSnapshot {
                uuid,
                name: name(&uuid),
                size: snapshot.size,
                snapshot: snapshot.name,
            })
            .collect(),
    }
}
