//! Every tree of snapshots, clones and reverts of one disk.

use std::collections::BTreeMap;

/// How a tree grows. VDIs are numbered as they are made; the first is a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Snapshot(usize),
    Clone(usize),
    /// Reverts a disk to a snapshot.
    Revert(usize, usize),
}

#[derive(Debug, Clone, Copy)]
enum Vdi {
    Disk { image: usize },
    Snapshot { snapshot: usize },
}

#[derive(Debug, Clone, Copy)]
struct Image {
    /// The snapshot that this image is a clone of.
    parent: Option<usize>,
    /// The clone base of its head, until the head is written to.
    base: Option<usize>,
    by_revert: bool,
}

/// A tree, and the steps that made it.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    pub steps: Vec<Step>,
    vdis: Vec<Vdi>,
    images: Vec<Image>,
    /// The image of each snapshot.
    snapshots: Vec<usize>,
}

/// Returns every tree with that number of nodes, each once. The order of its branches does not matter.
pub fn all(nodes: usize) -> Vec<Tree> {
    let mut trees = vec![Tree::disk()];
    for _ in 1..nodes {
        let grown = trees.iter().flat_map(|tree| {
            let steps = tree.next_steps().into_iter();
            steps.map(|step| tree.grown(step))
        });
        let by_shape: BTreeMap<String, Tree> = grown.map(|tree| (tree.shape(), tree)).collect();
        trees = by_shape.into_values().collect();
    }
    trees
}

impl Tree {
    fn disk() -> Self {
        let mut tree = Tree::default();
        let image = tree.image(None, false);
        tree.vdis.push(Vdi::Disk { image });
        tree
    }

    /// Returns the number of VDIs.
    pub fn vdis(&self) -> usize {
        self.vdis.len()
    }

    fn image(&mut self, parent: Option<usize>, by_revert: bool) -> usize {
        self.images.push(Image {
            parent,
            base: None,
            by_revert,
        });
        self.images.len() - 1
    }

    fn snapshot(&mut self, image: usize) -> usize {
        self.snapshots.push(image);
        self.snapshots.len() - 1
    }

    fn next_steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (number, vdi) in self.vdis.iter().enumerate() {
            steps.extend([Step::Snapshot(number), Step::Clone(number)]);
            let to = self.vdis.iter().enumerate();
            let to =
                to.filter(|(_, to)| matches!((vdi, to), (Vdi::Disk { .. }, Vdi::Snapshot { .. })));
            steps.extend(to.map(|(to, _)| Step::Revert(number, to)));
        }
        steps
    }

    fn grown(&self, step: Step) -> Tree {
        let mut tree = self.clone();
        tree.steps.push(step);
        match step {
            Step::Snapshot(of) => {
                let snapshot = match self.vdis[of] {
                    Vdi::Snapshot { snapshot } => snapshot,
                    Vdi::Disk { image } => {
                        tree.images[image].base = None;
                        tree.snapshot(image)
                    }
                };
                tree.vdis.push(Vdi::Snapshot { snapshot });
            }
            Step::Clone(of) => {
                let parent = match self.vdis[of] {
                    Vdi::Snapshot { snapshot } => snapshot,
                    Vdi::Disk { image } => match self.images[image].base {
                        Some(base) => base,
                        None => tree.snapshot(image),
                    },
                };
                if let Vdi::Disk { image } = self.vdis[of] {
                    tree.images[image].base = Some(parent);
                }
                let image = tree.image(Some(parent), false);
                tree.vdis.push(Vdi::Disk { image });
            }
            Step::Revert(disk, to) => {
                if let Vdi::Snapshot { snapshot } = self.vdis[to] {
                    let image = tree.image(Some(snapshot), true);
                    tree.vdis[disk] = Vdi::Disk { image };
                }
            }
        }
        tree
    }

    /// Returns a text that is the same for trees that differ only in the order of their branches.
    fn shape(&self) -> String {
        self.image_shape(0)
    }

    fn image_shape(&self, image: usize) -> String {
        let heads = |vdi: &&Vdi| matches!(vdi, Vdi::Disk { image: i } if *i == image);
        let Image {
            base, by_revert, ..
        } = self.images[image];
        let snapshots = self.snapshots.iter().enumerate();
        let mut shapes: Vec<_> = snapshots
            .filter(|(_, of)| **of == image)
            .map(|(snapshot, _)| self.snapshot_shape(snapshot, base == Some(snapshot)))
            .collect();
        shapes.sort();
        let head = self.vdis.iter().find(heads).is_some();
        format!("image({head} {by_revert} {})", shapes.join(" "))
    }

    fn snapshot_shape(&self, snapshot: usize, base: bool) -> String {
        let vdis = self.vdis.iter();
        let twins =
            vdis.filter(|vdi| matches!(vdi, Vdi::Snapshot { snapshot: s } if *s == snapshot));
        let images = self.images.iter().enumerate();
        let mut clones: Vec<_> = images
            .filter(|(_, image)| image.parent == Some(snapshot))
            .map(|(image, _)| self.image_shape(image))
            .collect();
        clones.sort();
        format!("snapshot({base} {} {})", twins.count(), clones.join(" "))
    }
}
