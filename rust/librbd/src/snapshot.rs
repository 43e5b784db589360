//! A snapshot of an image.

/// A snapshot's number. It is never used again in the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapId(pub u64);

/// A reference to a snapshot of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotRef<'a> {
    /// By its number.
    Id(SnapId),
    /// By its name.
    Name(&'a str),
}

/// A snapshot of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its number.
    pub id: SnapId,
    /// Its name; a generated one if it is in the trash.
    pub name: String,
    /// The image's size in bytes when it was taken.
    pub size: u64,
    /// Its kind.
    pub kind: SnapshotKind,
}

/// The kind of a snapshot: its RBD snapshot namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotKind {
    /// An ordinary snapshot.
    User,
    /// A part of a snapshot of a group of images.
    Group,
    /// Removed, but kept as long as clones depend on it.
    Trash {
        /// Its former name.
        original_name: String,
    },
    /// Created by rbd-mirror.
    Mirror,
    /// Any other kind, by its number in librbd.
    Other(i32),
}
