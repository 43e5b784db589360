//! Images outside an SR, of which a disk is to be made.

use crate::size::Size;

/// Why no disk is made of an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateRefusal {
    /// The name is not that of a snapshot of an image.
    #[error(
        "'{name}' is not the name of a snapshot of an image: {reason}. Give POOL/IMAGE@SNAPSHOT, or POOL/NAMESPACE/IMAGE@SNAPSHOT"
    )]
    Name {
        /// What was given.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The image itself was given, without a snapshot: it can change.
    #[error("no disk was made of {image}: an image can change, so a disk is made of a snapshot of it{}{}. Take one: rbd snap create {image}@golden", .snapshots.as_ref().map(|names| format!(". It has the snapshots: {names}")).unwrap_or_default(), .client.as_ref().map(|address| format!(". The client {address} has it open: shut its user down first, or the snapshot has what a crash would leave")).unwrap_or_default())]
    NoSnapshot {
        /// The image, `POOL/IMAGE`.
        image: String,
        /// The names of its snapshots.
        snapshots: Option<String>,
        /// The address of a client that has it open.
        client: Option<String>,
    },
    /// The image is in another RADOS namespace than the SR.
    #[error("no disk was made of {image}: the SR is in {sr}, and a kernel maps a clone only if its parent is in the same namespace. Copy the image there: rbd cp {image} {sr}/NEW-IMAGE, and take a snapshot of the copy")]
    OtherNamespace {
        /// The image, with its pool and namespace.
        image: String,
        /// The SR's pool and namespace.
        sr: String,
    },
    /// The cluster has no such pool, image or snapshot.
    #[error("the cluster has no {what}{}", .present.as_ref().map(|names| format!("; it has: {names}")).unwrap_or_default())]
    Missing {
        /// What is missing.
        what: String,
        /// What exists instead.
        present: Option<String>,
    },
    /// The user of the SR has no rights in the image's pool.
    #[error("the user of the SR may not use pool {pool}: {errno}. Add 'profile rbd-read-only pool={pool}' to its osd caps: 'ceph auth get client.USER' shows them, and 'ceph auth caps client.USER' sets all of them")]
    Denied {
        /// The pool.
        pool: String,
        /// The errno.
        errno: String,
    },
    /// The kernel cannot map a clone of the image.
    #[error("no disk was made of {snapshot}: this host's kernel cannot map a clone of it, because {image} has the features {features}. Disable them: rbd feature disable {image} {features}")]
    Features {
        /// What the disk was to be made of.
        snapshot: String,
        /// The image that has the features: the template, or a parent of it.
        image: String,
        /// The names of the features.
        features: String,
    },
    /// A clone of it cannot be a disk, or it belongs to another owner.
    #[error("no disk was made of {snapshot}: {reason}")]
    Unfit {
        /// What the disk was to be made of.
        snapshot: String,
        /// Why it is refused, and what to do.
        reason: String,
    },
    /// A smaller disk than the template would lose the end of it.
    #[error("the disk cannot have {}: {snapshot} has {}", Size(*size), Size(*least))]
    TooSmall {
        /// What the disk was to be made of.
        snapshot: String,
        /// The requested bytes.
        size: u64,
        /// The bytes of the template.
        least: u64,
    },
}

impl TemplateRefusal {
    pub(super) fn id(&self) -> &'static str {
        match self {
            Self::Name { .. } => "SMB-C165",
            Self::NoSnapshot { .. } => "SMB-C166",
            Self::Missing { .. } => "SMB-C167",
            Self::Denied { .. } => "SMB-C168",
            Self::Features { .. } => "SMB-C169",
            Self::Unfit { .. } => "SMB-C170",
            Self::TooSmall { .. } => "SMB-C171",
            Self::OtherNamespace { .. } => "SMB-C179",
        }
    }
}
