//! What the pool has of CephRBDSR, and what prevents that it is taken over. Changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use sr::engine::{Adoption, AdoptionRequest, Remark};
use uuid::Uuid;

use super::describe;
use crate::catalogue::{vdi_key, Stored};
use crate::error::{Context, Error, Result};
use crate::image::older::OlderNames;
use crate::pool::{Entries, ImageState, SnapshotKind, SnapshotState};
use crate::record::{ImageMeta, ImageRef, SrRecord};
use crate::CephSr;

/// The longest clone chain that a kernel maps, in parents.
const MAPPED_PARENTS: u32 = 16;

/// An image of CephRBDSR.
pub(super) struct Candidate {
    /// Its VDI.
    pub vdi: Uuid,
    /// Its name in CephRBDSR.
    pub from: String,
    /// The image, with the name that smblock gives it.
    pub image: ImageRef,
    /// Whether it has that name already: an earlier run has stopped.
    pub is_renamed: bool,
    /// How many parents it has.
    pub parents: u32,
    /// Its snapshots that are VDIs.
    pub snapshots: Vec<(Uuid, SnapshotState)>,
    /// What it is now.
    pub state: ImageState,
}

/// What the pool has.
pub(super) struct Found {
    /// The catalogue. `None`: there is none.
    pub catalogue: Option<(Stored<SrRecord>, Entries)>,
    /// The images to take over, in the order of their old names.
    pub candidates: Vec<Candidate>,
    /// What is reported about all of it.
    pub report: Adoption,
    /// The feature bits that this host's kernel can map, if that is known.
    mappable: Option<u64>,
}

impl CephSr<'_> {
    /// Looks at the SR's pool.
    pub(super) fn look_for_older(&self, request: &AdoptionRequest) -> Result<Found> {
        let doing = "listing the pool's images";
        let images = self.pool.images().doing(doing)?;
        let mut found = Found {
            catalogue: self.catalogue_if_any()?,
            candidates: Vec::new(),
            report: Adoption {
                sr: self.sr,
                pool: self.pool.spec(),
                undo: request.undo,
                ..Adoption::default()
            },
            mappable: None,
        };
        match self.host.supported_features() {
            Ok(mappable) => found.mappable = mappable,
            Err(e) => found.report.notes.push(describe::unknown_kernel(&e)),
        }
        self.refuse_while_plugged(request, &mut found.report);
        let names = OlderNames::new(&request.facts.prefix);
        let by_name: BTreeMap<&String, &String> = images.iter().map(|(i, n)| (n, i)).collect();
        for (name, id) in by_name {
            if let Some(vdi) = names.disk(name) {
                self.look_at(&mut found, &names, (id, name), (vdi, name))?;
            } else if let Some((vdi, from)) = self.interrupted(&found, id, name)? {
                let names = OlderNames::of_image(&from).unwrap_or_else(|| names.clone());
                self.look_at(&mut found, &names, (id, name), (vdi, &from))?;
            } else if !request.undo {
                let left = describe::left_alone(&names, name, &self.pool.spec());
                found.report.left.extend(left);
            }
        }
        refuse_duplicates(&found.candidates, &mut found.report);
        Ok(found)
    }

    fn catalogue_if_any(&self) -> Result<Option<(Stored<SrRecord>, Entries)>> {
        match self.catalogue.sr_record() {
            Err(Error::SrMissing { .. }) => Ok(None),
            other => Ok(Some((other?, self.catalogue.read()?))),
        }
    }

    pub(super) fn refuse_while_plugged(&self, request: &AdoptionRequest, report: &mut Adoption) {
        let hosts = &request.facts.plugged;
        if !hosts.is_empty() {
            report.refused.push(Remark::new(
                format!("SR {}", self.sr),
                format!("it is plugged on: {}", hosts.join(", ")),
                format!("shut down the VMs that use it, and run 'xe pbd-unplug uuid=PBD' for each PBD of 'xe pbd-list sr-uuid={}'", self.sr),
            ));
        }
    }

    /// The VDI and the old name of an image that has its new name and no record: a run has stopped.
    fn interrupted(&self, found: &Found, id: &str, name: &str) -> Result<Option<(Uuid, String)>> {
        let Some(vdi) = self.images.vdi_of_name(name) else {
            return Ok(None);
        };
        let is_recorded = |(_, entries): &(_, Entries)| entries.contains_key(&vdi_key(&vdi));
        if found.catalogue.as_ref().is_some_and(is_recorded) {
            return Ok(None);
        }
        match self.pool.image(id) {
            Err(e) if e.is_not_found() => Ok(None),
            other => {
                let state = other.doing(&format!("looking at image {name}"))?;
                Ok(self.adopted_from(&state).map(|from| (vdi, from)))
            }
        }
    }

    /// The old name of an image that was taken over for this SR.
    pub(super) fn adopted_from(&self, state: &ImageState) -> Option<String> {
        let meta = state.meta.as_deref()?;
        let meta: ImageMeta = serde_json::from_str(meta).ok()?;
        // A clone that was made by hand has the image-meta of its parent.
        let is_its_own = Some(meta.vdi) == self.images.vdi_of_name(&state.name)
            || meta.adopted_from.as_deref() == Some(state.name.as_str());
        meta.adopted_from
            .filter(|_| meta.sr == self.sr && is_its_own)
    }

    /// Looks at one image: adds it to what is taken over, or to what refuses that.
    fn look_at(
        &self,
        found: &mut Found,
        names: &OlderNames,
        (id, name): (&str, &str),
        (vdi, from): (Uuid, &str),
    ) -> Result<()> {
        let image = ImageRef {
            name: self.images.first_name(&vdi),
            id: id.to_owned(),
        };
        let state = match self.pool.image(id) {
            Err(e) if e.is_not_found() => {
                let refused = describe::half_deleted(&self.pool.spec(), name);
                found.report.refused.push(refused);
                return Ok(());
            }
            other => other.doing(&format!("looking at image {name}"))?,
        };
        found.report.refused.extend(self.what_prevents(&state)?);
        let (snapshots, others) = snapshots_of(names, &state);
        let pool = &self.pool.spec();
        let others = others.iter().map(|s| describe::no_vdi(pool, name, s));
        found.report.notes.extend(others);
        let (parents, note) = self.count_parents(&state)?;
        found.report.notes.extend(note);
        let lacking = found.mappable.map_or(0, |bits| state.features & !bits);
        let lacking = hostdev::ImageFeatures::from_bits_retain(lacking);
        let note = describe::unmappable(pool, name, &lacking);
        found.report.notes.extend(note);
        found.candidates.push(Candidate {
            vdi,
            from: from.to_owned(),
            is_renamed: image.name == name,
            image,
            parents,
            snapshots,
            state,
        });
        Ok(())
    }

    /// Why an image must not change its owner now.
    pub(super) fn what_prevents(&self, state: &ImageState) -> Result<Vec<Remark>> {
        let (id, name) = (&state.id, &state.name);
        let mut refused = Vec::new();
        if let Some(refusal) = self.images.refusal_of(name, state.features) {
            refused.push(Remark::new(name, refusal.to_string(), ""));
        }
        match self.pool.require_unlocked(id) {
            Err(e) if e.errno == nix::libc::EBUSY => {
                refused.push(Remark::new(name, e.to_string(), "remove the lock"));
            }
            other => other.doing(&format!("looking at image {name}"))?,
        }
        refused.extend(self.who_uses(id, name)?);
        Ok(refused)
    }

    /// The clients that have an image open, and this host's devices of it: a kernel from Linux 5.5 on does not
    /// watch what it maps read-only.
    pub(super) fn who_uses(&self, id: &str, name: &str) -> Result<Vec<Remark>> {
        let doing = format!("listing the watchers of image {name}");
        let watchers = self.pool.watchers(id).doing(&doing)?;
        let clients = watchers.iter().map(|w| describe::in_use(name, &w.address));
        let mut refused: Vec<_> = clients.collect();
        let devices = self.devices.of_sr("listing this host's devices")?;
        let devices = devices.iter().filter(|device| device.key.image_id == id);
        refused.extend(devices.map(|device| describe::mapped_here(name, &device.device)));
        Ok(refused)
    }

    /// How many parents an image has, and a note if they cannot all be counted, or are too many.
    fn count_parents(&self, state: &ImageState) -> Result<(u32, Option<Remark>)> {
        let (mut id, mut count) = (state.id.clone(), 0);
        // A chain without an end would be a fault of the pool.
        while count < 100 {
            let doing = format!("looking for the parents of image {}", state.name);
            let Some((parent, is_here)) = self.pool.parent(&id).doing(&doing)? else {
                break;
            };
            count += 1;
            if !is_here {
                return Ok((count, Some(describe::foreign_parent(&state.name, &parent))));
            }
            id = parent;
        }
        let long = count > MAPPED_PARENTS;
        let pool = &self.pool.spec();
        Ok((
            count,
            long.then(|| describe::long_chain(pool, &state.name, count)),
        ))
    }
}

/// The snapshots of an image that are VDIs, and the other ones that are not removed.
pub(super) fn snapshots_of(
    names: &OlderNames,
    state: &ImageState,
) -> (Vec<(Uuid, SnapshotState)>, Vec<SnapshotState>) {
    let (mut vdis, mut others) = (Vec::new(), Vec::new());
    for snapshot in state.snapshots.iter().filter(|s| !s.removed) {
        let vdi = names.snapshot(&snapshot.name);
        match vdi.filter(|_| snapshot.kind == SnapshotKind::User) {
            Some(vdi) => vdis.push((vdi, snapshot.clone())),
            None => others.push(snapshot.clone()),
        }
    }
    (vdis, others)
}

/// Two images, or two snapshots, of one UUID: which one is the VDI is not known.
fn refuse_duplicates(candidates: &[Candidate], report: &mut Adoption) {
    let mut seen = BTreeSet::new();
    for candidate in candidates {
        let (vdi, name) = (candidate.vdi, &candidate.state.name);
        if !seen.insert(vdi) {
            report.refused.push(describe::duplicate(&vdi, name));
        }
        for (vdi, snapshot) in &candidate.snapshots {
            if !seen.insert(*vdi) {
                let name = format!("{name}@{}", snapshot.name);
                report.refused.push(describe::duplicate(vdi, &name));
            }
        }
    }
}
