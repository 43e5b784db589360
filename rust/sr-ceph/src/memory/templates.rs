//! Images of the simulator's pool that belong to no SR. It has no other pool.

use librbd::Monitor;
use nix::libc;

use super::client::MemoryPool;
use super::report::POOL_NAME;
use crate::image_format::ImageFormat;
use crate::pool::{Pool, PoolError, Result, Template, Templates};

/// The pool in which the simulator's user has no rights.
const CLOSED: &str = "closed";

impl Templates for MemoryPool {
    fn template(&self, pool: &str, image: &str, _snapshot: Option<&str>) -> Result<Template> {
        let fail = |errno| PoolError::new("template", &format!("{pool}/{image}"), errno);
        if pool != POOL_NAME {
            let errno = match pool {
                CLOSED => libc::EPERM,
                _ => libc::ENOENT,
            };
            return Err(fail(errno));
        }
        let state = self.request("template", image)?;
        let pool = &state.pool;
        let id = pool
            .directory
            .get(image)
            .ok_or_else(|| fail(libc::ENOENT))?;
        let found = pool.images.get(id).ok_or_else(|| fail(libc::ENOENT))?;
        let mut parents = Vec::new();
        let mut next = found.parent.as_ref();
        while let Some(parent) = next.and_then(|(of, _)| pool.images.get(of)) {
            parents.push((format!("{POOL_NAME}/{}", parent.name), parent.features));
            next = parent.parent.as_ref();
        }
        let state = found.state(id);
        Ok(Template {
            features: state.features,
            snapshots: state.snapshots,
            is_smblocks: state.meta.is_some(),
            watchers: pool.watchers(id),
            parents,
            id: state.id,
        })
    }

    fn first_bytes(&self, _pool: &str, id: &str, _snapshot: u64) -> Result<Vec<u8>> {
        self.open("first_bytes", id, |image| match image.is_encrypted {
            true => b"LUKS\xba\xbe\0\x02".to_vec(),
            false => vec![0; 8],
        })
    }

    fn clone_template(
        &self,
        (_, id, snapshot): (&str, &str, u64),
        name: &str,
        format: &ImageFormat,
        meta: &str,
    ) -> Result<String> {
        self.clone_image((id, snapshot), name, format, meta)
    }

    fn monitors(&self) -> Result<Vec<Monitor>> {
        drop(self.request("monitors", "")?);
        Ok(vec![Monitor {
            name: "a".to_owned(),
            v1: vec!["10.0.0.1:6789".to_owned()],
            v2: vec!["10.0.0.1:3300".to_owned()],
        }])
    }
}
