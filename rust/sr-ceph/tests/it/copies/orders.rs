//! Every order in which the VDIs of a tree can be deleted.
//!
//! Orders that have deleted the same VDIs are compared. If they leave the same pool, the rest is the same for all
//! of them, so only one of them is continued.

use std::collections::{BTreeMap, BTreeSet};

use sr_ceph::memory::{Sim, Snapshot};
use uuid::Uuid;

use super::trees::{self, Step, Tree};
use crate::support::{new_disk, Lab, A, GIB};

/// VDIs by their numbers.
type Vdis = BTreeSet<usize>;

/// When the cluster's manager frees what was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manager {
    AtOnce,
    AtTheEnd,
}

/// A tree in a pool.
struct Grown {
    lab: Lab,
    /// The content that each VDI must have.
    contents: Vec<u64>,
}

/// Returns the UUID of a VDI. The same ones each time, so that pools can be compared.
fn vdi(number: usize) -> Uuid {
    Uuid::from_u128(1 + number as u128)
}

impl Grown {
    fn new(tree: &Tree) -> Self {
        let lab = Lab {
            sim: Sim::new(),
            sr: Uuid::from_u128(0),
        };
        lab.run(A, |sr| sr.create_sr("ceph", "")).unwrap();
        lab.run(A, |sr| sr.create_disk(&new_disk(vdi(0), GIB)))
            .unwrap();
        let mut grown = Grown {
            lab,
            contents: vec![0],
        };
        grown.overwrite(0);
        for step in &tree.steps {
            grown.take(*step);
        }
        grown
    }

    /// Writes new content to a disk, which no other VDI has had.
    fn overwrite(&mut self, disk: usize) {
        self.contents[disk] = self.contents.iter().max().unwrap() + 1;
        self.lab.write(&vdi(disk), self.contents[disk]);
    }

    fn take(&mut self, step: Step) {
        let new = vdi(self.contents.len());
        match step {
            Step::Snapshot(of) => {
                let made = self.lab.run(A, |sr| sr.snapshot_vdi(&vdi(of), &new));
                let snapshot = self
                    .lab
                    .record(&vdi(of))
                    .unwrap()
                    .volume
                    .snapshot()
                    .cloned();
                assert_eq!(made.unwrap().uuid, new);
                self.contents.push(self.contents[of]);
                if snapshot.is_none() {
                    self.overwrite(of);
                }
            }
            Step::Clone(of) => {
                self.lab.run(A, |sr| sr.clone_vdi(&vdi(of), &new)).unwrap();
                assert_eq!(self.lab.content(&new), Some(self.contents[of]));
                self.contents.push(0);
                self.overwrite(self.contents.len() - 1);
            }
            Step::Revert(disk, to) => {
                let revert = self.lab.run(A, |sr| sr.revert_vdi(&vdi(disk), &vdi(to)));
                assert_eq!(revert.unwrap().uuid, vdi(disk));
                assert_eq!(self.lab.content(&vdi(disk)), Some(self.contents[to]));
                self.overwrite(disk);
            }
        }
    }

    fn delete(&self, victim: usize, gone: &Vdis, manager: Manager) -> Snapshot {
        self.lab.run(A, |sr| sr.delete_vdi(&vdi(victim))).unwrap();
        if manager == Manager::AtOnce {
            self.lab.settle();
        }
        for (number, content) in self.contents.iter().enumerate() {
            let kept = (!gone.contains(&number)).then_some(*content);
            assert_eq!(self.lab.content(&vdi(number)), kept, "VDI {number}");
        }
        let mut pool = self.lab.sim.snapshot();
        for value in pool.objects.values_mut().flat_map(|o| o.values_mut()) {
            value.clear(); // each write has a nonce
        }
        pool
    }

    fn check_empty(&self) {
        self.lab.settle();
        let pool = self.lab.sim.snapshot();
        assert!(pool.images.is_empty(), "{:?}", pool.images);
        assert!(pool.sizes.is_empty(), "{:?}", pool.sizes);
        assert_eq!(self.lab.keys("hidden."), [""; 0]);
        self.lab.run(A, |sr| sr.delete_sr()).unwrap();
    }
}

/// Returns each possible deletion, with the set of VDIs that are deleted before it.
fn deletions(count: usize) -> BTreeSet<(Vdis, usize)> {
    let subsets = (0..1_usize << count).map(|bits| -> Vdis {
        let numbers = 0..count;
        numbers.filter(|n| bits >> n & 1 == 1).collect()
    });
    let next = |gone: Vdis| {
        let left: Vec<_> = (0..count).filter(|n| !gone.contains(n)).collect();
        left.into_iter().map(move |victim| (gone.clone(), victim))
    };
    subsets.flat_map(next).collect()
}

/// Deletes a tree in every order, but at most in `limit` orders. Returns in how many.
fn delete_in_every_order(tree: &Tree, manager: Manager, limit: usize) -> usize {
    let mut left_behind: BTreeMap<Vdis, Snapshot> = BTreeMap::new();
    let mut untried = deletions(tree.vdis());
    let mut runs = 0;
    while runs < limit && !untried.is_empty() {
        // Not the next one, so that a few orders differ as much as possible.
        let chosen = (runs * 31) % untried.len();
        let (wanted, then) = untried.iter().nth(chosen).cloned().unwrap();
        let mut order: Vec<usize> = wanted.into_iter().chain([then]).collect();
        let grown = Grown::new(tree);
        let mut gone = Vdis::new();
        while gone.len() < tree.vdis() {
            let mut left = (0..tree.vdis()).filter(|victim| !gone.contains(victim));
            let fresh = |victim: &usize| untried.contains(&(gone.clone(), *victim));
            let next = order.get(gone.len()).copied();
            let victim = next.or_else(|| left.clone().find(fresh)).or(left.next());
            let victim = victim.unwrap();
            order.extend(next.is_none().then_some(victim));
            untried.remove(&(gone.clone(), victim));
            gone.insert(victim);
            let pool = grown.delete(victim, &gone, manager);
            let first = left_behind
                .entry(gone.clone())
                .or_insert_with(|| pool.clone());
            assert_eq!(*first, pool, "{tree:?}: {order:?} leaves another pool");
        }
        grown.check_empty();
        runs += 1;
    }
    runs
}

/// Deletes every tree with that number of nodes.
fn delete_trees(nodes: usize, limit: usize) {
    let trees = trees::all(nodes);
    let (count, mut runs) = (trees.len(), 0);
    for tree in trees {
        for manager in [Manager::AtOnce, Manager::AtTheEnd] {
            runs += delete_in_every_order(&tree, manager, limit);
        }
    }
    eprintln!("{count} trees of {nodes} nodes deleted, in {runs} orders");
}

#[test]
fn any_order_of_deletion_keeps_the_other_vdis_and_leaves_nothing() {
    for nodes in 1..=4 {
        delete_trees(nodes, usize::MAX);
    }
    delete_trees(5, 1);
}

#[test]
#[ignore = "takes two minutes"]
fn trees_of_five_nodes_can_be_deleted_in_every_order_too() {
    delete_trees(5, usize::MAX);
}
