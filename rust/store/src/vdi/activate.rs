//! Activating a VDI on this host, and deactivating it.
//!
//! For writing, the claim is taken first, then the image is mapped, then the image's watchers are
//! listed: a kernel among them that is not this host's means that somebody maps the image behind
//! this driver's back, and then this host lets go again. A crash leaves a claim of this host
//! without a device, or with one; the next activation here uses both, and a deletion looks for the
//! device.

use uuid::Uuid;

use crate::catalogue::{image_prefix, records, Entry, VDI_PREFIX};
use crate::cluster::{ImageHeader, ImageState};
use crate::error::{Context, Error, Result};
use crate::host::{MapRequest, Mapped};
use crate::image_features::ImageFeatures;
use crate::record::VdiRecord;
use crate::Repository;

impl Repository<'_> {
    /// Maps a VDI; the device stays the same however often it is asked for. Never refused for
    /// want of room: a VM that migrates must find its disk.
    pub fn activate_vdi(&self, vdi: &Uuid, writable: bool) -> Result<Mapped> {
        loop {
            if let Some(mapped) = self.try_activation(vdi, writable)? {
                return Ok(mapped);
            }
        }
    }

    /// `None`: the disk was reverted meanwhile.
    fn try_activation(&self, vdi: &Uuid, writable: bool) -> Result<Option<Mapped>> {
        let entry = self.turn(vdi)?;
        let image = self.image_state(&self.present(&entry, vdi)?.record)?;
        self.require_features(vdi, &image)?;
        self.warn_if_full(vdi);
        let record = &self.present(&entry, vdi)?.record;
        if !writable {
            return self.map(record, &image, true).map(Some);
        }
        if record.volume.snapshot().is_some() {
            return Err(Error::ReadOnly {
                vdi: *vdi,
                refused: "attached for writing",
            });
        }
        let Some((record, newly_claimed)) = self.claim(vdi, &record.volume)? else {
            return Ok(None);
        };
        let result = self
            .map(&record, &image, false)
            .and_then(|mapped| self.refuse_foreign_kernel(&record, mapped));
        // A device that was in use before this activation stays, whatever was found. A new one
        // goes, also one that the kernel made after all while nobody waited for it any more.
        if result.is_err() && newly_claimed {
            if let Err(e) = self.unmap_devices(vdi, Some(&record), |mapped| !mapped.read_only) {
                log::error!("VDI {vdi}: its claim by this host stays until the next attempt: {e}");
            }
        }
        result.map(Some)
    }

    /// Unmaps a VDI and gives its claim back. What is not mapped is deactivated already.
    pub fn deactivate_vdi(&self, vdi: &Uuid) -> Result<()> {
        let entry = self.entry(vdi)?;
        self.unmap_devices(vdi, entry.vdi.as_ref().map(|s| &s.record), |_| true)
    }

    /// Unmaps those devices of a VDI, then gives its claim back.
    fn unmap_devices(
        &self,
        vdi: &Uuid,
        record: Option<&VdiRecord>,
        wanted: impl Fn(&Mapped) -> bool,
    ) -> Result<()> {
        let devices = self.devices_of(vdi, record)?;
        for mapped in devices.iter().filter(|mapped| wanted(mapped)) {
            match self.host.unmap(mapped) {
                Err(e) if e.is_busy() && self.has_twin(record)? => log::info!(
                    "{} stays: another VDI is the same snapshot as VDI {vdi}, and in use",
                    mapped.device.display()
                ),
                other => other.doing(&format!("unmapping VDI {vdi}"))?,
            }
        }
        self.release(vdi)
    }

    /// Whether another VDI is the same snapshot, so that the two share a device.
    fn has_twin(&self, record: Option<&VdiRecord>) -> Result<bool> {
        let Some(record) = record.filter(|record| record.volume.snapshot().is_some()) else {
            return Ok(false);
        };
        let entries = self.read_catalogue()?;
        let mut vdis = records::<VdiRecord>(&entries, VDI_PREFIX).map(|stored| stored.record);
        Ok(vdis.any(|other| other.uuid != record.uuid && other.volume == record.volume))
    }

    /// This host's devices of a VDI, also those that show an image which it had before it was
    /// reverted. Of one that is gone from the catalogue only the name that its image was mapped
    /// with is left to know them by, and that says nothing of snapshots: they are other VDIs.
    fn devices_of(&self, vdi: &Uuid, record: Option<&VdiRecord>) -> Result<Vec<Mapped>> {
        let mut found = self
            .host
            .mappings()
            .doing(&format!("looking for the device of VDI {vdi}"))?;
        let fsid = self.cluster.fsid().doing("asking for the cluster's fsid")?;
        let prefix = format!("{}{vdi}.", image_prefix(&self.sr));
        found.retain(|mapped| {
            let here = mapped.key.fsid == fsid && mapped.key.pool_id == self.cluster.pool_id();
            let image = record.map(|record| record.volume.image());
            let shown = record.is_some_and(|record| {
                mapped.key.image_id == record.volume.image().id
                    && mapped.key.snap_id == record.volume.snapshot().map(|s| s.id)
            });
            let was_shown = mapped.key.snap_id.is_none()
                && mapped.image_name.starts_with(&prefix)
                && image.is_none_or(|image| image.name != mapped.image_name);
            here && (shown || was_shown)
        });
        Ok(found)
    }

    /// The image behind a VDI, which must exist and hold all of it.
    pub(crate) fn image_state(&self, record: &VdiRecord) -> Result<ImageState> {
        let vdi = record.uuid;
        let image = record.volume.image();
        let state = self.found(record, self.cluster.image(&image.id))?;
        let actual = match record.volume.snapshot() {
            None => state.size,
            Some(wanted) => {
                let mut snapshots = state.snapshots.iter();
                let found = snapshots.find(|s| s.id == wanted.id && !s.removed);
                found
                    .ok_or_else(|| Error::SnapshotMissing {
                        vdi,
                        image: image.name.clone(),
                        snapshot: wanted.name.clone(),
                    })?
                    .size
            }
        };
        require_whole(record, actual)?;
        Ok(state)
    }

    /// What the header of a disk's image says; the image must exist and hold all of the disk.
    pub(crate) fn image_header(&self, record: &VdiRecord) -> Result<ImageHeader> {
        let header = self.cluster.header(&record.volume.image().id);
        let header = self.found(record, header)?;
        require_whole(record, header.size)?;
        Ok(header)
    }

    fn found<T>(&self, record: &VdiRecord, looked_up: crate::cluster::Result<T>) -> Result<T> {
        let image = record.volume.image();
        match looked_up {
            Err(e) if e.is_not_found() => Err(Error::ImageMissing {
                vdi: record.uuid,
                image: image.name.clone(),
                id: image.id.clone(),
                pool: self.cluster.pool_name().to_owned(),
            }),
            other => other.doing(&format!("looking at image {}", image.name)),
        }
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

    fn map(&self, record: &VdiRecord, image: &ImageState, read_only: bool) -> Result<Mapped> {
        let request = MapRequest {
            key: self.image_key(&record.volume)?,
            pool_name: self.cluster.pool_name().to_owned(),
            image_name: image.name.clone(),
            snap_name: record.volume.snapshot().map(|s| s.name.clone()),
            read_only,
        };
        self.host.map(&request).doing(&format!(
            "mapping image {} of VDI {}",
            image.name, record.uuid
        ))
    }

    fn refuse_foreign_kernel(&self, record: &VdiRecord, mapped: Mapped) -> Result<Mapped> {
        let image = record.volume.image();
        let doing = format!("listing the watchers of image {}", image.name);
        let watchers = self.cluster.watchers(&image.id).doing(&doing)?;
        let foreign = watchers
            .into_iter()
            .find(|w| w.is_kernel() && w.client_id != mapped.client_id);
        match foreign {
            None => Ok(mapped),
            Some(watcher) => Err(Error::ForeignKernel {
                vdi: record.uuid,
                image: image.name.clone(),
                address: watcher.address,
            }),
        }
    }

    fn warn_if_full(&self, vdi: &Uuid) {
        match self.require_room(&format!("VDI {vdi} is attached all the same")) {
            Ok(()) => {}
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
            match self.host.unmap(&mapped) {
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

    /// The VDI that an image of this SR was made for.
    pub(crate) fn vdi_of_image_name(&self, name: &str) -> Option<Uuid> {
        let rest = name.strip_prefix(&image_prefix(&self.sr))?;
        rest.split('.').next()?.parse().ok()
    }
}

/// Refuses what has lost its end: the image was made smaller by somebody else.
fn require_whole(record: &VdiRecord, actual: u64) -> Result<()> {
    if actual >= record.size {
        return Ok(());
    }
    Err(Error::ImageShrunk {
        vdi: record.uuid,
        image: record.volume.image().name.clone(),
        actual,
        expected: record.size,
    })
}
