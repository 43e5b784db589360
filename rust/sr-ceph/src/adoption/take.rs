//! Taking the images over. `adoption.rs` states why it may be stopped anywhere.

use std::collections::{BTreeMap, BTreeSet};

use sr::engine::{AdoptedDisk, AdoptedSnapshot, Adoption, AdoptionRequest, StaleKey};
use sr::xapi::{XapiFields, XapiVdi, NO_TIME};
use uuid::Uuid;

use super::describe;
use super::look::{snapshots_of, Candidate, Found};
use crate::catalogue::{vdi_key, SR_KEY};
use crate::error::{Context, Error, Result};
use crate::image::older::OlderNames;
use crate::pool::{Entries, Transaction};
use crate::record::{ImageMeta, Record, SnapshotRef, SrRecord, VdiRecord, Volume, VERSION};
use crate::CephSr;

/// XAPI's records of the SR's VDIs, by UUID.
type Known<'k> = BTreeMap<Uuid, &'k XapiVdi>;

impl CephSr<'_> {
    /// Takes over the disks of CephRBDSR.
    pub(super) fn take_over(&self, request: &AdoptionRequest) -> Result<Adoption> {
        let doing = format!("adopting the disks of SR {}", self.sr);
        let known: Known<'_> = request.known.iter().map(|vdi| (vdi.uuid, vdi)).collect();
        let mut found = self.look_for_older(request)?;
        self.compare(&mut found, request, &known)?;
        let without = &request.facts.without_smblock;
        let without = (!without.is_empty()).then(|| describe::without_smblock(&without.join(", ")));
        found.report.refused.extend(without);
        if found.candidates.is_empty() && found.catalogue.is_some() {
            found.report.done = true; // an earlier run has done it all
            return Ok(found.report);
        }
        if found.candidates.is_empty() && found.report.refused.is_empty() {
            let names = OlderNames::new(&request.facts.prefix);
            let nothing = describe::nothing(&self.pool.spec(), &names);
            found.report.refused.push(nothing);
        }
        self.require_place(&doing)?;
        if !request.act || !found.report.refused.is_empty() {
            return Ok(found.report);
        }
        self.prepare_place(&doing)?;
        for candidate in &found.candidates {
            let refused = self.take_image(candidate, known.get(&candidate.vdi))?;
            if !refused.is_empty() {
                found.report.refused = refused;
                return Ok(found.report);
            }
        }
        if !self.record_all(&mut found, request, &known, &doing)? {
            return self.take_over(request); // another process has written to the catalogue
        }
        found.report.done = true;
        Ok(found.report)
    }

    /// Compares what was found with XAPI and with the catalogue, and describes it.
    fn compare(
        &self,
        found: &mut Found,
        request: &AdoptionRequest,
        known: &Known<'_>,
    ) -> Result<()> {
        let (candidates, report) = (&found.candidates, &mut found.report);
        let recorded: BTreeSet<Uuid> = match &found.catalogue {
            None => BTreeSet::new(),
            Some((sr, entries)) => {
                if sr.record.deleting {
                    return Err(Error::SrDeleting { sr: self.sr });
                }
                let keys = entries.keys().filter_map(|key| key.strip_prefix("vdi."));
                keys.filter_map(|uuid| uuid.parse().ok()).collect()
            }
        };
        let mut present = recorded.clone();
        for candidate in candidates {
            let name = &candidate.state.name;
            let snapshots = candidate.snapshots.iter();
            let sizes = snapshots.map(|(vdi, snapshot)| (*vdi, snapshot.size));
            for (vdi, size) in [(candidate.vdi, candidate.state.size)]
                .into_iter()
                .chain(sizes)
            {
                present.insert(vdi);
                if recorded.contains(&vdi) {
                    report.refused.push(describe::recorded(&vdi, name));
                }
                if let Some(sr) = request.facts.elsewhere.get(&vdi) {
                    report.refused.push(describe::elsewhere(name, &vdi, sr));
                }
                if let Some(vdi) = known.get(&vdi).filter(|vdi| vdi.size != size) {
                    let note = describe::other_size(&vdi.uuid, vdi.size, size);
                    report.notes.push(note);
                }
            }
            report.disks.push(disk(candidate, known));
        }
        let lost = known.values().filter(|vdi| !present.contains(&vdi.uuid));
        let lost = lost.map(|vdi| describe::without_image(&vdi.uuid, &vdi.fields.name_label));
        report.notes.extend(lost);
        report.stale_keys = stale_keys(request);
        Ok(())
    }

    /// Makes an image smblock's. Returns why it is not: then it is as it was.
    fn take_image(
        &self,
        candidate: &Candidate,
        known: Option<&&XapiVdi>,
    ) -> Result<Vec<sr::engine::Remark>> {
        let (id, from, to) = (&candidate.image.id, &candidate.from, &candidate.image.name);
        let doing = format!("taking over image {from}");
        let refused = self.who_uses(id, &candidate.state.name)?;
        if !refused.is_empty() {
            return Ok(refused);
        }
        if !candidate.is_renamed {
            let meta = ImageMeta {
                version: VERSION,
                sr: self.sr,
                vdi: candidate.vdi,
                xapi: fields_of_disk(candidate, known),
                adopted_from: Some(from.clone()),
            };
            let text = meta.to_text(&doing)?;
            let set = self.pool.set_image_meta(id, Some(&text));
            set.doing(&doing)?;
        }
        // Repeated for an image that has the name: an interrupted rename may have left the old one, too.
        self.pool.rename_image(id, from, to).doing(&doing)?;
        let refused = self.who_uses(id, to)?;
        if !refused.is_empty() {
            self.return_image(id, from, to)?;
        }
        Ok(refused)
    }

    /// Gives an image its old name, and then removes its image-meta, which has that name.
    pub(super) fn return_image(&self, id: &str, from: &str, to: &str) -> Result<()> {
        let doing = format!("giving image {to} its name {from} back");
        self.pool.rename_image(id, to, from).doing(&doing)?;
        self.pool.set_image_meta(id, None).doing(&doing)
    }

    /// Writes the records of all VDIs in one operation. Returns `false` if the catalogue is not as it was: look
    /// again.
    fn record_all(
        &self,
        found: &mut Found,
        request: &AdoptionRequest,
        known: &Known<'_>,
        doing: &str,
    ) -> Result<bool> {
        let mut records = Entries::new();
        for candidate in &mut found.candidates {
            // CephRBDSR may have taken a snapshot until the image was renamed.
            let state = self.pool.image(&candidate.image.id).doing(doing)?;
            let names = OlderNames::of_image(&candidate.from);
            if let Some(names) = names {
                candidate.snapshots = snapshots_of(&names, &state).0;
            }
            candidate.state = state;
            for mut record in self.records_of(candidate, known) {
                records.insert(vdi_key(&record.uuid), record.seal());
            }
        }
        let disks = found.candidates.iter();
        found.report.disks = disks.map(|candidate| disk(candidate, known)).collect();
        let Some((stored, _)) = &found.catalogue else {
            let facts = &request.facts;
            let (label, description) = (&facts.name_label, &facts.name_description);
            let mut sr = SrRecord::new(self.sr, label, description, self.host.now());
            records.insert(SR_KEY.to_owned(), sr.seal());
            return match self.pool.create_object(&self.catalogue.object(), &records) {
                Err(e) if e.is_already_there() => Ok(false),
                other => other.doing(doing).map(|()| true),
            };
        };
        let mut transaction = Transaction::default().expect(SR_KEY.to_owned(), Some(stored));
        for (key, value) in records {
            transaction = transaction
                .expect::<VdiRecord>(key.clone(), None)
                .put(key, value);
        }
        self.catalogue.commit(doing, &transaction)
    }

    /// The records of a disk and of its snapshots.
    fn records_of(&self, candidate: &Candidate, known: &Known<'_>) -> Vec<VdiRecord> {
        let image = &candidate.image;
        let head = Volume::Head {
            image: image.clone(),
        };
        let of_disk = known.get(&candidate.vdi);
        let disk = VdiRecord::new(
            candidate.vdi,
            head,
            candidate.state.size,
            fields_of_disk(candidate, of_disk),
        );
        let snapshots = candidate.snapshots.iter().map(|(vdi, snapshot)| {
            let volume = Volume::Snapshot {
                image: image.clone(),
                snapshot: SnapshotRef {
                    name: snapshot.name.clone(),
                    id: snapshot.id,
                },
            };
            let xapi = fields_of_snapshot(candidate, &snapshot.name, known.get(vdi));
            VdiRecord::new(*vdi, volume, snapshot.size, xapi)
        });
        let records = [disk].into_iter().chain(snapshots);
        records
            .map(|record| record.with_depth(candidate.parents))
            .collect()
    }
}

/// What XAPI has about a disk, or what its image shows.
fn fields_of_disk(candidate: &Candidate, known: Option<&&XapiVdi>) -> XapiFields {
    known.map_or_else(|| unnamed(&candidate.from), |vdi| vdi.fields.clone())
}

/// What XAPI has about a snapshot. CephRBDSR has not always recorded that it is one, and of which disk.
fn fields_of_snapshot(candidate: &Candidate, name: &str, known: Option<&&XapiVdi>) -> XapiFields {
    let fields = known.map_or_else(|| unnamed(name), |vdi| vdi.fields.clone());
    XapiFields {
        read_only: true,
        is_a_snapshot: true,
        snapshot_of: fields.snapshot_of.or(Some(candidate.vdi)),
        ..fields
    }
}

/// The fields of a VDI that XAPI does not have. CephRBDSR stores no names in the pool.
fn unnamed(name: &str) -> XapiFields {
    XapiFields {
        name_label: name.to_owned(),
        name_description: "taken over from CephRBDSR; XAPI had no name for it".to_owned(),
        ty: "user".to_owned(),
        managed: true,
        snapshot_time: NO_TIME.to_owned(),
        ..XapiFields::default()
    }
}

/// A disk, as it is reported.
fn disk(candidate: &Candidate, known: &Known<'_>) -> AdoptedDisk {
    let snapshots = candidate.snapshots.iter().map(|(vdi, snapshot)| {
        let fields = fields_of_snapshot(candidate, &snapshot.name, known.get(vdi));
        AdoptedSnapshot {
            uuid: *vdi,
            name: fields.name_label,
            size: snapshot.size,
            snapshot: snapshot.name.clone(),
        }
    });
    AdoptedDisk {
        uuid: candidate.vdi,
        name: fields_of_disk(candidate, known.get(&candidate.vdi)).name_label,
        size: candidate.state.size,
        from: candidate.from.clone(),
        to: candidate.image.name.clone(),
        parents: candidate.parents,
        snapshots: snapshots.collect(),
    }
}

/// CephRBDSR keeps its devices in keys `host_<reference>_device_path`. SM takes a key that begins with `host_`
/// for a host on which the VDI is in use, and asks that host to pause it.
fn stale_keys(request: &AdoptionRequest) -> Vec<StaleKey> {
    let vdis = request.facts.vdis.iter();
    let keys = vdis.flat_map(|vdi| {
        let keys = vdi.sm_config.keys();
        let stale = keys.filter(|key| key.starts_with("host_") && key.ends_with("_device_path"));
        stale.map(|key| StaleKey {
            vdi: vdi.uuid,
            key: key.clone(),
        })
    });
    keys.collect()
}
