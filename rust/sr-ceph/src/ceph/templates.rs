//! Images outside an SR, on a real cluster.

use librbd::{ImageRef, Monitor, SnapId, SnapshotRef};

use super::CephPool;
use crate::image_format::ImageFormat;
use crate::pool::{Result, Template, Templates, META_KEY};

/// A kernel maps fewer parents than this. A longer chain need not be followed.
const PARENTS: usize = 20;
/// How much of an image is read to recognise its format.
const FIRST: usize = 512;

impl CephPool {
    /// The SR's namespace in a pool.
    fn beside(&self, pool: &str) -> Result<librbd::Pool> {
        let pool = self.cluster.pool(pool)?;
        Ok(pool.in_namespace(self.pool.namespace())?)
    }

    /// The parents of an open image, at the snapshot that is set.
    fn parents_of(&self, image: &librbd::Image) -> Result<Vec<(String, u64)>> {
        let mut parents = Vec::new();
        let mut next = image.parent()?;
        while let Some(parent) = next.filter(|_| parents.len() < PARENTS) {
            let found = parent.image;
            let pool = self.cluster.pool(&found.pool_name)?;
            let pool = pool.in_namespace(&found.namespace)?;
            let mut image = pool.image_open(&ImageRef::Id(&found.image_id), true)?;
            image.set_snapshot(Some(parent.snap_id))?;
            let words = [&found.pool_name, &found.namespace, &found.image_name];
            let words: Vec<&str> = words.into_iter().map(String::as_str).collect();
            let words = words.into_iter().filter(|word| !word.is_empty());
            parents.push((words.collect::<Vec<_>>().join("/"), image.features()?));
            next = image.parent()?;
            image.close()?;
        }
        Ok(parents)
    }
}

impl Templates for CephPool {
    fn template(&self, pool: &str, image: &str, snapshot: Option<&str>) -> Result<Template> {
        let source = self.beside(pool)?;
        let mut image = source.image_open(&ImageRef::Name(image), true)?;
        let snapshots = self.snapshots_of(&image)?;
        let watchers = Self::watchers_of(&image)?;
        let (id, features) = (image.id()?, image.features()?);
        let is_smblocks = image.metadata_get(META_KEY)?.is_some();
        let at = snapshots.iter().find(|found| {
            let is_wanted = Some(found.name.as_str()) == snapshot;
            is_wanted && !found.removed
        });
        image.set_snapshot(at.map(|found| SnapId(found.id)))?;
        let parents = self.parents_of(&image)?;
        image.close()?;
        Ok(Template {
            id,
            features,
            snapshots,
            is_smblocks,
            watchers,
            parents,
        })
    }

    fn first_bytes(&self, pool: &str, id: &str, snapshot: u64) -> Result<Vec<u8>> {
        let source = self.beside(pool)?;
        let mut image = source.image_open(&ImageRef::Id(id), true)?;
        image.set_snapshot(Some(SnapId(snapshot)))?;
        let mut bytes = vec![0; FIRST];
        let length = image.read_at(0, &mut bytes)?;
        bytes.truncate(length);
        image.close()?;
        Ok(bytes)
    }

    fn clone_template(
        &self,
        (pool, id, snapshot): (&str, &str, u64),
        name: &str,
        format: &ImageFormat,
        meta: &str,
    ) -> Result<String> {
        let source = self.beside(pool)?;
        let options = self.options(format);
        let (image, snapshot) = (ImageRef::Id(id), SnapshotRef::Id(SnapId(snapshot)));
        self.pool
            .image_clone_from(&source, &image, &snapshot, name, &options)?;
        self.set_meta(name, format, meta)
    }

    fn monitors(&self) -> Result<Vec<Monitor>> {
        Ok(self.cluster.monitors()?)
    }
}
