//! Fault injection for the calls to a cluster.

use std::collections::BTreeMap;

use sr::faults::{change, read, Call, Faults};

use crate::image_format::ImageFormat;
use crate::pool::{
    Entries, ImageHeader, ImageState, ImageUsers, Pool, Progress, Result as PoolResult,
    Transaction, Watcher,
};

/// A [`Pool`] with fault injection.
pub struct FaultyPool<'f, 'w> {
    pub(super) inner: &'w dyn Pool,
    pub(super) faults: &'f Faults<'w>,
}

impl<'f, 'w> FaultyPool<'f, 'w> {
    /// Adds fault injection to a cluster.
    pub fn new(inner: &'w dyn Pool, faults: &'f Faults<'w>) -> Self {
        FaultyPool { inner, faults }
    }

    pub(super) fn call<T>(
        &self,
        call: &Call<'_>,
        apply: impl Fn(&dyn Pool) -> PoolResult<T> + 'w,
    ) -> PoolResult<T> {
        let inner = self.inner;
        self.faults.pass(call, move || apply(inner), || Ok(()))
    }

    /// A call with progress. Reports only that it begins, if the process still lives.
    pub(super) fn call_with_progress(
        &self,
        call: &Call<'_>,
        progress: Progress<'_>,
        apply: impl Fn(&dyn Pool) -> PoolResult<()> + 'w,
    ) -> PoolResult<()> {
        if !self.faults.killed() {
            progress(0, 1);
        }
        self.call(call, apply)
    }
}

impl Pool for FaultyPool<'_, '_> {
    fn fsid(&self) -> PoolResult<String> {
        self.call(&read("fsid", ""), |c| c.fsid())
    }

    fn pool_id(&self) -> i64 {
        self.inner.pool_id()
    }

    fn pool_name(&self) -> &str {
        self.inner.pool_name()
    }

    fn namespace(&self) -> &str {
        self.inner.namespace()
    }

    fn require_namespace(&self) -> PoolResult<()> {
        self.call(&read("require_namespace", ""), |c| c.require_namespace())
    }

    fn data_pool(&self) -> Option<&str> {
        self.inner.data_pool()
    }

    fn object_size(&self) -> u64 {
        self.inner.object_size()
    }

    fn address(&self) -> PoolResult<String> {
        self.call(&read("address", ""), |c| c.address())
    }

    fn blocklist(&self, address: &str, seconds: u32) -> PoolResult<()> {
        let owned = address.to_owned();
        self.call(&change("blocklist", address), move |c| {
            c.blocklist(&owned, seconds)
        })
    }

    fn may_blocklist(&self) -> PoolResult<()> {
        self.call(&read("may_blocklist", ""), |c| c.may_blocklist())
    }

    fn blocklisted(&self) -> PoolResult<Vec<String>> {
        self.call(&read("blocklisted", ""), |c| c.blocklisted())
    }

    fn create_object(&self, object: &str, entries: &Entries) -> PoolResult<()> {
        let owned = (object.to_owned(), entries.clone());
        self.call(&change("create_object", object), move |c| {
            c.create_object(&owned.0, &owned.1)
        })
    }

    fn read(&self, object: &str, prefix: &str) -> PoolResult<Entries> {
        let owned = (object.to_owned(), prefix.to_owned());
        self.call(&read("read", object), move |c| c.read(&owned.0, &owned.1))
    }

    fn get(&self, object: &str, keys: &[&str]) -> PoolResult<Entries> {
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        let owned = object.to_owned();
        self.call(&read("get", object), move |c| {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            c.get(&owned, &keys)
        })
    }

    fn transaction(&self, object: &str, transaction: &Transaction) -> PoolResult<()> {
        let owned = (object.to_owned(), transaction.clone());
        self.call(&change("swap", object), move |c| {
            c.transaction(&owned.0, &owned.1)
        })
    }

    fn remove_object(&self, object: &str, expect: &Entries) -> PoolResult<()> {
        let owned = (object.to_owned(), expect.clone());
        self.call(&change("remove_object", object), move |c| {
            c.remove_object(&owned.0, &owned.1)
        })
    }

    fn create_image(
        &self,
        name: &str,
        size: u64,
        format: &ImageFormat,
        meta: &str,
    ) -> PoolResult<String> {
        let (inner, format) = (self.inner, *format);
        let owned = (name.to_owned(), meta.to_owned());
        self.faults.pass(
            &change("create_image", name),
            move || inner.create_image(&owned.0, size, &format, &owned.1),
            || inner.create_image(name, size, &format, "").map(|_| ()),
        )
    }

    fn create_snapshot(&self, image_id: &str, name: &str) -> PoolResult<u64> {
        let owned = (image_id.to_owned(), name.to_owned());
        self.call(&change("create_snapshot", name), move |c| {
            c.create_snapshot(&owned.0, &owned.1)
        })
    }

    fn remove_snapshot(&self, image_id: &str, snapshot_id: u64) -> PoolResult<()> {
        let owned = image_id.to_owned();
        self.call(&change("remove_snapshot", image_id), move |c| {
            c.remove_snapshot(&owned, snapshot_id)
        })
    }

    fn is_unchanged_since(&self, image_id: &str, snapshot_id: u64) -> PoolResult<bool> {
        let owned = image_id.to_owned();
        self.call(&read("is_unchanged_since", image_id), move |c| {
            c.is_unchanged_since(&owned, snapshot_id)
        })
    }

    fn clone_image(
        &self,
        parent: (&str, u64),
        name: &str,
        format: &ImageFormat,
        meta: &str,
    ) -> PoolResult<String> {
        let (inner, format) = (self.inner, *format);
        let owned = (parent.0.to_owned(), name.to_owned(), meta.to_owned());
        let snapshot = parent.1;
        self.faults.pass(
            &change("clone_image", name),
            move || inner.clone_image((&owned.0, snapshot), &owned.1, &format, &owned.2),
            || inner.clone_image(parent, name, &format, "").map(|_| ()),
        )
    }

    fn images(&self) -> PoolResult<BTreeMap<String, String>> {
        self.call(&read("images", ""), |c| c.images())
    }

    fn image_name(&self, id: &str) -> PoolResult<Option<String>> {
        let owned = id.to_owned();
        self.call(&read("image_name", id), move |c| c.image_name(&owned))
    }

    fn users(&self, id: &str) -> PoolResult<ImageUsers> {
        let owned = id.to_owned();
        self.call(&read("users", id), move |c| c.users(&owned))
    }

    fn header(&self, id: &str) -> PoolResult<ImageHeader> {
        let owned = id.to_owned();
        self.call(&read("header", id), move |c| c.header(&owned))
    }

    fn image(&self, id: &str) -> PoolResult<ImageState> {
        let owned = id.to_owned();
        self.call(&read("image", id), move |c| c.image(&owned))
    }

    fn image_by_name(&self, name: &str) -> PoolResult<ImageState> {
        let owned = name.to_owned();
        self.call(&read("image_by_name", name), move |c| {
            c.image_by_name(&owned)
        })
    }

    fn grow_image(&self, id: &str, size: u64) -> PoolResult<()> {
        let owned = id.to_owned();
        self.call(&change("grow_image", id), move |c| {
            c.grow_image(&owned, size)
        })
    }

    fn watchers(&self, id: &str) -> PoolResult<Vec<Watcher>> {
        let owned = id.to_owned();
        self.call(&read("watchers", id), move |c| c.watchers(&owned))
    }

    fn require_unlocked(&self, id: &str) -> PoolResult<()> {
        let owned = id.to_owned();
        self.call(&read("require_unlocked", id), move |c| {
            c.require_unlocked(&owned)
        })
    }

    fn empty_image(&self, id: &str, progress: Progress<'_>) -> PoolResult<()> {
        let owned = id.to_owned();
        self.call_with_progress(&change("empty_image", id), progress, move |c| {
            c.empty_image(&owned, &mut |_, _| {})
        })
    }

    fn flatten_image(&self, id: &str, progress: Progress<'_>) -> PoolResult<()> {
        let owned = id.to_owned();
        self.call_with_progress(&change("flatten_image", id), progress, move |c| {
            c.flatten_image(&owned, &mut |_, _| {})
        })
    }

    fn schedule_flatten(&self, name: &str) -> PoolResult<()> {
        let owned = name.to_owned();
        self.call(&change("schedule_flatten", name), move |c| {
            c.schedule_flatten(&owned)
        })
    }

    fn df(&self) -> PoolResult<Vec<u8>> {
        self.call(&read("df", ""), |c| c.df())
    }

    fn osd_dump(&self) -> PoolResult<Vec<u8>> {
        self.call(&read("osd_dump", ""), |c| c.osd_dump())
    }
}
