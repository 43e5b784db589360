//! The disks of a history, and the content of each tracked point.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use sr_ceph::bitmap::{Bitmap, BLOCK};
use sr_ceph::pool::Pool;
use sr_ceph::vdi::create::NewDisk;
use sr_ceph::Result;
use uuid::Uuid;

use super::random::Random;
use crate::lab::{named, Lab, MIB};

/// The size of a new disk in bytes, and how much it grows by.
const SIZE: u64 = 10 * MIB;
const GROWTH: u64 = 2 * MIB;
const MAX_SIZE: u64 = 24 * MIB;
const SECTOR: u64 = 512;

/// A tracked snapshot, or the head of a disk.
#[derive(Clone)]
pub struct Point {
    pub vdi: Uuid,
    /// The disk that it is of.
    pub disk: Uuid,
    destroyed: bool,
    size: u64,
    /// A hash of each block.
    blocks: Vec<u64>,
}

impl std::fmt::Debug for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of disk {}", self.vdi, self.disk)
    }
}

impl Point {
    pub fn size(&self) -> u64 {
        self.size
    }

    fn block(&self, number: usize) -> u64 {
        self.blocks.get(number).copied().unwrap_or(hash(&[])) // behind its end: zeros
    }
}

/// Two points.
pub struct Pair<'p> {
    pub from: &'p Point,
    pub to: &'p Point,
}

impl Pair<'_> {
    /// Whether each block of the newer point differs.
    pub fn differences(&self) -> impl Iterator<Item = bool> + '_ {
        let blocks = 0..self.to.blocks.len();
        blocks.map(|number| self.from.block(number) != self.to.block(number))
    }
}

pub struct Disks {
    lab: Lab,
    disks: Vec<Uuid>,
    snapshots: Vec<Point>,
    heads: Vec<Point>,
}

impl Disks {
    pub fn new(lab: Lab) -> Self {
        Disks {
            lab,
            disks: Vec::new(),
            snapshots: Vec::new(),
            heads: Vec::new(),
        }
    }

    pub fn create(&mut self) {
        let uuid = Uuid::new_v4();
        let disk = NewDisk {
            uuid,
            size: i128::from(SIZE),
            xapi: named("disk"),
        };
        self.lab.prepare(|sr| sr.create_disk(&disk)).unwrap();
        self.track(&uuid);
        self.disks.push(uuid);
    }

    fn track(&self, disk: &Uuid) {
        self.lab.prepare(|sr| sr.track_changes(disk, true)).unwrap();
    }

    /// How many points there are: the heads are points too.
    pub fn points(&self) -> usize {
        self.snapshots.len() + self.disks.len()
    }

    /// Takes a step. Returns its name.
    pub fn step(&mut self, random: &mut Random) -> &'static str {
        let disk = *random.pick(&self.disks).unwrap();
        match random.below(100) {
            0..=29 => self.write(random, &disk),
            30..=39 => self.discard(random, &disk),
            40..=64 => self.snapshot(&disk),
            65..=72 => self.revert(random, &disk),
            73..=77 => self.clone(random),
            78..=82 => self.grow(&disk),
            83..=87 => self.destroy_data(random),
            88..=91 => self.delete_snapshot(random),
            92..=93 => self.delete_disk(&disk),
            94..=96 => self.flatten(&disk),
            97 => self.switch_off_and_on(&disk),
            _ => self.scan(),
        }
    }

    fn write(&mut self, random: &mut Random, disk: &Uuid) -> &'static str {
        let image = self.lab.open_image(disk, false);
        let sectors = image.size().unwrap() / SECTOR;
        for _ in 0..=random.below(4) {
            let scale = random.below(12); // from 512 bytes to 1 MiB
            let length = 1 + random.below(1 << scale);
            let offset = random.below(sectors);
            let length = length.min(sectors - offset);
            let words = usize::try_from(length * SECTOR / 8).unwrap();
            let data = random.next().to_le_bytes().repeat(words);
            image.write_at(offset * SECTOR, &data).unwrap();
        }
        image.close().unwrap();
        "write"
    }

    fn discard(&mut self, random: &mut Random, disk: &Uuid) -> &'static str {
        let image = self.lab.open_image(disk, false);
        let size = image.size().unwrap();
        // Whole objects, parts of them, and sectors.
        let unit = [4 * MIB, MIB, SECTOR][random.below(3) as usize];
        let offset = random.below(size / unit) * unit;
        let length = (1 + random.below(3)) * unit;
        image.discard(offset, length.min(size - offset)).unwrap();
        image.close().unwrap();
        "discard"
    }

    fn snapshot(&mut self, disk: &Uuid) -> &'static str {
        let vdi = self.lab.snapshot(disk);
        assert!(self.lab.record(&vdi).unwrap().cbt);
        let point = self.read(&vdi, disk);
        self.snapshots.push(point);
        "snapshot"
    }

    fn revert(&mut self, random: &mut Random, disk: &Uuid) -> &'static str {
        let of_disk = |p: &&Point| p.disk == *disk && !p.destroyed;
        let snapshots: Vec<_> = self.snapshots.iter().filter(of_disk).collect();
        let Some(to) = random.pick(&snapshots).map(|point| point.vdi) else {
            return "no revert";
        };
        self.lab.prepare(|sr| sr.revert_vdi(disk, &to)).unwrap();
        "revert"
    }

    fn clone(&mut self, random: &mut Random) -> &'static str {
        let snapshots: Vec<_> = self.snapshots.iter().filter(|p| !p.destroyed).collect();
        let Some(of) = random.pick(&snapshots).map(|point| point.vdi) else {
            return "no clone";
        };
        let disk = self.lab.clone_of(&of);
        assert!(!self.lab.record(&disk).unwrap().cbt, "a clone is tracked");
        self.track(&disk);
        self.disks.push(disk);
        "clone"
    }

    fn grow(&mut self, disk: &Uuid) -> &'static str {
        let size = self.lab.record(disk).unwrap().size + GROWTH;
        if size > MAX_SIZE {
            return "no resize";
        }
        let size = i128::from(size);
        self.lab.prepare(|sr| sr.resize_vdi(disk, size)).unwrap();
        "resize"
    }

    fn destroy_data(&mut self, random: &mut Random) -> &'static str {
        let count = self.snapshots.len() as u64;
        if count == 0 {
            return "no data to destroy";
        }
        let point = &mut self.snapshots[random.below(count) as usize];
        point.destroyed = true;
        let vdi = point.vdi;
        self.lab.prepare(|sr| sr.destroy_data(&vdi)).unwrap();
        "data_destroy"
    }

    fn delete_snapshot(&mut self, random: &mut Random) -> &'static str {
        let count = self.snapshots.len() as u64;
        if count == 0 {
            return "no snapshot";
        }
        let point = self.snapshots.swap_remove(random.below(count) as usize);
        self.lab.prepare(|sr| sr.delete_vdi(&point.vdi)).unwrap();
        "delete a snapshot"
    }

    fn delete_disk(&mut self, disk: &Uuid) -> &'static str {
        if self.disks.len() == 1 {
            return "the last disk stays";
        }
        self.lab.prepare(|sr| sr.delete_vdi(disk)).unwrap();
        self.disks.retain(|other| other != disk);
        "delete a disk"
    }

    /// As the reclaim worker does with a long clone chain: only the birth may be older than a flatten.
    fn flatten(&mut self, disk: &Uuid) -> &'static str {
        let image = self.lab.record(disk).unwrap().volume.image().id.clone();
        let pool = &self.lab.observer;
        let state = pool.image(&image).unwrap();
        if !state.has_parent || state.snapshots.iter().any(|s| s.name != "birth") {
            return "nothing to flatten";
        }
        pool.flatten_image(&image, &mut |_, _| {}).unwrap();
        "flatten"
    }

    fn switch_off_and_on(&mut self, disk: &Uuid) -> &'static str {
        for tracked in [false, true] {
            self.lab
                .prepare(|sr| sr.track_changes(disk, tracked))
                .unwrap();
        }
        "off and on"
    }

    /// A scan, and a reclaim worker: it frees the data of hidden heads.
    fn scan(&mut self) -> &'static str {
        self.lab.prepare(|sr| sr.scan(&[])).unwrap();
        self.lab.prepare(|sr| sr.reclaim(|_, _| {})).unwrap();
        "scan and reclaim"
    }

    /// Reads the heads, which are points too.
    pub fn read_heads(&mut self) {
        let heads = self.disks.iter().map(|disk| self.read(disk, disk));
        self.heads = heads.collect();
    }

    /// Every ordered pair of points.
    pub fn pairs(&self) -> Vec<Pair<'_>> {
        let points: Vec<_> = self.snapshots.iter().chain(&self.heads).collect();
        let mut pairs = Vec::new();
        for (i, &from) in points.iter().enumerate() {
            for (j, &to) in points.iter().enumerate() {
                if i != j {
                    pairs.push(Pair { from, to });
                }
            }
        }
        pairs
    }

    fn read(&self, vdi: &Uuid, disk: &Uuid) -> Point {
        let image = self.lab.open_image(vdi, true);
        let size = image.size().unwrap();
        let mut data = vec![0; usize::try_from(size).unwrap()];
        assert_eq!(image.read_at(0, &mut data).unwrap() as u64, size);
        image.close().unwrap();
        let blocks = data.chunks(BLOCK as usize).map(hash).collect();
        Point {
            vdi: *vdi,
            disk: *disk,
            destroyed: false,
            size,
            blocks,
        }
    }

    pub fn changed_blocks(&self, from: &Uuid, to: &Uuid) -> Result<Bitmap> {
        self.lab.prepare(|sr| sr.changed_blocks(from, to))
    }

    /// Deletes everything, and checks that nothing is left.
    pub fn end(self) {
        let snapshots = self.snapshots.iter().map(|point| &point.vdi);
        for vdi in snapshots.chain(&self.disks) {
            self.lab.prepare(|sr| sr.delete_vdi(vdi)).unwrap();
        }
        self.lab.prepare(|sr| sr.reclaim(|_, _| {})).unwrap();
        let keys = self.lab.catalogue().into_keys();
        let left: Vec<_> = keys.filter(|key| key.starts_with("lineage.")).collect();
        assert_eq!(left, [""; 0]);
        self.lab.end();
    }
}

/// The same as if zeros were at the end: the last block of a disk may be shorter.
fn hash(data: &[u8]) -> u64 {
    // Most blocks are zeros, and a comparison of slices is fast without optimisation too.
    let mut block = [0; BLOCK as usize];
    if *data == block[..data.len()] {
        return 0;
    }
    block[..data.len()].copy_from_slice(data);
    let mut hasher = DefaultHasher::new();
    block.hash(&mut hasher);
    hasher.finish()
}
