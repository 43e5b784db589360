//! Free space: how full the pool is, and what is refused while it is nearly full.
//!
//! [`crate::usage`] computes how much is reserved for the disks that exist.

use uuid::Uuid;

use crate::error::{Context, DataPoolError, Error, NamespaceError, Result};
use crate::pool::Pool;
use crate::size::Size;
use crate::usage::{ClusterReport, PoolSummary, PoolUsage};

/// Reads the settings of the pool, and how full it is. If it has a data pool, the usage is that of the data pool.
pub fn pool_summary(pool: &dyn Pool) -> Result<PoolSummary> {
    let (summary, data) = summaries(pool)?;
    Ok(summary.beside(data))
}

/// The pool, and its data pool.
fn summaries(pool: &dyn Pool) -> Result<(PoolSummary, Option<PoolSummary>)> {
    let df = pool.df().doing("asking how full the pool is")?;
    let dump = pool.osd_dump();
    let dump = dump.doing("asking for the pool's quota")?;
    let report = ClusterReport::parse(&df, &dump)?;
    let summary = |name| {
        let summary = report.summary(name)?;
        Ok::<_, Error>(summary.with_objects_of(pool.object_size()))
    };
    let data = pool.data_pool().map(summary);
    Ok((summary(pool.pool_name())?, data.transpose()?))
}

/// Refuses a namespace that the pool does not have, and a data pool that cannot keep the data of images.
pub(crate) fn require_place(pool: &dyn Pool) -> Result<()> {
    require_namespace(pool)?;
    if pool.data_pool().is_none() {
        return Ok(());
    }
    require_image_data(summaries(pool)?.1.as_ref())
}

fn require_namespace(pool: &dyn Pool) -> Result<()> {
    if pool.namespace().is_empty() {
        return Ok(());
    }
    match pool.require_namespace() {
        Err(e) if e.is_not_found() => Err(NamespaceError::Missing {
            pool: pool.pool_name().to_owned(),
            namespace: pool.namespace().to_owned(),
        }
        .into()),
        other => other.doing("looking for the namespace of the pool"),
    }
}

fn require_image_data(data: Option<&PoolSummary>) -> Result<()> {
    match data {
        Some(data) if !data.application_rbd => Err(Error::PoolNotForRbd {
            pool: data.name.clone(),
        }),
        Some(data) if !data.overwrites => Err(DataPoolError::NoOverwrites {
            pool: data.name.clone(),
        }
        .into()),
        _ => Ok(()),
    }
}

fn require_room_in(usage: &PoolUsage, consequence: &str) -> Result<()> {
    usage.room_for_growth().map_err(|source| Error::NoRoom {
        consequence: consequence.to_owned(),
        source,
    })
}

/// Refuses a pool that is not enabled for RBD images, or that has too little free space, its namespace, and its data
/// pool.
pub(crate) fn require_usable_pool(pool: &dyn Pool, consequence: &str) -> Result<()> {
    let place = pool;
    let (pool, data) = summaries(place)?;
    require_image_data(data.as_ref())?;
    if !pool.application_rbd {
        return Err(Error::PoolNotForRbd { pool: pool.name });
    }
    if pool.erasure {
        return Err(Error::PoolErasure { pool: pool.name });
    }
    require_namespace(place)?;
    require_room_in(&pool.beside(data).usage, consequence)
}

/// Refuses what makes the SR grow while the pool is nearly full: Ceph enforces a quota some seconds late, and
/// then blocks every writer until space is freed.
pub(crate) fn require(pool: &dyn Pool, consequence: &str) -> Result<PoolUsage> {
    let usage = pool_summary(pool)?.usage;
    require_room_in(&usage, consequence)?;
    Ok(usage)
}

/// Logs that a disk is larger than the pool. It is allowed: images are thin.
pub(crate) fn warn_if_oversized(vdi: &Uuid, size: u64, usage: &PoolUsage) {
    if let Some(total) = usage.total().filter(|total| *total < size) {
        log::warn!(
            "VDI {vdi} has {}, but pool {} can hold only {}: when the pool is full, the VM gets write \
             errors or blocks",
            Size(size),
            usage.pool,
            Size(total)
        );
    }
}
