//! Checks that a recovery is complete.

use std::collections::{BTreeMap, BTreeSet};

use sr_ceph::catalogue::image_prefix;
use sr_ceph::pool::{ImageState, Pool};
use sr_ceph::record::{LineageRecord, Record, VdiRecord};
use uuid::Uuid;

use super::lab::Lab;

impl Lab {
    /// Returns every VDI of the catalogue.
    pub fn records(&self) -> BTreeMap<Uuid, VdiRecord> {
        let entries = self.catalogue();
        let vdis = entries.iter().filter(|(key, _)| key.starts_with("vdi."));
        let records = vdis.map(|(_, value)| VdiRecord::parse(value).unwrap());
        records.map(|record| (record.uuid, record)).collect()
    }

    /// Checks that everything in the catalogue exists, and that nothing else does: no operation, image, snapshot,
    /// watch or pause.
    pub fn check_clean(&self) {
        let entries = self.catalogue();
        let operations: Vec<_> = entries.keys().filter(|k| k.starts_with("op.")).collect();
        assert_eq!(operations, [""; 0], "operations are left");
        assert_eq!(self.hosts.paused(), BTreeSet::new(), "disks stay paused");

        let directory = self.observer.images().unwrap();
        let prefix = image_prefix(&self.sr);
        let ours = directory
            .iter()
            .filter(|(_, name)| name.starts_with(&prefix));
        let images: BTreeMap<&String, ImageState> = ours
            .map(|(id, _)| (id, self.observer.image(id).unwrap()))
            .collect();
        let mut heads = BTreeSet::new();
        let mut snapshots = BTreeSet::new();
        for (uuid, record) in self.records() {
            let image = &record.volume.image().id;
            let Some(state) = images.get(image) else {
                panic!("lost: {uuid}, for {image} is not in the pool's directory");
            };
            assert_ne!(record.xapi.name_label, "", "{uuid} has lost its name");
            match record.volume.snapshot() {
                None => {
                    assert_eq!(state.size, record.size, "the size of {uuid}");
                    assert!(heads.insert(image.clone()), "two disks are {image}");
                    let base = record.base.iter().map(|base| base.snapshot.id);
                    snapshots.extend(base.map(|id| (image.clone(), id)));
                }
                Some(snapshot) => {
                    let mut found = state.snapshots.iter().filter(|s| !s.removed);
                    assert!(found.any(|s| s.id == snapshot.id), "lost: {uuid}");
                    snapshots.insert((image.clone(), snapshot.id));
                }
            }
        }
        let lineages = entries
            .iter()
            .filter(|(key, _)| key.starts_with("lineage."));
        for (_, value) in lineages {
            let lineage = LineageRecord::parse(value).unwrap();
            let origin = lineage.origin;
            snapshots.insert((lineage.image.id, lineage.birth.id));
            snapshots.insert((origin.image.id, origin.snapshot.id));
        }
        for (id, state) in images {
            // A hidden image is removed by the next scan after its last clone was freed: `Lab::end`.
            let hidden = entries.contains_key(&format!("hidden.{id}"));
            let known = heads.contains(id) || hidden;
            assert!(known, "left: image {}", state.name);
            for snapshot in state.snapshots.iter().filter(|s| !s.removed) {
                let known = snapshots.contains(&(id.clone(), snapshot.id));
                assert!(known, "left: snapshot {} of {}", snapshot.name, state.name);
            }
            let mut watchers = self.observer.watchers(id).unwrap();
            watchers.retain(|watcher| self.clients.borrow().contains(&watcher.client_id));
            assert_eq!(watchers, [], "still open in a process: {}", state.name);
        }
    }
}
