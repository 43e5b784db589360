//! What an observer sees of the SR.

use std::collections::{BTreeMap, BTreeSet};

use sr_ceph::catalogue::{catalogue_object, image_prefix};
use sr_ceph::pool::Entries;
use sr_ceph::record::{Record, VdiRecord};
use uuid::Uuid;

use crate::{Bench, Model};

/// Everything in the pool that a command can change.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    catalogue: Entries,
    images: BTreeMap<String, String>,
    snapshots: BTreeSet<(String, u64)>,
}

impl<B: Bench> Model<B> {
    pub(crate) fn keys(&self, prefix: &str) -> Vec<String> {
        let entries = self.bench.observer().read(&self.catalogue(), prefix);
        entries.unwrap().into_keys().collect()
    }

    fn catalogue(&self) -> String {
        catalogue_object(&self.bench.sr())
    }

    /// Returns every VDI of the catalogue.
    pub(crate) fn records(&self) -> BTreeMap<Uuid, VdiRecord> {
        let entries = self.bench.observer().read(&self.catalogue(), "vdi.");
        let entries = entries.unwrap().into_values();
        let records = entries.map(|value| VdiRecord::parse(&value).unwrap());
        records.map(|record| (record.uuid, record)).collect()
    }

    pub(crate) fn record(&self, number: usize) -> Option<VdiRecord> {
        self.records().remove(&self.uuids[number])
    }

    pub(crate) fn contents(&self) -> Contents {
        let observer = self.bench.observer();
        let mut images = observer.images().unwrap();
        images.retain(|_, name| name.starts_with(&image_prefix(&self.bench.sr())));
        let mut snapshots = BTreeSet::new();
        for id in images.keys() {
            let all = observer.users(id).unwrap().snapshots;
            let live = all.into_iter().filter(|snapshot| !snapshot.removed);
            snapshots.extend(live.map(|snapshot| (id.clone(), snapshot.id)));
        }
        Contents {
            catalogue: observer.read(&self.catalogue(), "").unwrap(),
            images,
            snapshots,
        }
    }
}
