//! New images that keep their data in another pool, which may be erasure coded.
//!
//! Headers and the catalogue need omap objects, which an erasure-coded pool does not have.

use librbd::CreateOptions;

use super::{pools, CephPool};
use crate::error::DataPoolError;

impl CephPool {
    /// The same pool. New images keep their data in the other pool, which must exist.
    pub fn with_data_in(self, other: Option<&str>) -> crate::Result<Self> {
        let Some(other) = other else {
            return Ok(self);
        };
        let present = pools(&self.cluster);
        if !present.is_empty() && !present.values().any(|name| name == other) {
            let present = present.into_values().collect::<Vec<_>>().join(", ");
            let pool = other.to_owned();
            return Err(DataPoolError::Missing { pool, present }.into());
        }
        let data_pool = Some(other.to_owned());
        Ok(CephPool { data_pool, ..self })
    }

    /// The options of a new image.
    pub(super) fn options(&self, features: u64) -> CreateOptions {
        CreateOptions {
            features,
            data_pool: self.data_pool.clone(),
            ..CreateOptions::default()
        }
    }
}
