//! A pool of a real Ceph cluster, through librados and librbd.

mod changes;
mod comparison;
pub(crate) mod connection;
mod data_pool;
mod deletion;
mod error;
mod flattened;
mod inspection;
mod listing;
mod manager;
mod monitors;
mod namespace;
mod open;
mod snapshot_kind;
mod snapshots;
mod takeover;
mod templates;

use std::collections::BTreeMap;
use std::time::Duration;

use librbd::{CreateOptions, ImageRef, OmapCursor, OmapUpdate, SnapId, SnapshotKind, SnapshotRef};

use crate::image_format::ImageFormat;
use crate::pool::{
    Entries, ImageHeader, ImageState, ImageUsers, Pool, PoolError, Progress, Result, SnapshotState,
    Transaction, Watcher, META_KEY,
};

use self::snapshots::Held;

pub use self::connection::connect;
pub(crate) use self::connection::connect_options;
pub(crate) use self::monitors::may_blocklist;
pub use self::monitors::{df, osd_dump, pools};

/// Prefix of the objects in which librbd keeps the id of each image.
const ID_OBJECT_PREFIX: &str = "rbd_id.";

/// How many bytes of a head are freed in one step. If the process stops, the finished steps stay done.
const SHRINK_STEP: u64 = 16 << 30;

/// One pool, opened by this process.
#[derive(Clone)]
pub struct CephPool {
    cluster: librbd::Cluster,
    pool: librbd::Pool,
    data_pool: Option<String>,
    object_size: u64,
    held: Held,
}

impl CephPool {
    /// Opens an image, not through the trait [`Pool`].
    pub(crate) fn image_open(
        &self,
        image: &ImageRef<'_>,
        read_only: bool,
    ) -> librbd::Result<librbd::Image> {
        self.pool.image_open(image, read_only)
    }

    fn open_image(&self, id: &str, read_only: bool) -> Result<librbd::Image> {
        let opened = self.pool.image_open(&ImageRef::Id(id), read_only);
        opened.map_err(|error| error::explain_open(&self.pool, error.into()))
    }

    /// Sets the image-meta of a new image. Returns its id. An empty `meta` is not set, as after a crash
    /// before this call. No other client has the new image, so it is not opened: that takes as long as making
    /// it.
    fn set_meta(&self, name: &str, format: &ImageFormat, meta: &str) -> Result<String> {
        let id = self.pool.image_id(name)?;
        let id = id.ok_or_else(|| PoolError::new("rbd_open", name, nix::libc::ENOENT))?;
        let layout = (self.data_pool.is_some(), format.layout.stripes.is_some());
        error::require_layout(&self.pool, layout, name, &id)?;
        if !meta.is_empty() {
            self.pool.header(&id).metadata_set(META_KEY, meta)?;
        }
        Ok(id)
    }

    /// The options of a new image.
    fn options(&self, format: &ImageFormat) -> CreateOptions {
        CreateOptions {
            features: format.features.bits(),
            object_size: format.layout.object_size,
            stripes: format.layout.stripes.map(|s| (s.unit, s.count)),
            data_pool: self.data_pool.clone(),
        }
    }

    fn snapshots_of(&self, image: &librbd::Image) -> Result<Vec<SnapshotState>> {
        let snapshots = image.snapshots()?.into_iter().map(|s| {
            Ok(SnapshotState {
                id: s.id.0,
                removed: matches!(s.kind, SnapshotKind::Trash { .. }),
                kind: snapshot_kind::kind(&self.pool, image, &s)?,
                name: s.name,
                size: s.size,
            })
        });
        snapshots.collect()
    }

    fn watchers_of(image: &librbd::Image) -> Result<Vec<Watcher>> {
        let watchers = image.watchers()?.into_iter().map(|w| Watcher {
            address: w.address,
            client_id: w.client_id.cast_unsigned(),
            cookie: w.cookie,
        });
        Ok(watchers.collect())
    }

    fn state(&self, image: &librbd::Image) -> Result<ImageState> {
        Ok(ImageState {
            snapshots: self.snapshots_of(image)?,
            has_parent: image.parent()?.is_some(),
            id: image.id()?,
            name: image.name()?,
            size: image.size()?,
            features: image.features()?,
            meta: image.metadata_get(META_KEY)?,
        })
    }
}

impl Pool for CephPool {
    fn fsid(&self) -> Result<String> {
        Ok(self.cluster.fsid()?)
    }

    fn pool_id(&self) -> i64 {
        self.pool.id()
    }

    fn pool_name(&self) -> &str {
        self.pool.name()
    }

    fn namespace(&self) -> &str {
        self.pool.namespace()
    }

    fn require_namespace(&self) -> Result<()> {
        namespace::require(&self.pool)
    }

    fn data_pool(&self) -> Option<&str> {
        self.data_pool.as_deref()
    }

    fn object_size(&self) -> u64 {
        self.object_size
    }

    fn address(&self) -> Result<String> {
        Ok(self.cluster.addresses()?)
    }

    fn blocklist(&self, address: &str, seconds: u32) -> Result<()> {
        let duration = Duration::from_secs(seconds.into());
        Ok(self.cluster.blocklist(address, duration)?)
    }

    fn may_blocklist(&self) -> Result<()> {
        Ok(may_blocklist(&self.cluster)?)
    }

    fn blocklisted(&self) -> Result<Vec<String>> {
        let entries = self.cluster.blocklisted()?.into_iter();
        Ok(entries.map(|entry| entry.address).collect())
    }

    fn create_object(&self, object: &str, entries: &Entries) -> Result<()> {
        let entries: Vec<_> = entries.clone().into_iter().collect();
        Ok(self.pool.omap_create(object, &entries)?)
    }

    fn read(&self, object: &str, prefix: &str) -> Result<Entries> {
        let mut entries = Entries::new();
        let mut after = OmapCursor::default();
        loop {
            let page = self.pool.omap_page(object, &after, prefix, u64::MAX)?;
            entries.extend(page.entries);
            match page.next {
                Some(next) => after = next,
                None => return Ok(entries),
            }
        }
    }

    fn get(&self, object: &str, keys: &[&str]) -> Result<Entries> {
        Ok(self.pool.omap_get(object, keys)?)
    }

    fn transaction(&self, object: &str, transaction: &Transaction) -> Result<()> {
        let update = OmapUpdate {
            expect: transaction.expect.clone().into_iter().collect(),
            set: transaction.set.clone().into_iter().collect(),
            remove: transaction.remove.clone(),
        };
        Ok(self.pool.omap_update(object, &update)?)
    }

    fn remove_object(&self, object: &str, expect: &Entries) -> Result<()> {
        let expect: Vec<_> = expect.clone().into_iter().collect();
        Ok(self.pool.omap_remove_object(object, &expect)?)
    }

    fn create_image(
        &self,
        name: &str,
        size: u64,
        format: &ImageFormat,
        meta: &str,
    ) -> Result<String> {
        let made = self.pool.image_create(name, size, &self.options(format));
        made.map_err(|error| namespace::explain(&self.pool, error.into()))?;
        self.set_meta(name, format, meta)
    }

    fn create_snapshot(&self, image_id: &str, name: &str) -> Result<u64> {
        if let Some(image) = self.held.get(image_id) {
            return Ok(image.snapshot_create(name)?.0);
        }
        let image = self.open_image(image_id, false)?;
        let id = image.snapshot_create(name)?;
        image.close()?;
        Ok(id.0)
    }

    fn hold_open(&self, image_ids: &[&str]) {
        self.held.open(image_ids, |id| self.open_image(id, false));
    }

    fn let_go(&self) {
        self.held.close();
    }

    fn create_snapshots(&self, wanted: &[(&str, &str)]) -> Vec<Result<u64>> {
        snapshots::create(self, wanted)
    }

    fn remove_snapshot(&self, image_id: &str, snapshot_id: u64) -> Result<()> {
        let mut image = self.open_image(image_id, false)?;
        let was_removed = |s: &SnapshotState| s.id == snapshot_id && s.removed;
        flattened::require_no_lost_parent(&mut image, image_id, snapshot_id)?;
        if let Err(error) = image.snapshot_remove(SnapId(snapshot_id)) {
            // librbd returns EBUSY if the snapshot was removed before and clones still need it.
            if error.errno() == Some(nix::libc::EBUSY)
                && self.snapshots_of(&image)?.iter().any(was_removed)
            {
                return Err(PoolError::new(
                    "rbd_snap_remove_by_id",
                    image_id,
                    nix::libc::ENOENT,
                ));
            }
            return Err(error.into());
        }
        Ok(image.close()?)
    }

    fn is_unchanged_since(&self, image_id: &str, snapshot_id: u64) -> Result<bool> {
        comparison::is_unchanged(&self.open_image(image_id, true)?, image_id, snapshot_id)
    }

    fn clone_image(
        &self,
        parent: (&str, u64),
        name: &str,
        format: &ImageFormat,
        meta: &str,
    ) -> Result<String> {
        let options = self.options(format);
        let (image, snapshot) = (ImageRef::Id(parent.0), SnapshotRef::Id(SnapId(parent.1)));
        self.pool.image_clone(&image, &snapshot, name, &options)?;
        self.set_meta(name, format, meta)
    }

    fn images(&self) -> Result<BTreeMap<String, String>> {
        let entries = self.pool.image_list()?;
        Ok(entries.into_iter().map(|e| (e.id, e.name)).collect())
    }

    fn image_name(&self, id: &str) -> Result<Option<String>> {
        Ok(self.pool.image_name(id)?)
    }

    fn users(&self, id: &str) -> Result<ImageUsers> {
        let image = self.open_image(id, true)?;
        Ok(ImageUsers {
            snapshots: self.snapshots_of(&image)?,
            watchers: Self::watchers_of(&image)?,
        })
    }

    fn header(&self, id: &str) -> Result<ImageHeader> {
        let header = self.pool.header(id);
        Ok(ImageHeader {
            size: header.size()?,
            has_parent: header.has_parent()?,
            snapshots: header.snapshots()?.len(),
        })
    }

    fn image(&self, id: &str) -> Result<ImageState> {
        self.state(&self.open_image(id, true)?)
    }

    fn image_by_name(&self, name: &str) -> Result<ImageState> {
        // One round trip instead of librbd's five if no image has the name, which is the usual case.
        if !self
            .pool
            .object_exists(&format!("{ID_OBJECT_PREFIX}{name}"))?
        {
            return Err(PoolError::new("rbd_open", name, nix::libc::ENOENT));
        }
        self.state(&self.pool.image_open(&ImageRef::Name(name), true)?)
    }

    fn grow_image(&self, id: &str, size: u64) -> Result<()> {
        let image = self.open_image(id, false)?;
        image.resize(size, false, &mut |_, _| {})?;
        Ok(image.close()?)
    }

    fn watchers(&self, id: &str) -> Result<Vec<Watcher>> {
        Self::watchers_of(&self.open_image(id, true)?)
    }

    fn require_unlocked(&self, id: &str) -> Result<()> {
        Ok(self.pool.require_unlocked(id)?)
    }

    fn empty_image(&self, id: &str, progress: Progress<'_>) -> Result<()> {
        let image = self.open_image(id, false)?;
        let total = image.size()?;
        let mut left = total;
        while left > 0 {
            left = left.saturating_sub(SHRINK_STEP);
            image.resize(left, true, &mut |_, _| {})?;
            progress(total - left, total);
        }
        Ok(image.close()?)
    }

    fn flatten_image(&self, id: &str, progress: Progress<'_>) -> Result<()> {
        let image = self.open_image(id, false)?;
        image.flatten(progress)?;
        Ok(image.close()?)
    }

    fn schedule_flatten(&self, name: &str) -> Result<()> {
        let prefix = "rbd task add flatten";
        manager::ask(&self.cluster, prefix, "image_spec", (&self.spec(), name))
    }

    fn df(&self) -> Result<Vec<u8>> {
        df(&self.cluster)
    }

    fn osd_dump(&self) -> Result<Vec<u8>> {
        osd_dump(&self.cluster)
    }
}
