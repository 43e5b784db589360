//! What all parts of the doctor look at, read once.

use std::collections::{BTreeMap, BTreeSet};

use sr::doctor::OfSr;
use sr::finding::Finding;
use uuid::Uuid;

use crate::catalogue::{records, with_prefix, Stored, VDI_PREFIX};
use crate::error::{Context, Result};
use crate::host::{Mapped, Membership};
use crate::pool::Entries;
use crate::record::{Intent, VdiRecord};
use crate::CephSr;

/// What all parts look at, read once.
pub(super) struct Doctor<'d, 'a> {
    pub(super) sr: &'d CephSr<'a>,
    /// The pool's directory: name by image id.
    pub(super) images: BTreeMap<String, String>,
    pub(super) entries: Entries,
    /// The VDIs whose records can be read.
    pub(super) vdis: Vec<VdiRecord>,
    pub(super) intents: Vec<(Uuid, Stored<Intent>)>,
    /// This host's devices that show images of the SR.
    pub(super) devices: Vec<Mapped>,
    pub(super) found: Vec<Finding>,
}

impl<'d, 'a> Doctor<'d, 'a> {
    /// Reads what the parts look at.
    pub(super) fn new(sr: &'d CephSr<'a>) -> Result<Self> {
        // In the order of a scan: of a VDI that is deleted in between there is no record then.
        let images = sr.pool.images().doing("listing the pool's images")?;
        Ok(Doctor {
            images,
            ..Self::without_images(sr)?
        })
    }

    /// The same without the pool's directory, which is long.
    pub(super) fn without_images(sr: &'d CephSr<'a>) -> Result<Self> {
        let entries = sr.catalogue.read()?;
        let mut devices = sr.devices.of_sr("listing this host's devices")?;
        devices.retain(|device| sr.images.vdi_of_name(&device.image_name).is_some());
        let vdis = records::<VdiRecord>(&entries, VDI_PREFIX).map(|stored| stored.record);
        Ok(Doctor {
            sr,
            images: BTreeMap::new(),
            vdis: vdis.collect(),
            intents: sr.catalogue.intents(&entries),
            devices,
            entries,
            found: Vec::new(),
        })
    }
}

impl Doctor<'_, '_> {
    pub(super) fn what_the_sr_has(&self) -> OfSr {
        let mapped = |record: &&VdiRecord| {
            let image = record.volume.image();
            let mut devices = self.devices.iter();
            devices.any(|device| device.key.image_id == image.id)
        };
        // A record that cannot be read is a VDI's, too.
        let keys = with_prefix(&self.entries, VDI_PREFIX);
        let vdis = keys.filter_map(|(key, _)| key.strip_prefix(VDI_PREFIX)?.parse().ok());
        let unclaimed = self.vdis.iter().filter(|record| record.claim.is_none());
        OfSr {
            vdis: vdis.collect(),
            on_this_host: self.vdis.iter().filter(mapped).map(|r| r.uuid).collect(),
            under_way: self.intents.iter().map(|(vdi, _)| *vdi).collect(),
            unclaimed: unclaimed.map(|r| r.uuid).collect(),
        }
    }

    /// What XAPI has about each of these hosts.
    pub(super) fn memberships(
        &self,
        hosts: BTreeSet<&str>,
    ) -> Result<BTreeMap<String, Membership>> {
        let known = hosts.into_iter().map(|host| {
            let doing = format!("asking XAPI about host {host}");
            let membership = self.sr.host.membership(host).doing(&doing)?;
            Ok((host.to_owned(), membership))
        });
        known.collect()
    }

    /// `VDI <UUID> (<name>)`
    pub(super) fn name_of(&self, vdi: &Uuid) -> String {
        let record = self.vdis.iter().find(|record| record.uuid == *vdi);
        match record.map(|record| record.xapi.name_label.as_str()) {
            None | Some("") => format!("VDI {vdi}"),
            Some(name) => format!("VDI {vdi} ({name})"),
        }
    }

    /// What the next scan does by itself.
    pub(super) fn scan_or_repair(&self) -> String {
        let sr = self.sr.sr;
        format!("xe sr-scan uuid={sr}, or: smblock doctor {sr} --repair")
    }
}
