//! Errors about the pool of an SR.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::usage::meant;

/// Why the pool of an SR is not found by its name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoolGone {
    /// The pool that the SR is in has another name.
    #[error("SR {sr}: the pool with id {id} of this SR is now called {now}, not {pool}. Give it its name back: ceph osd pool rename {now} {pool}. Or unplug the SR on every host, then destroy its PBDs and create them again with device-config:pool={now}. The caps of the user must name that pool too. Nothing was changed")]
    Renamed {
        /// The SR.
        sr: Uuid,
        /// The pool's id.
        id: i64,
        /// Its name in the device-config.
        pool: String,
        /// Its name now.
        now: String,
    },
    /// The pool that the SR was in does not exist any more.
    #[error("SR {sr} was in pool {was} with id {id}, which was deleted with all disks in it; the cluster now has: {present}. A new pool of the same name is not that pool. Nothing was changed")]
    Deleted {
        /// The SR.
        sr: Uuid,
        /// The pool's id.
        id: i64,
        /// The name that it had.
        was: String,
        /// The names of the pools that exist.
        present: String,
    },
}

impl PoolGone {
    /// The id of this error in docs/user/errors.md. An id is never used again.
    pub(super) fn id(&self) -> &'static str {
        match self {
            Self::Renamed { .. } => "SMB-C004",
            Self::Deleted { .. } => "SMB-C005",
        }
    }
}

/// Why a pool cannot keep the data of images.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DataPoolError {
    /// The cluster does not have it.
    #[error("the cluster has no pool '{pool}', which device-config:data_pool names; it has: {present}. Create the pool, or name another one")]
    Missing {
        /// The pool's name.
        pool: String,
        /// The names of the pools that exist.
        present: String,
    },
    /// It is erasure coded, and accepts no writes to a part of an object.
    #[error("pool '{pool}', which device-config:data_pool names, is erasure coded and does not allow overwrites. On a node of the cluster, run: ceph osd pool set {pool} allow_ec_overwrites true")]
    NoOverwrites {
        /// The pool's name.
        pool: String,
    },
}

impl DataPoolError {
    pub(super) fn id(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "SMB-C144",
            Self::NoOverwrites { .. } => "SMB-C145",
        }
    }
}

/// Why a namespace of a pool cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NamespaceError {
    /// The pool does not have it.
    #[error("pool {pool} has no namespace {namespace}, which device-config:namespace names. On a node of the cluster, run: rbd namespace create {pool}/{namespace}. Nothing was changed")]
    Missing {
        /// The pool's name.
        pool: String,
        /// The namespace.
        namespace: String,
    },
    /// The disks of CephRBDSR are in no namespace.
    #[error("SR {sr}: CephRBDSR keeps its disks in no namespace, and device-config:namespace={namespace} names one. Without that key, 'smblock adopt' takes over the disks of the pool. Nothing was changed")]
    Adoption {
        /// The SR.
        sr: Uuid,
        /// The namespace.
        namespace: String,
    },
}

impl NamespaceError {
    pub(super) fn id(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "SMB-C172",
            Self::Adoption { .. } => "SMB-C173",
        }
    }
}

/// Why this host's kernel cannot map the images of an SR.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KernelTooOld {
    /// The images are in a namespace.
    #[error("device-config:namespace={namespace} needs Linux 4.19 or newer, and this host runs Linux {release}: update the host. Nothing was changed")]
    Namespace {
        /// The namespace.
        namespace: String,
        /// The kernel.
        release: String,
    },
    /// New images have stripes.
    #[error("device-config:stripe_count needs Linux 4.17 or newer, and this host runs Linux {release}: update the host, or leave stripe_unit and stripe_count out. Nothing was changed")]
    Stripes {
        /// The kernel.
        release: String,
    },
}

impl KernelTooOld {
    pub(super) fn id(&self) -> &'static str {
        match self {
            Self::Namespace { .. } => "SMB-C174",
            Self::Stripes { .. } => "SMB-C175",
        }
    }
}

pub(super) fn names(pools: &BTreeMap<i64, String>) -> String {
    let names: Vec<_> = pools.values().map(String::as_str).collect();
    names.join(", ")
}

pub(super) fn advise_on_pool(pool: &str, present: &BTreeMap<i64, String>) -> String {
    let names: Vec<_> = present.values().cloned().collect();
    match meant(pool, &names) {
        Some(meant) => format!("Did you mean device-config:pool={meant}?"),
        None => "Check device-config:pool".to_owned(),
    }
}
