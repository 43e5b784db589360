//! Scanning an SR.
//!
//! XAPI forgets a VDI that a scan does not list, and its name. So each VDI of the catalogue is listed, also
//! if its image does not exist: it may be in another pool. What cannot be read is an error, or is reported as
//! XAPI has it.

mod figures;
mod sizes;
mod unrecorded;

use std::collections::{BTreeMap, HashMap, HashSet};

use sr::xapi::{ScannedVdi, XapiFields, XapiVdi};
use uuid::Uuid;

use self::figures::Figures;
use crate::catalogue::{image_prefix, vdi_key, Stored, VDI_PREFIX};
use crate::error::{Context, Error, ImageError, Result};
use crate::pool::spec::as_option;
use crate::pool::Entries;
use crate::record::{ImageMeta, Unreadable, VdiRecord};
use crate::usage::PoolUsage;
use crate::CephSr;

/// What a scan found.
#[derive(Debug)]
pub struct Scan {
    /// Every VDI of the SR.
    pub vdis: Vec<ScannedVdi>,
    /// How full the pool is.
    pub usage: PoolUsage,
    /// What an administrator should look at, one sentence each.
    pub warnings: Vec<String>,
    /// Snapshots that XAPI has without the disk that they are snapshots of.
    without_disk: HashSet<Uuid>,
    figures: Figures,
}

impl CephSr<'_> {
    /// Reads the catalogue, recovers operations of dead processes, copies XAPI's fields, and lists the VDIs.
    /// `known`: every VDI that XAPI's database has in this SR.
    pub fn scan(&self, known: &[XapiVdi]) -> Result<Scan> {
        let (mut images, mut entries) = self.read_inventory()?;
        if self.recover_all(self.catalogue.intents(&entries))? > 0 {
            (images, entries) = self.read_inventory()?;
        }
        self.alerts.alert_own_death(
            self.alerts
                .host_in(&entries, &self.host.owner().host)
                .as_ref(),
        );
        self.alerts.alert_if_cut_off();
        if self.adopt_moved(&entries, &images)? > 0 {
            (images, entries) = self.read_inventory()?;
        }
        let known: HashMap<Uuid, &XapiVdi> = known.iter().map(|v| (v.uuid, v)).collect();
        let mut scan = Scan {
            vdis: Vec::with_capacity(entries.len()),
            usage: self.usage()?,
            warnings: Vec::new(),
            without_disk: HashSet::new(),
            figures: Figures::default(),
        };
        scan.warnings.extend(self.record_grown_sizes(&mut entries)?);
        for (key, value) in entries.range(VDI_PREFIX.to_owned()..) {
            let Some(uuid) = key.strip_prefix(VDI_PREFIX) else {
                break;
            };
            let Ok(uuid) = uuid.parse::<Uuid>() else {
                scan.warn(format!("{key} in the catalogue is not a VDI's key"));
                continue;
            };
            let vdi = match Stored::parse(value.clone()) {
                Ok(stored) => self.scan_vdi(&stored, known.get(&uuid), &images, &mut scan)?,
                Err(reason) => {
                    let found = self.describe_damaged(uuid, known.get(&uuid), &images)?;
                    scan.warn(self.warn_of_damage(uuid, &reason, found.is_some()));
                    found
                }
            };
            scan.vdis.extend(vdi);
        }
        let (unrecorded, warnings) = self.scan_unrecorded(&entries, &images, &known)?;
        scan.vdis.extend(unrecorded);
        scan.warnings.extend(warnings);
        let bases = self.drop_stale_bases(&entries);
        let prepared = self.drop_prepared_among(&entries).map(drop);
        let lineages = self.drop_lineages(&entries);
        for cleaned in [
            bases,
            prepared,
            lineages,
            self.collect_garbage(&entries, || Ok(scan.usage.clone())),
        ] {
            if let Err(e) = cleaned {
                scan.warn(format!("cleanup postponed: {e}"));
            }
        }
        if self.is_count_due(&entries) && self.worker_among(&entries).is_none() {
            self.leave_to_worker();
        }
        for warning in &scan.warnings {
            log::warn!("SR {}: {warning}", self.sr);
        }
        Ok(scan)
    }

    /// Reads the pool's images, and then the catalogue. In this order, a VDI that is deleted in between has
    /// no record. In the other order it has one, its image is found in the trash, and the scan would restore
    /// the VDI.
    fn read_inventory(&self) -> Result<(BTreeMap<String, String>, Entries)> {
        let images = self.pool.images().doing("listing the pool's images")?;
        let entries = self.catalogue.read()?;
        self.catalogue.refuse_newer(&entries)?;
        Ok((images, entries))
    }

    fn scan_vdi(
        &self,
        stored: &Stored<VdiRecord>,
        known: Option<&&XapiVdi>,
        images: &BTreeMap<String, String>,
        scan: &mut Scan,
    ) -> Result<Option<ScannedVdi>> {
        let record = &stored.record;
        let image = record.volume.image();
        if !images.contains_key(&image.id) {
            // The header is read, because opening an image fails with ENOENT even if only its name, or its
            // parent, does not exist.
            match self.pool.features(&image.id) {
                Ok(features) => {
                    scan.warn(self.images.explain_unlisted(record.uuid, image, features));
                }
                Err(e) if !e.is_not_found() => {
                    return Err(e).doing(&format!("looking for image {}", image.name));
                }
                // The administrator decides whether it is lost.
                Err(_) => match self.images.explain_missing(record.uuid, image) {
                    reason @ (Error::ByHand(_) | Error::Image(ImageError::Missing { .. })) => {
                        scan.warn(reason.to_string());
                    }
                    error => return Err(error),
                },
            }
        }
        let mut xapi = record.xapi.clone();
        if let Some(known) = known {
            // If another process has changed the record meanwhile, the next scan copies the fields.
            self.copy_fields(stored, &known.fields)?;
            xapi = known.fields.after(&record.xapi);
            if xapi.snapshot_of != known.fields.snapshot_of {
                scan.without_disk.insert(record.uuid);
            }
        }
        Ok(Some(ScannedVdi {
            uuid: record.uuid,
            size: record.size,
            utilisation: scan.figures.of(record, known.copied()),
            xapi,
            cbt_enabled: record.cbt,
            known_to_xapi: known.is_some(),
        }))
    }

    /// Reports a VDI whose record cannot be read as XAPI has it, or as its image shows it. `None`: neither
    /// XAPI nor the pool's directory has it.
    fn describe_damaged(
        &self,
        uuid: Uuid,
        known: Option<&&XapiVdi>,
        images: &BTreeMap<String, String>,
    ) -> Result<Option<ScannedVdi>> {
        if let Some(known) = known {
            return Ok(Some(ScannedVdi {
                uuid,
                size: known.size,
                utilisation: Some(known.utilisation),
                xapi: known.fields.clone(),
                cbt_enabled: false,
                known_to_xapi: true,
            }));
        }
        let doing = format!("describing VDI {uuid}, whose record is damaged, from its image");
        let prefix = format!("{}{uuid}.", image_prefix(&self.sr));
        let id = images.iter().find(|(_, name)| name.starts_with(&prefix));
        let Some((id, _)) = id else {
            return Ok(None);
        };
        let image = match self.pool.image(id) {
            Err(e) if e.is_not_found() => return Ok(None), // removed in between
            other => other.doing(&doing)?,
        };
        let meta = image.meta.as_deref().map(serde_json::from_str::<ImageMeta>);
        let xapi = match meta {
            Some(Ok(meta)) => meta.xapi,
            _ => XapiFields::default(),
        };
        Ok(Some(ScannedVdi {
            uuid,
            size: image.size,
            utilisation: None,
            xapi,
            cbt_enabled: false,
            known_to_xapi: false,
        }))
    }

    fn warn_of_damage(&self, uuid: Uuid, reason: &Unreadable, is_listed: bool) -> String {
        let state = reason.state();
        let damaged = format!("the catalogue's record of VDI {uuid} {state}: {reason}");
        if is_listed {
            return damaged;
        }
        if let Unreadable::Newer(_) = reason {
            return format!("{damaged}. XAPI does not have this VDI, so it is not listed yet");
        }
        let (pool, object, key) = (self.pool.spec(), self.catalogue.object(), vdi_key(&uuid));
        let place = as_option(&pool);
        format!(
            "{damaged}. Neither XAPI nor the directory of pool {pool} has this VDI, so it is not listed. To remove the record: 'rados -p {place} rmomapkey {object} {key}'; 'rbd trash ls --all {pool}' shows whether an image of the VDI is in the trash"
        )
    }
}

impl Scan {
    fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// Returns the disk of each snapshot for which XAPI does not have it, if the SR still has that disk.
    pub fn disks_of_snapshots(&self) -> HashMap<Uuid, Uuid> {
        let listed: HashSet<Uuid> = self.vdis.iter().map(|vdi| vdi.uuid).collect();
        let unknown = self.vdis.iter();
        let unknown = unknown.filter(|v| !v.known_to_xapi || self.without_disk.contains(&v.uuid));
        let of = unknown.filter_map(|vdi| Some((vdi.uuid, vdi.xapi.snapshot_of?)));
        of.filter(|(_, disk)| listed.contains(disk)).collect()
    }

    /// Returns the sum of the VDIs' virtual sizes in bytes.
    pub fn virtual_allocation(&self) -> u64 {
        self.vdis.iter().map(|vdi| vdi.size).sum()
    }
}
