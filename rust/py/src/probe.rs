//! The result of `sr_probe`, in the XML that SM and its clients read.

use serde::Serialize;
use sr::engine::{self, Place, Probe};

use crate::error::{Failure, INTERNAL, SM_GENERAL};

mod xml;

use self::xml::{FoundPool, FoundSr, PoolList, SrList};

/// Returns the result of a probe as XML.
pub fn xml(probe: Probe) -> Result<String, Failure> {
    match probe {
        Probe::Srs(srs) => write(&SrList {
            srs: srs.into_iter().map(FoundSr::from).collect(),
        }),
        Probe::Places(places) => write(&PoolList {
            pools: places.into_iter().map(FoundPool::from).collect(),
        }),
    }
}

impl From<engine::FoundSr> for FoundSr {
    fn from(sr: engine::FoundSr) -> Self {
        FoundSr {
            uuid: sr.uuid.to_string(),
            namespace: sr.namespace,
            size: sr.size,
            name_label: sr.name_label,
            name_description: sr.name_description,
        }
    }
}

impl From<Place> for FoundPool {
    fn from(place: Place) -> Self {
        FoundPool {
            name: place.name,
            free: place.free,
            quota: place.quota,
            used: place.used,
            refused: place.refused,
        }
    }
}

fn write(list: &impl Serialize) -> Result<String, Failure> {
    xml::write(list).map_err(|e| Failure {
        id: Some(INTERNAL),
        key: SM_GENERAL,
        errno: None,
        message: format!("cannot write the result of sr_probe as XML: {e}. This is a bug: please report it with /var/log/SMlog"),
    })
}
