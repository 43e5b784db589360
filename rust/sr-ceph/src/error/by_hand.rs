//! What was done to an image by hand, outside smblock, and how to undo it.

use uuid::Uuid;

use crate::pool::spec::as_option;
use crate::size::Size;

/// The image is being migrated. An image that waits in the trash for the end of a migration has this reason too.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("image {image} is being migrated ('rbd migration prepare') and cannot be used until the migration ends. To finish it, run 'rbd migration execute {image}' and 'rbd migration commit {image}'; to cancel it, run 'rbd migration abort {image}'. Cancel it if it goes to another pool: the disk can be used in this pool only. Then run 'xe sr-scan uuid={sr}'")]
pub struct Migrating {
    /// The image, `POOL/IMAGE`.
    pub image: String,
    /// The SR.
    pub sr: Uuid,
}

impl Migrating {
    /// The id of this error in docs/user/errors.md. An id is never used again.
    const ID: &'static str = "SMB-C110";
}

/// Why an image is refused that was changed outside smblock. `image` is `POOL/IMAGE`.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ByHand {
    /// A migration was prepared.
    #[error(transparent)]
    Migrating(#[from] Migrating),
    /// The image is a mirrored copy.
    #[error("image {image} is demoted: it is a mirrored copy, which is read-only. Once the primary copy is demoted or lost, run 'rbd mirror image promote {image}', then try again")]
    Demoted {
        /// The image.
        image: String,
    },
    /// The snapshot is protected.
    #[error("snapshot {spec} is protected ('rbd snap protect'), and cannot be removed. 'rbd children {spec}' lists the clones that need it; without clones, run 'rbd snap unprotect {spec}', then try again")]
    Protected {
        /// The snapshot.
        spec: String,
    },
    /// The snapshot was taken over from CephRBDSR, and has clones of format 1.
    #[error("snapshot {spec} cannot be removed: clones of format 1 depend on it, and a client may have its image open ({source}). 'rbd children {spec}' lists the clones. Make each of them independent ('rbd flatten POOL/CLONE'), then try again")]
    OlderClones {
        /// The snapshot.
        spec: String,
        /// What the cluster returned.
        source: crate::pool::PoolError,
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
    /// The image was migrated or imported again, and belongs to this SR.
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
    /// The image was imported again, and may not be complete yet.
    #[error("VDI {vdi}: its image {image} has another id now ({found}), and client {address} has it open: it may still be imported or copied. When that has ended, run 'xe sr-scan uuid={sr}', which takes it over")]
    Open {
        /// The VDI.
        vdi: Uuid,
        /// The image.
        image: String,
        /// The id that it has now.
        found: String,
        /// The client that has it open.
        address: String,
        /// The SR.
        sr: Uuid,
    },
    /// The image is in the trash.
    #[error("image {image} of VDI {vdi} is in the trash: it cannot be attached. 'rbd trash restore --pool {pool} {id}' brings it back", pool = as_option(.pool))]
    Trashed {
        /// The VDI.
        vdi: Uuid,
        /// The image's name.
        image: String,
        /// The image's id.
        id: String,
        /// The pool.
        pool: String,
    },
    /// The pool's directory does not list the image.
    #[error("VDI {vdi}: image {image} (id {id}) exists, but the directory of pool {pool} (object rbd_directory) does not list it, so it cannot be opened. Write its two entries back: {commands}", commands = list_again(.pool, .image, .id))]
    Unlisted {
        /// The VDI.
        vdi: Uuid,
        /// The image's name.
        image: String,
        /// The image's id.
        id: String,
        /// The pool.
        pool: String,
    },
    /// Something that the image needs does not exist.
    #[error("VDI {vdi}: image {image} (id {id}) exists, but cannot be opened (ENOENT (2): No such file or directory): its name, its parent or its data pool does not exist. The keys parent and data_pool_id in 'rados -p {pool} listomapvals rbd_header.{id}' name the latter two. Bring back what is missing, or destroy the VDI", pool = as_option(.pool))]
    Incomplete {
        /// The VDI.
        vdi: Uuid,
        /// The image's name.
        image: String,
        /// The image's id.
        id: String,
        /// The pool.
        pool: String,
    },
    /// The image of a disk in use was grown, and its tapdisk has the old size.
    #[error("VDI {vdi}: its image {image} was grown outside smblock from {} to {} while host {host} uses it. tapdisk cannot change the size of an open disk (EMEDIUMTYPE), so a snapshot would stop the VM. Nothing was changed. Shut the VM down and start it again: then the disk has the new size. Or, if the VM sees a disk of {}, run 'rbd resize --allow-shrink --size {expected}B {image}'", Size(*.expected), Size(*.size), Size(*.expected))]
    GrownInUse {
        /// The VDI.
        vdi: Uuid,
        /// The image.
        image: String,
        /// The host's UUID.
        host: String,
        /// The disk's size in bytes.
        expected: u64,
        /// The image's size in bytes.
        size: u64,
    },
    /// The image cannot be taken out of its group.
    #[error("image id {id} is a member of group {group} ('rbd group image add'), and is not freed before it is taken out: 'rbd group image rm --group-pool {group_pool} --group {group_name} --image-pool {pool} --image-id {id}'. smblock could not: {source}", group_pool = pool_of(.group), pool = option_of(.pool, "image"), group_name = librbd::quoted(name_of(.group)))]
    InGroup {
        /// The image's id.
        id: String,
        /// The image's pool.
        pool: String,
        /// `POOL/GROUP`, or `POOL/NAMESPACE/GROUP`.
        group: String,
        /// What the cluster returned.
        source: crate::pool::PoolError,
    },
}

impl ByHand {
    /// The id of this error in docs/user/errors.md. An id is never used again.
    pub(super) fn id(&self) -> &'static str {
        match self {
            Self::Migrating(_) => Migrating::ID,
            Self::Demoted { .. } => "SMB-C111",
            Self::Protected { .. } => "SMB-C112",
            Self::Replaced { .. } => "SMB-C113",
            Self::Moved { .. } => "SMB-C114",
            Self::Open { .. } => "SMB-C115",
            Self::InGroup { .. } => "SMB-C116",
            Self::Trashed { .. } => "SMB-C117",
            Self::Unlisted { .. } => "SMB-C118",
            Self::Incomplete { .. } => "SMB-C119",
            Self::OlderClones { .. } => "SMB-C126",
            Self::GrownInUse { .. } => "SMB-C180",
        }
    }
}

fn pool_of(group: &str) -> String {
    let pool = group.rsplit_once('/').map_or("", |(pool, _)| pool);
    option_of(pool, "group")
}

fn name_of(group: &str) -> &str {
    group.rsplit_once('/').map_or(group, |(_, name)| name)
}

/// As [`as_option`], for a command that has a namespace for each `kind` of name.
fn option_of(pool: &str, kind: &str) -> String {
    as_option(pool).replace("--namespace", &format!("--{kind}-namespace"))
}

/// The commands that write an image's two entries to RBD's directory.
pub(crate) fn list_again(pool: &str, image: &str, id: &str) -> String {
    let place = as_option(pool);
    let put = |value: &str, key: &str| {
        let value = directory_value(value);
        format!("printf '{value}' | rados -p {place} setomapval rbd_directory {key}")
    };
    let (of_id, of_name) = (
        put(image, &format!("id_{id}")),
        put(id, &format!("name_{image}")),
    );
    format!("{of_id}; {of_name}")
}

/// A value of RBD's directory for `printf`: the length of the text in four bytes, then the text.
fn directory_value(text: &str) -> String {
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes();
    let octal = length.iter().map(|byte| format!("\\{byte:03o}"));
    octal.chain([text.to_owned()]).collect()
}

/// The command that assigns an image to a VDI.
fn advise_to_adopt(image: &str, sr: &Uuid, disk: &Uuid) -> String {
    format!("rbd image-meta set {image} smblock '{{\"sr\":\"{sr}\",\"vdi\":\"{disk}\"}}'")
}

impl From<ByHand> for super::Error {
    fn from(reason: ByHand) -> Self {
        super::Error::ByHand(Box::new(reason))
    }
}
