//! Unmapping without the cluster.
//!
//! The device is removed before anything else. Only what this host has shows which VDI it belongs to: the
//! device's label, the note of its map, or, without either, the name of its image. So a disk can be unplugged
//! if its pool is gone or has another name, if the catalogue is lost, or if the cluster refuses this host.
//! The kernel flushes before it unmaps: a device with writes that the cluster has not acknowledged stays, and
//! the unmap fails at its deadline.
//!
//! The claim is released after that, if the cluster allows it. If not, the disk is still unplugged. Another
//! host that wants it asks this host, which then releases the claim.

use uuid::Uuid;

use crate::catalogue::image_prefix;
use crate::devices::{note_name, own_prefix, UNMAP_IDLE_SECONDS, UNMAP_SECONDS};
use crate::error::{Context, Error, Result};
use crate::host::{Host, ImageKey, Mapped};
use crate::record::VdiRecord;
use crate::CephSr;

/// Unmaps the devices of a VDI that have its label or are in the note of its map. Returns whether there was a
/// device or a note.
///
/// # Errors
/// [`Error::Host`]: a device is open, or the kernel did not unmap it in time.
pub fn unmap_vdi(host: &dyn Host, sr: &Uuid, vdi: &Uuid) -> Result<bool> {
    let name = note_name(sr, vdi);
    let noted = host.noted(&name).unwrap_or_else(|e| {
        log::warn!("VDI {vdi}: {e}");
        None
    });
    let noted: Option<ImageKey> = noted.and_then(|text| serde_json::from_str(&text).ok());
    let label = vdi.to_string();
    let found = unmap_where(host, vdi, |mapped| {
        mapped.label.as_ref() == Some(&label)
            || mapped.label.is_none() && noted.as_ref() == Some(&mapped.key)
    })?;
    if noted.is_some() {
        if let Err(e) = host.note(&name, None) {
            log::warn!("VDI {vdi}: {e}");
        }
    }
    Ok(found || noted.is_some())
}

/// Unmaps the devices that have the name of a VDI's image. Only for a VDI without a note whose record cannot
/// be read: an image that was made by hand may have that name too.
///
/// # Errors
/// As [`unmap_vdi`].
pub fn unmap_named(host: &dyn Host, sr: &Uuid, vdi: &Uuid) -> Result<()> {
    let prefix = own_prefix(sr, vdi);
    let has_name =
        |mapped: &Mapped| mapped.key.snap_id.is_none() && mapped.image_name.starts_with(&prefix);
    unmap_where(host, vdi, has_name).map(|_| ())
}

fn unmap_where(host: &dyn Host, vdi: &Uuid, is_shown: impl Fn(&Mapped) -> bool) -> Result<bool> {
    let mappings = host.mappings();
    let mappings = mappings.doing(&format!("looking for the device of VDI {vdi}"))?;
    let mut found = false;
    for mapped in mappings.iter().filter(|mapped| is_shown(mapped)) {
        let unmapped = host.unmap(mapped, UNMAP_SECONDS);
        unmapped.doing(&format!("unmapping VDI {vdi}"))?;
        found = true;
    }
    Ok(found)
}

/// Unmaps the idle devices of an SR whose catalogue cannot be read.
///
/// # Errors
/// [`Error::SrInUse`]: a device is open.
pub fn unmap_sr(host: &dyn Host, sr: &Uuid) -> Result<()> {
    let prefix = image_prefix(sr);
    let mappings = host.mappings().doing("listing this host's devices")?;
    for mapped in mappings {
        let Some(rest) = mapped.image_name.strip_prefix(&prefix) else {
            continue;
        };
        let vdi = rest.split_once('.').map_or(rest, |(vdi, _)| vdi);
        match host.unmap(&mapped, UNMAP_IDLE_SECONDS) {
            Err(e) if e.is_busy() => {
                return Err(Error::SrInUse {
                    sr: *sr,
                    vdi: mapped.label.unwrap_or_else(|| vdi.to_owned()),
                    device: mapped.device.display().to_string(),
                })
            }
            other => other.doing(&format!("unmapping {}", mapped.device.display()))?,
        }
        log::warn!("unmapped {}: it was idle", mapped.device.display());
    }
    Ok(())
}

/// Logs that a VDI is unmapped, and that its claim stays.
pub fn warn_of_claim(sr: &Uuid, vdi: &Uuid, why: &dyn std::fmt::Display) {
    log::warn!(
        "VDI {vdi} is unmapped, but this host's claim on it was not released: {why}. If another \
         host activates the VDI, it asks this host, which then releases the claim; so does the next \
         xe pbd-plug here. To release it now, run: smblock release --sr {sr} --vdi {vdi} --yes, \
         with the SR's device-config"
    );
}

impl CephSr<'_> {
    /// Unmaps a VDI, then releases its claim. One that is not mapped counts as deactivated.
    ///
    /// # Errors
    /// [`Error::Host`]: it is still mapped. A claim that was not released is logged, and is no error.
    pub fn deactivate_vdi(&self, vdi: &Uuid) -> Result<()> {
        let found = unmap_vdi(self.host, &self.sr, vdi)?;
        self.release_unplugged(vdi, found)
    }

    /// The second half of [`CephSr::deactivate_vdi`], after [`unmap_vdi`], which has returned `found`.
    ///
    /// # Errors
    /// As [`CephSr::deactivate_vdi`].
    pub fn release_unplugged(&self, vdi: &Uuid, found: bool) -> Result<()> {
        match self.unmap_and_release(vdi) {
            Err(e) if !matches!(e, Error::Host { .. }) => {
                if !found {
                    unmap_named(self.host, &self.sr, vdi)?;
                }
                warn_of_claim(&self.sr, vdi, &e);
                Ok(())
            }
            other => other,
        }
    }

    fn unmap_and_release(&self, vdi: &Uuid) -> Result<()> {
        let entry = self.catalogue.entry(vdi)?;
        self.unmap_devices(vdi, entry.vdi.as_ref().map(|s| &s.record), |_| true)
    }

    /// Removes what a killed command of this host left of a VDI: a device that is not open, the note of a
    /// reader, and the claim. Returns whether the VDI is in use on this host. The caller has checked that no
    /// tapdisk serves the VDI (a paused tapdisk has its device closed), and holds SM's lock.
    pub fn reconcile_vdi(&self, vdi: &Uuid) -> Result<bool> {
        let entry = self.catalogue.entry(vdi)?;
        let record = entry.vdi.as_ref().map(|s| &s.record);
        for mapped in self.devices.of_vdi(vdi, record)? {
            match self.host.unmap(&mapped, UNMAP_IDLE_SECONDS) {
                Err(e) if e.is_busy() => return Ok(true),
                other => other.doing(&format!("unmapping VDI {vdi}"))?,
            }
        }
        if let Some(record) = record {
            self.readers.erase_note(record)?;
        }
        self.claims.release(vdi)?;
        Ok(false)
    }

    /// Unmaps those devices of a VDI, then releases its claim.
    pub(crate) fn unmap_devices(
        &self,
        vdi: &Uuid,
        record: Option<&VdiRecord>,
        wanted: impl Fn(&Mapped) -> bool,
    ) -> Result<()> {
        let devices = self.devices.of_vdi(vdi, record)?;
        for mapped in devices.iter().filter(|mapped| wanted(mapped)) {
            let unmapped = self.host.unmap(mapped, UNMAP_SECONDS);
            unmapped.doing(&format!("unmapping VDI {vdi}"))?;
        }
        if let Some(record) = record {
            self.readers.erase_note(record)?;
        }
        self.claims.release(vdi)
    }
}
