//! Activating a VDI on this host.
//!
//! For writing: the claim is taken, the image is mapped, the other kernels of the image are checked, and the
//! address that it was mapped with is recorded in the claim. Only then is the device returned. A failure
//! undoes all of it. A crash leaves a claim of this host, with or without a device: the next activation here
//! uses both, and this host's next scan, plug or unplug removes both.
//!
//! An activation does not wait for an operation of the journal, and recovers none. A snapshot, a clone or a
//! deletion that is under way does not conflict with it: the claim's swap expects the record as it was read,
//! and so does theirs. A revert checks the claim in the swap that changes the disk's image. An image that
//! grows is mapped with the old or the new size. So what a dead process left cannot prevent a VM from
//! starting or from migrating, and no disk is resumed while SM holds the VDI's lock.

use uuid::Uuid;

use super::claim::Claimed;
use crate::blocklist::is_cut_off;
use crate::devices::{label_of, shows, UNMAP_IDLE_SECONDS};
use crate::error::{Context, Error, ImageError, Result};
use crate::host::{MapRequest, Mapped};
use crate::pool::ImageState;
use crate::record::VdiRecord;
use crate::{cbt, ha, room, CephSr};

impl CephSr<'_> {
    /// Maps a VDI. Returns its device, which stays the same for each further call. Does not fail if the pool
    /// is full: a VM that migrates must find its disk.
    pub fn activate_vdi(&self, vdi: &Uuid, writable: bool) -> Result<Mapped> {
        loop {
            let entry = self.catalogue.entry(vdi)?;
            let record = &self.catalogue.present(&entry, vdi)?.record;
            ha::refuse(record, "plugged to a VM")?;
            cbt::require_data(record, "plugged to a VM")?;
            let image = self.images.state(record)?;
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
            if let Some(claimed) = self.claims.claim(vdi, &record.volume, image.size)? {
                return self.map_for_writing(vdi, &claimed, &image);
            }
        }
    }

    fn map_for_writing(&self, vdi: &Uuid, claimed: &Claimed, image: &ImageState) -> Result<Mapped> {
        let record = &claimed.stored.record;
        let devices = self.devices.of_vdi(vdi, Some(record))?;
        let result = self.map_claimed(claimed, image);
        // A device from before this activation may be in use: it stays in any case. A new one is removed,
        // also one that the kernel made after its deadline.
        if result.is_err() && devices.iter().all(|mapped| mapped.read_only) {
            if let Err(e) = self.unmap_devices(vdi, Some(record), |mapped| !mapped.read_only) {
                log::error!("VDI {vdi}: the claim of this host stays until its next command: {e}");
            }
        }
        result
    }

    fn map_claimed(&self, claimed: &Claimed, image: &ImageState) -> Result<Mapped> {
        let record = &claimed.stored.record;
        self.drop_unusable_device(record, claimed.fenced)?;
        let mapped = self.map(record, image, false, claimed.fenced)?;
        self.readers.refuse_foreign_kernel(record, &mapped)?;
        self.claims.confirm(claimed, &mapped)?;
        Ok(mapped)
    }

    /// Maps a VDI read-only. If the kernel watches what it reads, a note of that is written first.
    fn map_for_reading(&self, record: &VdiRecord, image: &ImageState) -> Result<Mapped> {
        self.drop_unusable_device(record, false)?;
        let mut note = self.readers.note_reader(record)?;
        let mapped = self.map(record, image, true, false);
        match (&mapped, note.as_mut()) {
            (_, None) => {}
            (Ok(mapped), Some(note)) => self.readers.complete_note(record, note, mapped)?,
            // It may be mapped: then the note is needed.
            (Err(e), Some(_)) if e.is_outcome_unknown() => {}
            (Err(_), Some(_)) => self.readers.erase_note(record)?,
        }
        mapped
    }

    pub(super) fn require_features(&self, vdi: &Uuid, image: &ImageState) -> Result<()> {
        let supported = self
            .host
            .supported_features()
            .doing("asking this host's kernel what it can map")?;
        let Some(supported) = supported else {
            return Ok(()); // the kernel itself refuses the map
        };
        let lacking = hostdev::ImageFeatures::from_bits_retain(image.features & !supported);
        if lacking.is_empty() {
            return Ok(());
        }
        Err(ImageError::Features {
            vdi: *vdi,
            image: image.name.clone(),
            pool: self.pool.spec(),
            features: lacking,
        }
        .into())
    }

    pub(super) fn map(
        &self,
        record: &VdiRecord,
        image: &ImageState,
        read_only: bool,
        noshare: bool,
    ) -> Result<Mapped> {
        let request = MapRequest {
            key: self.images.key(&record.volume)?,
            pool_name: self.pool.pool_name().to_owned(),
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
        self.devices.note(record, &mapped);
        Ok(mapped)
    }

    /// Removes a device of the VDI that must not be used: its kernel client was blocklisted, because this
    /// host was declared dead. With `all`, each device: it is older than a fence.
    pub(super) fn drop_unusable_device(&self, record: &VdiRecord, all: bool) -> Result<()> {
        let doing = format!("looking for the device of VDI {}", record.uuid);
        let devices = self.devices.of_sr(&doing)?;
        let Some(mapped) = devices.into_iter().find(|mapped| shows(mapped, record)) else {
            return Ok(());
        };
        let cut_off = self.pool.blocklisted().doing("reading the blocklist")?;
        let cut_off = is_cut_off(&cut_off, &mapped.client_address);
        if !(cut_off || all) {
            return Ok(());
        }
        if cut_off {
            self.alerts.alert_if_cut_off();
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
        match room::require(
            self.pool,
            &format!("VDI {vdi} is attached although its pool is nearly full"),
        ) {
            Ok(_) => {}
            Err(e @ Error::NoRoom { .. }) => {
                log::warn!("{e}; Ceph blocks its writes when the pool is full");
            }
            Err(e) => log::warn!("VDI {vdi}: cannot find out how full the pool is: {e}"),
        }
    }
}
