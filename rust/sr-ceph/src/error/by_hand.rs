//! What was done to an image by hand, outside smblock, and how to undo it.

use uuid::Uuid;

/// Why an image is refused that was changed outside smblock. `image` is `POOL/IMAGE`.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ByHand {
    /// A migration was prepared.
    #[error("image {image} is being migrated ('rbd migration prepare') and cannot be used until the migration ends. To finish it, run 'rbd migration execute {image}' and 'rbd migration commit {image}'; to cancel it, run 'rbd migration abort {image}'. Then run 'xe sr-scan uuid={sr}'")]
    Migrating {
        /// The image.
        image: String,
        /// The SR.
        sr: Uuid,
    },
    /// The image is a mirror's copy.
    #[error("image {image} is demoted: it is a mirrored copy, which is read-only. Once the primary copy is demoted or lost, run 'rbd mirror image promote {image}', then try again")]
    Demoted {
        /// The image.
        image: String,
    },
    /// The snapshot is protected.
    #[error("snapshot {image}@{snapshot} is protected ('rbd snap protect'), and cannot be removed. 'rbd children {image}@{snapshot}' lists the clones that need it; without clones, run 'rbd snap unprotect {image}@{snapshot}', then try again")]
    Protected {
        /// The image.
        image: String,
        /// The snapshot.
        snapshot: String,
    },
    /// The image does not exist, and another one has its name.
    #[error("VDI {vdi}: its image (id {lost}) no longer exists. The image named {image} (id {found}) was created outside smblock and was not changed. To use it as the disk, run {adopt} and 'xe sr-scan uuid={sr}'. Otherwise rename it ('rbd rename') and destroy the VDI", adopt = advise_to_adopt(.image, .sr, .disk))]
    Replaced {
        /// The VDI.
        vdi: Uuid,
        /// The image.
        image: String,
        /// The id that the VDI's image had.
        lost: String,
        /// The id of the image of that name.
        found: String,
        /// The SR.
        sr: Uuid,
        /// The VDI that the image was made for.
        disk: Uuid,
    },
    /// The image was made anew, and is ours.
    #[error("VDI {vdi}: its image {image} has another id now ({found}): it was migrated or imported outside smblock. 'xe sr-scan uuid={sr}' takes it over, unless the disk is in use or another operation on it is under way")]
    Moved {
        /// The VDI.
        vdi: Uuid,
        /// The image.
        image: String,
        /// The id that it has now.
        found: String,
        /// The SR.
        sr: Uuid,
    },
    /// The image was made anew, and may not be whole yet.
    #[error("VDI {vdi}: its image {image} has another id now ({found}), and client {address} has it open: it may still be imported or copied. When that has ended, run 'xe sr-scan uuid={sr}', which takes it over")]
    Open {
        /// The VDI.
        vdi: Uuid,
        /// The image.
        image: String,
        /// The id that it has now.
        found: String,
        /// Who has it open.
        address: String,
        /// The SR.
        sr: Uuid,
    },
    /// The image cannot be taken out of its group.
    #[error("image id {id} is a member of group {group} ('rbd group image add'), and is not freed before it is taken out: 'rbd group image rm --group-pool {group_pool} --group {group_name} --image-pool {pool} --image-id {id}'. smblock could not: {source}", group_pool = pool_of(.group), group_name = name_of(.group))]
    InGroup {
        /// The image's id.
        id: String,
        /// The image's pool.
        pool: String,
        /// `POOL/GROUP`.
        group: String,
        /// What the cluster said.
        source: crate::cluster::ClusterError,
    },
}

impl ByHand {
    /// The id of this error in docs/user/errors.md. An id is never used again.
    pub(super) fn id(&self) -> &'static str {
        match self {
            Self::Migrating { .. } => "SMB-C110",
            Self::Demoted { .. } => "SMB-C111",
            Self::Protected { .. } => "SMB-C112",
            Self::Replaced { .. } => "SMB-C113",
            Self::Moved { .. } => "SMB-C114",
            Self::Open { .. } => "SMB-C115",
            Self::InGroup { .. } => "SMB-C116",
        }
    }
}

fn pool_of(group: &str) -> &str {
    group.split_once('/').map_or("", |(pool, _)| pool)
}

fn name_of(group: &str) -> &str {
    group.split_once('/').map_or(group, |(_, name)| name)
}

/// The command that makes an image the one of a VDI.
fn advise_to_adopt(image: &str, sr: &Uuid, disk: &Uuid) -> String {
    format!("rbd image-meta set {image} smblock '{{\"sr\":\"{sr}\",\"vdi\":\"{disk}\"}}'")
}

impl From<ByHand> for super::Error {
    fn from(reason: ByHand) -> Self {
        super::Error::ByHand(Box::new(reason))
    }
}
