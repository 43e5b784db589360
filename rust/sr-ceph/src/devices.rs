//! This host's block devices that show images of an SR.

use uuid::Uuid;

use crate::catalogue::image_prefix;
use crate::error::{Context, Result};
use crate::host::{Host, Mapped};
use crate::image::Images;
use crate::pool::Pool;
use crate::record::VdiRecord;

/// How long unmapping waits for a busy device, in seconds: udev opens new devices.
pub(crate) const UNMAP_SECONDS: u64 = 30;
/// How long it waits for a device that is only removed if it is idle, in seconds.
pub(crate) const UNMAP_IDLE_SECONDS: u64 = 2;

/// This host's devices of one SR.
#[derive(Clone, Copy)]
pub(crate) struct Devices<'a> {
    pool: &'a dyn Pool,
    host: &'a dyn Host,
    images: Images<'a>,
    sr: Uuid,
}

impl<'a> Devices<'a> {
    /// The devices on `host` that show `images` of that SR.
    pub(crate) fn new(
        pool: &'a dyn Pool,
        host: &'a dyn Host,
        images: Images<'a>,
        sr: Uuid,
    ) -> Self {
        Devices {
            pool,
            host,
            images,
            sr,
        }
    }

    /// This host's devices that show images of the SR's pool.
    pub(crate) fn of_sr(&self, doing: &str) -> Result<Vec<Mapped>> {
        let mut found = self.host.mappings().doing(doing)?;
        let fsid = self.pool.fsid().doing("asking for the cluster's fsid")?;
        found.retain(|m| self.pool.holds(&fsid, &m.key));
        Ok(found)
    }

    /// Returns this host's devices of a VDI, also those of an image that the VDI had before it was reverted.
    /// If the catalogue does not have the VDI any more, only the name that its image was mapped with, and a
    /// snapshot's label, identify them.
    pub(crate) fn of_vdi(&self, vdi: &Uuid, record: Option<&VdiRecord>) -> Result<Vec<Mapped>> {
        let mut found = self.of_sr(&format!("looking for the device of VDI {vdi}"))?;
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

    /// Whether this host has a device of a VDI.
    pub(crate) fn is_mapped(&self, record: &VdiRecord) -> Result<bool> {
        let key = self.images.key(&record.volume)?;
        let doing = format!("looking for a device of VDI {}", record.uuid);
        let mappings = self.host.mappings().doing(&doing)?;
        let label = label_of(record);
        Ok(mappings
            .iter()
            .any(|mapped| mapped.key == key && mapped.label == label))
    }

    /// Notes which image a VDI's device shows. A device with a label needs no note.
    pub(crate) fn note(&self, record: &VdiRecord, mapped: &Mapped) {
        if mapped.label.is_some() {
            return;
        }
        let text = serde_json::to_string(&mapped.key).unwrap_or_default();
        let noted = self
            .host
            .note(&note_name(&self.sr, &record.uuid), Some(&text));
        if let Err(e) = noted {
            log::warn!("VDI {}: {e}", record.uuid);
        }
    }
}

/// Whether a device shows a VDI.
pub(crate) fn shows(mapped: &Mapped, record: &VdiRecord) -> bool {
    mapped.key.image_id == record.volume.image().id
        && mapped.key.snap_id == record.volume.snapshot().map(|s| s.id)
        && mapped.label == label_of(record)
}

/// The label of a VDI's device: several VDIs can be one snapshot, and each has a device of its own.
pub(crate) fn label_of(record: &VdiRecord) -> Option<String> {
    let snapshot = record.volume.snapshot();
    snapshot.map(|_| record.uuid.to_string())
}

/// The name of the note about a VDI's device.
pub(crate) fn note_name(sr: &Uuid, vdi: &Uuid) -> String {
    format!("device.{sr}.{vdi}")
}

/// Prefix of the names of a VDI's own images, also those before a revert.
pub(crate) fn own_prefix(sr: &Uuid, vdi: &Uuid) -> String {
    format!("{}{vdi}.", image_prefix(sr))
}
