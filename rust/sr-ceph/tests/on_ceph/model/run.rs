//! Runs the steps on the cluster, and compares the result with the model.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use sr::xapi::{XapiFields, XapiVdi};
use sr_ceph::catalogue::image_prefix;
use sr_ceph::faults::{Calls, Faults, Plan};
use sr_ceph::pool::{Entries, Pool};
use sr_ceph::{CephSr, Result};
use uuid::Uuid;

use super::expectations::{expect, Refusal, Vdi, Vdis};
use super::{Action, Fate, Step, ANY, HOSTS, VDIS};
use crate::lab::{named, new_disk, Lab};

pub struct Run {
    lab: Lab,
    uuids: Vec<Uuid>,
    vdis: Vdis,
    /// XAPI's database.
    xapi: BTreeMap<usize, XapiFields>,
    opened: Vec<librbd::Image>,
    /// The number of commands by fate and result.
    tally: BTreeMap<(&'static str, &'static str), usize>,
}

/// The fate of a process, and the result of its command; `None` if it returned no result.
type Returned = (&'static str, Option<Result<()>>);

/// Everything in the pool that a command can change.
#[derive(Debug, PartialEq, Eq)]
struct XapiPool {
    catalogue: Entries,
    images: BTreeMap<String, String>,
    snapshots: BTreeSet<(String, u64)>,
}

impl Run {
    pub fn new(lab: Lab) -> Self {
        Run {
            lab,
            uuids: (0..VDIS).map(|_| Uuid::new_v4()).collect(),
            vdis: Vdis::new(),
            xapi: BTreeMap::new(),
            opened: Vec::new(),
            tally: BTreeMap::new(),
        }
    }

    pub fn take(&mut self, step: &Step) {
        match *step {
            Step::Command { host, action, fate } => {
                self.command(host, self.likely(action), fate);
            }
            Step::Scan { host } => self.scan(host),
            Step::Write { vdi, block, value } => {
                if let Some(found) = self.vdis.get_mut(&vdi).filter(|v| v.active.is_some()) {
                    found.content[block] = value;
                    self.lab.write(&self.uuids[vdi], &found.content);
                }
            }
            Step::Rename { vdi, name } => {
                if let Some(fields) = self.xapi.get_mut(&vdi) {
                    *fields = XapiFields {
                        snapshot_of: fields.snapshot_of,
                        ..named(&format!("name {name}"))
                    };
                }
            }
            Step::Repoint { vdi, of } => {
                if let Some(fields) = self.xapi.get_mut(&vdi) {
                    fields.snapshot_of = Some(self.uuids[of]);
                }
            }
            Step::Open { vdi } => {
                if self.vdis.contains_key(&vdi) {
                    let image = self.lab.open_image(&self.uuids[vdi], false);
                    self.opened.push(image);
                }
            }
            Step::Close => self.opened.clear(),
        }
        assert_eq!(self.found(), self.vdis);
        self.lab.check_clean();
    }

    /// Runs a command as XAPI does, in a new process.
    fn command(&mut self, host: usize, action: Action, fate: Fate) {
        let expected = expect(&self.vdis, host, action);
        let (process, result) = match fate {
            // The host's next activation recovers claims: tested by `it/crashes.rs`.
            _ if action.is_activation() => self.live(host, action),
            Fate::Lives => self.live(host, action),
            Fate::Dies { nth, mode, here } => {
                let calls = Calls::Changes;
                self.die(host, action, Plan { calls, nth, mode }, here)
            }
            Fate::Sleeps { nth } => self.sleep(host, action, nth),
        };
        let ending = match (result, expected) {
            (Some(Ok(())), Ok(after)) => {
                self.vdis = after;
                "done"
            }
            (Some(Err(error)), Err(refusal)) => {
                assert_eq!(Refusal::of(&error), Some(refusal), "{error}");
                "refused"
            }
            // No result: the command was applied completely, or not at all.
            (None, Ok(after)) if self.found() == after => {
                self.vdis = after;
                "done"
            }
            (None, _) => "undone",
            (Some(result), expected) => panic!("{result:?}, where {expected:?} was expected"),
        };
        *self.tally.entry((process, ending)).or_default() += 1;
        self.update_xapi();
    }

    /// Replaces the numbers of an action below `ANY` by those of VDIs that exist, or of UUIDs that are free, if
    /// there are any.
    fn likely(&self, action: Action) -> Action {
        let choose = |number: usize, wanted: &dyn Fn(Option<&Vdi>) -> bool| {
            let mut fitting: Vec<_> = (0..VDIS).filter(|vdi| wanted(self.vdis.get(vdi))).collect();
            if number >= ANY || fitting.is_empty() {
                fitting = (0..VDIS).collect();
            }
            fitting[number % fitting.len()]
        };
        let there = |vdi| choose(vdi, &|found| found.is_some());
        let free = |vdi| choose(vdi, &|found| found.is_none());
        let disk = |vdi| choose(vdi, &|found| found.is_some_and(|f| !f.is_snapshot));
        let snapshot = |vdi| choose(vdi, &|found| found.is_some_and(|f| f.is_snapshot));
        match action {
            Action::Create { vdi } => Action::Create { vdi: free(vdi) },
            Action::Snapshot { of, new } => Action::Snapshot {
                of: there(of),
                new: free(new),
            },
            Action::Clone { of, new } => Action::Clone {
                of: there(of),
                new: free(new),
            },
            Action::Revert { disk: vdi, to } => Action::Revert {
                disk: disk(vdi),
                to: snapshot(to),
            },
            Action::Delete { vdi } => Action::Delete { vdi: there(vdi) },
            Action::Grow { vdi, objects } => Action::Grow {
                vdi: disk(vdi),
                objects,
            },
            Action::Activate { vdi } => Action::Activate { vdi: disk(vdi) },
            Action::Deactivate { vdi } => Action::Deactivate { vdi: there(vdi) },
        }
    }

    fn perform(&self, action: Action, sr: &CephSr<'_>) -> Result<()> {
        let uuid = |vdi: usize| &self.uuids[vdi];
        match action {
            Action::Create { vdi } => sr.create_disk(&new_disk(*uuid(vdi), "disk")).map(drop),
            Action::Snapshot { of, new } => sr.snapshot_vdi(uuid(of), uuid(new)).map(drop),
            Action::Clone { of, new } => sr.clone_vdi(uuid(of), uuid(new)).map(drop),
            Action::Revert { disk, to } => sr.revert_vdi(uuid(disk), uuid(to)).map(drop),
            Action::Delete { vdi } => sr.delete_vdi(uuid(vdi)),
            Action::Grow { vdi, objects } => {
                let size = i128::from(objects) * (4 << 20);
                sr.resize_vdi(uuid(vdi), size).map(drop)
            }
            Action::Activate { vdi } => sr.activate_vdi(uuid(vdi), true).map(drop),
            Action::Deactivate { vdi } => sr.deactivate_vdi(uuid(vdi)),
        }
    }

    fn live(&self, host: usize, action: Action) -> Returned {
        let result = self.lab.run(HOSTS[host], |sr| self.perform(action, sr));
        ("lived", Some(result))
    }

    /// Runs a process whose nth change fails. If it returns no success, the pool shows the outcome after the
    /// recovery.
    fn die(&self, host: usize, action: Action, plan: Plan, here: bool) -> Returned {
        let (process, faults) = (self.lab.process(HOSTS[host]), Faults::plan(plan));
        let perform = |sr: &CephSr<'_>| self.perform(action, sr);
        let result = self.lab.as_process(&process, &faults, perform);
        let Some(hit) = faults.hit() else {
            return ("lived", Some(result));
        };
        // XAPI's plugins pause and resume. Their call may outlive its process, but not the lease.
        if matches!(hit, "pause_disk" | "resume_disk") {
            faults.deliver();
        }
        if !here {
            self.lab.let_leases_end();
        }
        let recoverer = HOSTS[if here { host } else { 1 - host }];
        self.lab.run(recoverer, |sr| sr.scan(&[])).unwrap();
        faults.deliver();
        ("died", result.is_ok().then_some(result))
    }

    /// Runs a process that sleeps past its lease before its nth call. After another host has recovered, nothing
    /// that it does is applied.
    fn sleep(&self, host: usize, action: Action, nth: usize) -> Returned {
        let taken_over = RefCell::new(None);
        let process = self.lab.process(HOSTS[host]);
        let faults = Faults::interrupted(nth, || {
            let at_work = self.lab.catalogue().keys().any(|k| k.starts_with("op."));
            self.lab.let_leases_end();
            let other = HOSTS[1 - host];
            self.lab.run(other, |sr| sr.scan(&[])).unwrap();
            *taken_over.borrow_mut() = at_work.then(|| self.pool());
        });
        let perform = |sr: &CephSr<'_>| self.perform(action, sr);
        let result = self.lab.as_process(&process, &faults, perform);
        let Some(recovered) = taken_over.take() else {
            return ("lived", Some(result));
        };
        assert_eq!(self.pool(), recovered, "its lease was over, and it went on");
        ("overtaken", result.is_ok().then_some(result))
    }
}

impl Run {
    /// Scans with XAPI's present records. Checks that every VDI is listed with its fields.
    fn scan(&mut self, host: usize) {
        let known: Vec<_> = self
            .xapi
            .iter()
            .map(|(vdi, fields)| XapiVdi {
                uuid: self.uuids[*vdi],
                size: self.vdis[vdi].size,
                fields: fields.clone(),
            })
            .collect();
        let scan = self.lab.run(HOSTS[host], |sr| sr.scan(&known)).unwrap();
        let listed: BTreeSet<_> = scan.vdis.iter().map(|vdi| vdi.uuid).collect();
        let expected = self.vdis.keys().map(|vdi| self.uuids[*vdi]).collect();
        assert_eq!(listed, expected, "what a scan lists");
        let records = self.lab.records();
        for (vdi, fields) in &self.xapi {
            assert_eq!(records[&self.uuids[*vdi]].xapi, *fields, "copied fields");
        }
    }

    /// Adds new VDIs to XAPI's database, and removes those that are gone.
    fn update_xapi(&mut self) {
        self.xapi.retain(|vdi, _| {
            let present = self.vdis.contains_key(vdi);
            if !present {
                self.uuids[*vdi] = Uuid::new_v4();
            }
            present
        });
        for vdi in self.vdis.keys() {
            let uuid = &self.uuids[*vdi];
            let fields = || self.lab.record(uuid).unwrap().xapi;
            self.xapi.entry(*vdi).or_insert_with(fields);
        }
    }

    /// Returns the VDIs in the cluster.
    fn found(&self) -> Vdis {
        let number = |uuid| self.uuids.iter().position(|known| *known == uuid).unwrap();
        let records = self.lab.records().into_values();
        let describe = records.map(|record| {
            let host = record.claim.map(|claim| claim.owner.host);
            let vdi = Vdi {
                is_snapshot: record.volume.snapshot().is_some(),
                size: record.size,
                content: self.lab.content(&record.uuid),
                active: host.and_then(|host| HOSTS.iter().position(|known| *known == host)),
            };
            (number(record.uuid), vdi)
        });
        describe.collect()
    }

    fn pool(&self) -> XapiPool {
        let mut images = self.lab.observer.images().unwrap();
        images.retain(|_, name| name.starts_with(&image_prefix(&self.lab.sr)));
        let mut snapshots = BTreeSet::new();
        for id in images.keys() {
            let all = self.lab.observer.users(id).unwrap().snapshots;
            let live = all.into_iter().filter(|s| !s.removed);
            snapshots.extend(live.map(|s| (id.clone(), s.id)));
        }
        XapiPool {
            catalogue: self.lab.catalogue(),
            images,
            snapshots,
        }
    }

    /// Stops and deletes everything, in the order of the UUIDs, and checks that nothing is left.
    pub fn end(mut self) {
        self.opened.clear();
        for (host, name) in HOSTS.iter().enumerate() {
            for (vdi, _) in self.vdis.iter().filter(|(_, v)| v.active == Some(host)) {
                let uuid = &self.uuids[*vdi];
                self.lab.run(name, |sr| sr.deactivate_vdi(uuid)).unwrap();
            }
        }
        for vdi in self.vdis.keys() {
            let uuid = &self.uuids[*vdi];
            self.lab.prepare(|sr| sr.delete_vdi(uuid)).unwrap();
        }
        eprintln!("{:?}", self.tally);
        self.lab.end();
    }
}
