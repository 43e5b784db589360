//! Taking over the disks of CephRBDSR, and giving them back.

mod crashes;
mod giving_back;
mod outcomes;
mod random;

use std::collections::BTreeMap;

use sr::doctor::VdiFacts;
use sr::engine::{Adoption, AdoptionFacts, AdoptionRequest};
use sr::xapi::{XapiFields, XapiVdi};
use sr_ceph::pool::{Inspection, Pool, SnapshotKind};
use uuid::Uuid;

use crate::support::{named, Lab, A, B, GIB};

/// A pool that CephRBDSR has written, and what XAPI has about the SR.
struct Older {
    lab: Lab,
    prefix: &'static str,
    known: Vec<XapiVdi>,
}

/// What CephRBDSR finds in the pool by the names that it gives: each disk with its image's id, size and
/// content, and its snapshots with their content and whether they are protected.
type Listed = BTreeMap<
    Uuid,
    (
        String,
        u64,
        Option<u64>,
        BTreeMap<String, (Option<u64>, bool)>,
    ),
>;

impl Older {
    fn new(prefix: &'static str) -> Self {
        Older {
            lab: Lab::bare(),
            prefix,
            known: Vec::new(),
        }
    }

    /// A disk with two snapshots, a clone of the first one of them, and a disk that XAPI does not have.
    fn with_disks() -> (Self, [Uuid; 5]) {
        let mut older = Older::new("");
        let disk = older.disk("disk", 1);
        let first = older.snapshot(&disk, "first");
        older.write(&disk, 2);
        let second = older.snapshot(&disk, "second");
        older.write(&disk, 3);
        let clone = older.clone_of(&disk, "clone");
        let unknown = older.disk("", 4);
        (older, [disk, first, second, clone, unknown])
    }

    fn name(&self, vdi: &Uuid) -> String {
        format!("{}vdi-{vdi}", self.prefix)
    }

    /// XAPI has a VDI under that name; under an empty name it has none.
    fn introduce(&mut self, uuid: Uuid, name: &str) {
        if !name.is_empty() {
            self.known.push(XapiVdi {
                uuid,
                size: GIB,
                utilisation: 0,
                fields: named(name),
            });
        }
    }

    fn disk(&mut self, name: &str, content: u64) -> Uuid {
        let uuid = Uuid::new_v4();
        self.lab.sim.create_foreign_image(&self.name(&uuid), GIB);
        self.write(&uuid, content);
        self.introduce(uuid, name);
        uuid
    }

    fn write(&self, disk: &Uuid, content: u64) {
        self.lab.sim.write_by_hand(&self.name(disk), content);
    }

    fn snapshot(&mut self, disk: &Uuid, name: &str) -> Uuid {
        let uuid = Uuid::new_v4();
        let snapshot = format!("{}snap-{uuid}", self.prefix);
        let (sim, image) = (&self.lab.sim, self.name(disk));
        sim.snapshot_by_hand(&image, &snapshot, SnapshotKind::User);
        sim.protect_snapshots(&image, true);
        self.introduce(uuid, name);
        uuid
    }

    /// A clone, of format 1, of the first snapshot of a disk.
    fn clone_of(&mut self, disk: &Uuid, name: &str) -> Uuid {
        let (uuid, sim) = (Uuid::new_v4(), &self.lab.sim);
        sim.clone_by_hand(&self.name(disk), "made");
        let mut made = sim.snapshot().images.into_keys();
        let made: Vec<_> = made.by_ref().filter(|n| n.starts_with("made.")).collect();
        sim.rename_image(&made[0], &self.name(&uuid));
        for other in &made[1..] {
            sim.remove_image(other);
        }
        self.introduce(uuid, name);
        uuid
    }

    fn request(&self, undo: bool, act: bool) -> AdoptionRequest {
        let facts = AdoptionFacts {
            name_label: "ceph".to_owned(),
            prefix: self.prefix.to_owned(),
            ..AdoptionFacts::default()
        };
        AdoptionRequest {
            facts,
            known: self.known.clone(),
            undo,
            act,
        }
    }

    fn run(&self, request: &AdoptionRequest) -> Adoption {
        self.lab.run(A, |sr| sr.adopt_older(request)).unwrap()
    }

    /// Takes everything over.
    fn adopt(&self) -> Adoption {
        let report = self.run(&self.request(false, true));
        assert!(report.done, "{report:?}");
        report
    }

    /// Gives everything back.
    fn undo(&self) -> Adoption {
        let report = self.run(&self.request(true, true));
        assert!(report.done, "{report:?}");
        report
    }

    /// What refuses the adoption, as one text.
    fn refusals(&self) -> String {
        let report = self.run(&self.request(false, true));
        assert!(!report.done, "{report:?}");
        texts(&report.refused)
    }

    /// What CephRBDSR lists.
    fn listed(&self) -> Listed {
        let client = self.lab.sim.client();
        let mut listed = Listed::new();
        for (id, name) in client.images().unwrap() {
            let Some(uuid) = name.strip_prefix(&format!("{}vdi-", self.prefix)) else {
                continue;
            };
            let state = client.image(&id).unwrap();
            let snapshots = state.snapshots.into_iter().map(|s| {
                let content = self.lab.sim.snapshot_content(&id, s.id);
                (s.name, (content, client.is_protected(&id, s.id).unwrap()))
            });
            let snapshots = snapshots.collect();
            let disk = (id.clone(), state.size, self.lab.sim.content(&id), snapshots);
            listed.insert(uuid.parse().unwrap(), disk);
        }
        listed
    }

    /// Checks that nothing of smblock is left, and that CephRBDSR finds what it had.
    fn check_given_back(&self, before: &Listed) {
        assert_eq!(&self.listed(), before);
        let pool = self.lab.sim.snapshot();
        assert!(!pool.objects.contains_key(&self.lab.catalogue()));
        let client = self.lab.sim.client();
        for (id, name) in client.images().unwrap() {
            assert!(!name.starts_with("smblock."), "{name}");
            assert_eq!(client.image(&id).unwrap().meta, None, "{name}");
        }
    }

    /// Checks that every disk belongs to smblock, and to it alone.
    fn check_adopted(&self, before: &Listed) {
        assert!(self.listed().is_empty(), "CephRBDSR still finds disks");
        let snapshots = before.values().map(|disk| disk.3.len()).sum::<usize>();
        assert_eq!(self.lab.vdis(B).len(), before.len() + snapshots);
        for (disk, (id, size, content, _)) in before {
            let record = self.lab.record(disk).unwrap();
            assert_eq!((&record.volume.image().id, record.size), (id, *size));
            assert_eq!(self.lab.content(disk), *content);
            assert_eq!(self.lab.image_name(disk), {
                format!("smblock.{}.{disk}.0", self.lab.sr)
            });
        }
    }
}

/// Remarks as one text.
fn texts(remarks: &[sr::engine::Remark]) -> String {
    let lines = remarks.iter();
    let lines = lines.map(|r| format!("{}: {}. {}\n", r.object, r.why, r.fix));
    lines.collect()
}

fn vdi_facts(uuid: Uuid, sm_config: &[(&str, &str)]) -> VdiFacts {
    let sm_config = sm_config.iter();
    let sm_config = sm_config.map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    VdiFacts {
        uuid,
        sm_config: sm_config.collect(),
        ..VdiFacts::default()
    }
}

fn fields(lab: &Lab, vdi: &Uuid) -> XapiFields {
    lab.record(vdi).unwrap().xapi
}
