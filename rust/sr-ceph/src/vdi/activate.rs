//! Activating a VDI on this host.
//!
//! For writing: the claim is taken, the image is mapped, the image's other kernels are looked at, and
//! the address that it was mapped with is recorded in the claim. Only then is the device returned. A
//! failure gives all of it back. A crash leaves a claim of this host without a device, or with one;
//! the next activation here uses both, and this host's next scan, plug or unplug removes both.
//!
//! An activation waits for no operation of the journal, and recovers none. A snapshot, a clone or
//! a deletion that is under way does not conflict with it: the claim's swap expects the record as it
//! was read, and so does theirs. A revert looks at the claim in the swap that repoints the disk. An
//! image that grows is mapped with one size or the other. So what a dead process left cannot keep
//! a VM from starting or from migrating, and nothing is resumed while SM holds the VDI's lock.

use uuid::Uuid;

use super::claim::{label_of, Claimed};
use crate::blocklist::is_cut_off;
use crate::catalogue::{image_prefix, Entry};
use crate::cluster::ImageState;
use crate::error::{Context, Error, Result};
use crate::host::{MapRequest, Mapped};
use crate::image_features::ImageFeatures;
use crate::record::VdiRecord;
use crate::Repository;

/// How long a device may be busy when it is unmapped, in seconds: udev looks at new devices.
pub(super) const UNMAP_SECONDS: u64 = 30;
/// The same for what is only removed if it is not in use.
pub(super) const UNMAP_IDLE_SECONDS: u64 = 2;

impl Repository<'_> {
    /// Maps a VDI, and returns its device, which stays the same for each further call. Is not refused
    /// if the pool is full: a VM that migrates must find its disk.
    pub fn activate_vdi(&self, vdi: &Uuid, writable: bool) -> Result<Mapped> {
        loop {
            let entry = self.entry(vdi)?;
            let record = &self.present(&entry, vdi)?.record;
            let image = self.image_state(record)?;
            self.require_features(vdi, &image)?;
            self.warn_if_full(vdi);
            if !writable {
                return self.map_for_reading(record, &image);
            }
            if record.volume.snapshot().is_some() {
                return Err(Error::ReadOnly {
                    vdi: *vdi,
                    refused: "attached for writing",
                });
            }
            if let Some(claimed) = self.claim(vdi, &record.volume)? {
                return self.map_for_writing(vdi, &claimed, &image);
            }
        }
    }

    fn map_for_writing(&self, vdi: &Uuid, claimed: &Claimed, image: &ImageState) -> Result<Mapped> {
        let record = &claimed.stored.record;
        let devices = self.devices_of(vdi, Some(record))?;
        let result = self.map_claimed(claimed, image);
        // A device that was there before this activation may be in use: it stays, whatever was found.
        // A new one goes, also one that the kernel made after all when its deadline was over.
        if result.is_err() && devices.iter().all(|mapped| mapped.read_only) {
            if let Err(e) = self.unmap_devices(vdi, Some(record), |mapped| !mapped.read_only) {
                log::error!("VDI {vdi}: the claim of this host stays until its next command: {e}");
            }
        }
        result
    }

    fn map_claimed(&self, claimed: &Claimed, image: &ImageState) -> Result<Mapped> {
        let record = &claimed.stored.record;
        self.drop_useless_device(record, claimed.fenced)?;
        let mapped = self.map(record, image, false, claimed.fenced)?;
        self.refuse_foreign_kernel(record, &mapped)?;
        self.confirm(claimed, &mapped)?;
        Ok(mapped)
    }

    /// Maps a VDI read-only. On a kernel that watches what it reads, a note of that comes first.
    fn map_for_reading(&self, record: &VdiRecord, image: &ImageState) -> Result<Mapped> {
        self.drop_useless_device(record, false)?;
        let mut note = self.note_reader(record)?;
        let mapped = self.map(record, image, true, false);
        match (&mapped, note.as_mut()) {
            (_, None) => {}
            (Ok(mapped), Some(note)) => self.complete_note(record, note, mapped)?,
            // It may be mapped after all: then the note is needed.
            (Err(e), Some(_)) if e.is_outcome_unknown() => {}
            (Err(_), Some(_)) => self.erase_note(record)?,
        }
        mapped
    }

    /// Removes what a killed command of this host left of a VDI: a device that is not open, the note
    /// of a reader, and the claim. Returns whether the VDI is in use on this host. The caller has made
    /// sure that no tapdisk serves the VDI (a paused one has its device closed), and holds SM's lock.
    pub fn settle_vdi(&self, vdi: &Uuid) -> Result<bool> {
        let entry = self.entry(vdi)?;
        let record = entry.vdi.as_ref().map(|s| &s.record);
        for mapped in self.devices_of(vdi, record)? {
            match self.host.unmap(&mapped, UNMAP_IDLE_SECONDS) {
                Err(e) if e.is_busy() => return Ok(true),
                other => other.doing(&format!("unmapping VDI {vdi}"))?,
            }
        }
        if let Some(record) = record {
            self.erase_note(record)?;
        }
        self.release(vdi)?;
        Ok(false)
    }

    /// Unmaps those devices of a VDI, then gives its claim back.
    pub(super) fn unmap_devices(
        &self,
        vdi: &Uuid,
        record: Option<&VdiRecord>,
        wanted: impl Fn(&Mapped) -> bool,
    ) -> Result<()> {
        let devices = self.devices_of(vdi, record)?;
        for mapped in devices.iter().filter(|mapped| wanted(mapped)) {
            let unmapped = self.host.unmap(mapped, UNMAP_SECONDS);
            unmapped.doing(&format!("unmapping VDI {vdi}"))?;
        }
        if let Some(record) = record {
            self.erase_note(record)?;
        }
        self.release(vdi)
    }

    /// This host's devices of a VDI, also those that show an image which it had before it was
    /// reverted. Of one that is gone from the catalogue only the name that its image was mapped
    /// with is left to recognise them by, and the label of a snapshot's.
    fn devices_of(&self, vdi: &Uuid, record: Option<&VdiRecord>) -> Result<Vec<Mapped>> {
        let mut found = self.devices_of_sr(&format!("looking for the device of VDI {vdi}"))?;
        let prefix = format!("{}{vdi}.", image_prefix(&self.sr));
        let label = vdi.to_string();
        found.retain(|mapped| {
            let image = record.map(|record| record.volume.image());
            let shown = record.is_some_and(|record| shows(mapped, record));
            let labelled = mapped.label.as_ref() == Some(&label);
            let was_shown = mapped.key.snap_id.is_none()
                && mapped.image_name.starts_with(&prefix)
                && image.is_none_or(|image| image.name != mapped.image_name);
            shown || labelled || was_shown
        });
        Ok(found)
    }

    /// This host's devices that show images of the SR's pool.
    pub(crate) fn devices_of_sr(&self, doing: &str) -> Result<Vec<Mapped>> {
        let mut found = self.host.mappings().doing(doing)?;
        let fsid = self.cluster.fsid().doing("asking for the cluster's fsid")?;
        found.retain(|m| m.key.fsid == fsid && m.key.pool_id == self.cluster.pool_id());
        Ok(found)
    }

    fn require_features(&self, vdi: &Uuid, image: &ImageState) -> Result<()> {
        let supported = self
            .host
            .supported_features()
            .doing("asking this host's kernel what it can map")?;
        let Some(supported) = supported else {
            return Ok(()); // the kernel will say so itself when it maps
        };
        let lacking = ImageFeatures::from_bits(image.features & !supported);
        if lacking.is_empty() {
            return Ok(());
        }
        Err(Error::Features {
            vdi: *vdi,
            image: image.name.clone(),
            pool: self.cluster.pool_name().to_owned(),
            features: lacking.to_string(),
        })
    }

    fn map(
        &self,
        record: &VdiRecord,
        image: &ImageState,
        read_only: bool,
        noshare: bool,
    ) -> Result<Mapped> {
        let request = MapRequest {
            key: self.image_key(&record.volume)?,
            pool_name: self.cluster.pool_name().to_owned(),
            image_name: image.name.clone(),
            snap_name: record.volume.snapshot().map(|s| s.name.clone()),
            read_only,
            noshare,
            label: label_of(record),
        };
        let mapped = self.host.map(&request).doing(&format!(
            "mapping image {} of VDI {}",
            image.name, record.uuid
        ))?;
        self.note_device(record, &mapped);
        Ok(mapped)
    }

    /// Removes a device of the VDI that must not be used: its kernel client was cut off, because this
    /// host was taken for dead; or, `all`, it is older than a fence.
    fn drop_useless_device(&self, record: &VdiRecord, all: bool) -> Result<()> {
        let doing = format!("looking for the device of VDI {}", record.uuid);
        let devices = self.devices_of_sr(&doing)?;
        let Some(mapped) = devices.into_iter().find(|mapped| shows(mapped, record)) else {
            return Ok(());
        };
        let cut_off = self.cluster.blocklisted().doing("reading the blocklist")?;
        let cut_off = is_cut_off(&cut_off, &mapped.client_address);
        if !(cut_off || all) {
            return Ok(());
        }
        if cut_off {
            self.alert_if_cut_off();
        }
        match self.host.unmap(&mapped, UNMAP_IDLE_SECONDS) {
            Err(e) if e.is_busy() && cut_off => Err(Error::Blocklisted {
                vdi: record.uuid,
                device: mapped.device.display().to_string(),
                address: mapped.client_address,
            }),
            other => other.doing(&format!("unmapping VDI {}", record.uuid)),
        }
    }

    fn warn_if_full(&self, vdi: &Uuid) {
        match self.require_room(&format!("VDI {vdi} is attached all the same")) {
            Ok(_) => {}
            Err(e @ Error::NoRoom { .. }) => {
                log::warn!("{e}; its writes will be held back by Ceph once the pool is full");
            }
            Err(e) => log::warn!("VDI {vdi}: cannot tell how full the pool is: {e}"),
        }
    }

    /// Removes devices of this SR that nobody on this host has claimed: what a crash left. One
    /// that is open is in use, read-only, and stays.
    pub(crate) fn drop_stale_devices(&self) -> Result<()> {
        let fsid = self.cluster.fsid().doing("asking for the cluster's fsid")?;
        let prefix = image_prefix(&self.sr);
        let mappings = self.host.mappings().doing("listing this host's devices")?;
        for mapped in mappings {
            let ours = mapped.key.fsid == fsid
                && mapped.key.pool_id == self.cluster.pool_id()
                && mapped.image_name.starts_with(&prefix);
            if !ours || self.is_claimed_here(&mapped)? {
                continue;
            }
            match self.host.unmap(&mapped, UNMAP_IDLE_SECONDS) {
                Ok(()) => log::warn!(
                    "unmapped {}: it was left behind and shows image {}",
                    mapped.device.display(),
                    mapped.image_name
                ),
                Err(e) if e.is_busy() => {
                    log::info!("{} is in use and stays", mapped.device.display());
                }
                Err(e) => log::warn!("{} stays mapped: {e}", mapped.device.display()),
            }
        }
        Ok(())
    }

    fn is_claimed_here(&self, mapped: &Mapped) -> Result<bool> {
        let Some(vdi) = self.vdi_of_image_name(&mapped.image_name) else {
            return Ok(false);
        };
        let stored = match self.entry(&vdi) {
            Ok(Entry { vdi: None, .. }) => return Ok(false),
            Ok(Entry {
                vdi: Some(stored), ..
            }) => stored,
            Err(e @ Error::Damaged { .. }) => {
                log::error!(
                    "{} stays mapped, since nobody can say whose it is: {e}",
                    mapped.device.display()
                );
                return Ok(true);
            }
            Err(e) => return Err(e),
        };
        let same_image = self.image_key(&stored.record.volume)? == mapped.key;
        let me = self.host.owner();
        Ok(same_image
            && stored
                .record
                .claim
                .is_some_and(|c| c.owner.host == me.host && c.owner.boot_id == me.boot_id))
    }
}

/// Whether a device shows what a VDI is.
fn shows(mapped: &Mapped, record: &VdiRecord) -> bool {
    mapped.key.image_id == record.volume.image().id
        && mapped.key.snap_id == record.volume.snapshot().map(|s| s.id)
        && mapped.label == label_of(record)
}
