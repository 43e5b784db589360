//! The errors of SRs of type crucible, with texts for the administrator.

use sr::host::HostError;
use uuid::Uuid;

/// Result of an operation on an SR of type crucible or on one of its volumes.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a claim counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
    /// A command of this host works under it, or its host replies that it uses the volume.
    InUse,
    /// Its host cannot be asked, and was not declared dead.
    Silent,
    /// Its host was asked, and failed to find out.
    Failed(String),
}

/// Why an operation was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call of XAPI failed.
    #[error("{doing}: XAPI returned: {source}")]
    Xapi {
        /// What the driver was doing.
        doing: String,
        /// XAPI's text.
        source: HostError,
    },
    /// A call to this host failed.
    #[error("{doing}: {source}")]
    Host {
        /// What the driver was doing.
        doing: String,
        /// What went wrong.
        source: HostError,
    },
    /// An operation failed, and its rollback failed too.
    #[error("{first}. The rollback of {} also failed ({}: {second}). VDI {vdi} stays claimed by this host until it is attached here again or the SR is plugged again", .first.id(), .second.id())]
    NotUndone {
        /// The volume.
        vdi: Uuid,
        /// The first failure.
        first: Box<Error>,
        /// The second.
        second: Box<Error>,
    },
    /// The list of volumes cannot be read, or the provisioner failed.
    #[error(transparent)]
    Inventory(#[from] crucible_host::Error),
    /// Another host, or this one, has the volume.
    #[error("VDI {vdi} is in use: host {host} has claimed it since {since} (generation {generation}), and a second server would fence the first. {}", advise_on_hold(.hold, .host))]
    VdiInUse {
        /// The volume.
        vdi: Uuid,
        /// The host's UUID.
        host: String,
        /// The claim's generation.
        generation: u64,
        /// UTC time.
        since: String,
        /// Why the claim counts.
        hold: Hold,
    },
    /// The administrator must check something before the claim is released.
    #[error("the claim was not released: {source}. If you are sure that the host runs no server of it, run 'smblock release --sr=UUID --vdi=UUID --force --yes' with the SR's device-config, which skips these checks. A VM that still uses the disk there loses it")]
    NotReleased {
        /// [`Error::VdiInUse`].
        source: Box<Error>,
    },
    /// This host has a server or a device of the volume, or a command works on it.
    #[error("the claim was not released: this host uses VDI {vdi}. Unplug the disk here, or shut its VM down, then try again")]
    UsedHere {
        /// The volume.
        vdi: Uuid,
    },
    /// Another pool's host has the volume, or a host that XAPI does not have.
    #[error("VDI {vdi} is in use: host {host} of pool {pool} has claimed it since {since}, and that host is not in this pool. Make sure that its server is stopped, then release the claim with 'smblock release --sr=UUID --vdi={vdi} --yes' and the SR's device-config")]
    UnknownHost {
        /// The volume.
        vdi: Uuid,
        /// The host's UUID.
        host: String,
        /// The pool's UUID, if the claim has it.
        pool: String,
        /// UTC time.
        since: String,
    },
    /// This host was declared dead, and other hosts may have its disks.
    #[error("this host ({host}) was declared dead, and other hosts may use its disks. Plug the SR on this host again: run 'xe pbd-unplug uuid=PBD', then 'xe pbd-plug uuid=PBD'")]
    DeclaredDead {
        /// The host's UUID.
        host: String,
    },
    /// The key is not the one that the volume was served with before.
    #[error("VDI {vdi} was not attached: its key is not the one that it was written with. No server was started. Put the right key into key_file or key_secret of the volume. If the volume was created again with this key, run 'smblock accept --sr=UUID --vdi={vdi} --yes' with the SR's device-config")]
    WrongKey {
        /// The volume.
        vdi: Uuid,
    },
    /// Two hosts claimed the volume at the same time, and this one was second.
    #[error(
        "VDI {vdi} is in use: another host claimed it at the same time. No server was started on this host. Unplug the disk on that host, or use it there"
    )]
    LostClaimRace {
        /// The volume.
        vdi: Uuid,
    },
    /// Not all three targets can serve.
    #[error("VDI {vdi} was not attached: {targets}. All three targets must be up to start the server. Fix the failed target or its entry in the volumes file, then plug the disk again")]
    TargetsDown {
        /// The volume.
        vdi: Uuid,
        /// Which do not, and why.
        targets: String,
    },
    /// The SR has no such volume.
    #[error("VDI {vdi}: neither the file of device-config:volumes nor device-config:provisioner has a volume of that UUID. Add the volume to one of them, or remove the VDI from XAPI with 'xe vdi-forget uuid={vdi}'")]
    VolumeMissing {
        /// The VDI.
        vdi: Uuid,
    },
    /// XAPI has no record to keep a claim in.
    #[error("XAPI has no VDI {vdi}, so its claims cannot be read. Scan the SR with 'xe sr-scan uuid=UUID'")]
    VdiUnknown {
        /// The VDI.
        vdi: Uuid,
    },
    /// An entry of the log of claims cannot be read.
    #[error("VDI {vdi}: {key} in its sm-config cannot be read ({detail}), so it is unknown which host has the disk. Make sure that no host of the pool runs a server for it, then remove the entry with 'smblock release --sr=UUID --vdi={vdi} --yes' with the SR's device-config")]
    Damaged {
        /// The VDI.
        vdi: Uuid,
        /// The key.
        key: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A record of the volume's regions or key cannot be read.
    #[error("VDI {vdi}: {key} in its sm-config cannot be read ({detail}), so its regions and its key cannot be verified. Check the targets that are declared for it, then run 'smblock accept --sr=UUID --vdi={vdi} --yes' with the SR's device-config")]
    Unreadable {
        /// The VDI.
        vdi: Uuid,
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// The SR's disks are in use on this host.
    #[error("SR {sr} still serves VDI {vdi} on this host: unplug the disk here, or shut its VM down, first")]
    SrInUse {
        /// The SR.
        sr: Uuid,
        /// The VDI.
        vdi: Uuid,
    },
    /// Volumes are left.
    #[error("SR {sr} is not empty: its provisioner still has {volumes} volume(s). Destroy them first, or keep them and run 'xe sr-forget uuid={sr}'")]
    SrNotEmpty {
        /// The SR.
        sr: Uuid,
        /// How many.
        volumes: usize,
    },
    /// No volume can have that size.
    #[error("cannot create a disk of {size} bytes: the size must be from 1 to {max} bytes")]
    BadSize {
        /// Bytes asked for.
        size: i128,
        /// The largest size in bytes.
        max: u64,
    },
    /// There is no program that makes volumes.
    #[error("this SR cannot {what}: Crucible has no API for it. Name a provisioner program with device-config:provisioner, or prepare the three regions by hand and declare the volume in the file of device-config:volumes")]
    NoProvisioner {
        /// "create disks", …
        what: &'static str,
    },
    /// A declared volume is not this driver's to delete.
    #[error("VDI {vdi} is declared in device-config:volumes and its regions were prepared by hand. Remove it from that file and scan the SR, then remove the regions by hand. Nothing was deleted")]
    Declared {
        /// The VDI.
        vdi: Uuid,
    },
}

impl Error {
    /// The id of this error in docs/user/errors.md. An id is never used again.
    pub fn id(&self) -> &'static str {
        match self {
            Self::Xapi { source, .. } => match source.id {
                Some(id) => id,
                None => "SMB-X001",
            },
            Self::Host { source, .. } => match source.id {
                Some(id) => id,
                None => "SMB-X002",
            },
            Self::NotUndone { .. } => "SMB-X003",
            Self::Inventory(source) => source.id(),
            Self::VdiInUse { .. } => "SMB-X004",
            Self::NotReleased { .. } => "SMB-X005",
            Self::UsedHere { .. } => "SMB-X006",
            Self::UnknownHost { .. } => "SMB-X007",
            Self::DeclaredDead { .. } => "SMB-X008",
            Self::WrongKey { .. } => "SMB-X009",
            Self::LostClaimRace { .. } => "SMB-X010",
            Self::TargetsDown { .. } => "SMB-X011",
            Self::VolumeMissing { .. } => "SMB-X012",
            Self::VdiUnknown { .. } => "SMB-X013",
            Self::Damaged { .. } => "SMB-X014",
            Self::Unreadable { .. } => "SMB-X015",
            Self::SrInUse { .. } => "SMB-X016",
            Self::SrNotEmpty { .. } => "SMB-X017",
            Self::NoProvisioner { .. } => "SMB-X018",
            Self::Declared { .. } => "SMB-X019",
            Self::BadSize { .. } => "SMB-X020",
        }
    }

    /// Returns the errno of the failed call, positive, if there is one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::Xapi { source, .. } | Error::Host { source, .. } => source.errno,
            Error::NotUndone { first, .. } => first.errno(),
            _ => None,
        }
    }
}

/// What an administrator can do about a claim that counts.
fn advise_on_hold(hold: &Hold, host: &str) -> String {
    let dead = format!(
        "if it is down for good, or its power is off, run 'xe host-declare-dead uuid={host}', then try again"
    );
    match hold {
        Hold::InUse => "The host runs and uses the disk: unplug it there".to_owned(),
        Hold::Silent => format!("The host cannot be asked whether it uses the disk: {dead}"),
        Hold::Failed(why) => {
            format!("The host was asked whether it uses the disk, and failed to find out ({why}): see /var/log/SMlog on it; {dead}")
        }
    }
}

/// Adds what a failed call was for.
pub(super) trait Context<T> {
    /// A call to XAPI.
    fn of_xapi(self, what: impl FnOnce() -> String) -> Result<T>;
    /// A call to this host.
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Context<T> for sr::host::Result<T> {
    fn of_xapi(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Xapi {
            doing: what(),
            source,
        })
    }

    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Host {
            doing: what(),
            source,
        })
    }
}
