//! Errors of librbd as errors of the cluster, and their meaning for an image.

use librbd::Error;

use crate::pool::PoolError;

impl From<Error> for PoolError {
    fn from(error: Error) -> Self {
        match error {
            Error::Call {
                call,
                object,
                errno,
                detail,
            } => PoolError {
                call: call.to_owned(),
                object,
                errno,
                detail,
            },
            Error::SnapshotLimit { ref image, .. } => PoolError {
                call: PoolError::SNAPSHOT.to_owned(),
                object: image.clone(),
                errno: 0,
                detail: Some(error.to_string()),
            },
            other => PoolError {
                call: "librbd".to_owned(),
                object: "this host".to_owned(),
                errno: other.errno().unwrap_or(0),
                detail: Some(other.to_string()),
            },
        }
    }
}

/// `RBD_FEATURE_STRIPINGV2`
const STRIPES: u64 = 1 << 1;
/// `RBD_FEATURE_DATA_POOL`
const DATA_POOL: u64 = 1 << 7;

/// Explains an error of opening an image that means that librbd lacks a plugin.
pub(super) fn explain_open(pool: &librbd::Pool, mut error: PoolError) -> PoolError {
    if error.errno == nix::libc::ENOSYS {
        let pool = pool.name();
        error.detail = Some(format!(
            "the pool or the image needs a plugin that librbd on this host does not have; \
             to remove it from the pool, run 'rbd config pool rm {pool} rbd_plugins'; \
             'rbd config pool ls {pool}' lists all settings"
        ));
    }
    error
}

/// Refuses a new image that keeps its data in a pool that was not requested, or in stripes: the user may have no
/// rights in another pool, and a host's kernel may not support stripes. `(separate, striped)`: whether a data pool,
/// and stripes, were requested.
pub(super) fn require_layout(
    pool: &librbd::Pool,
    (separate, striped): (bool, bool),
    name: &str,
    id: &str,
) -> Result<(), PoolError> {
    let requested = if separate { DATA_POOL } else { 0 } | if striped { STRIPES } else { 0 };
    if pool.header(id).features()? & (STRIPES | DATA_POOL) == requested {
        return Ok(());
    }
    Err(PoolError {
        detail: Some(
            "the image has another data pool or stripes than smblock requested, and is removed; \
             see rbd_default_data_pool, rbd_default_stripe_unit and rbd_default_stripe_count in \
             'ceph config dump' and in 'rbd config pool ls POOL'"
                .to_owned(),
        ),
        ..PoolError::new("rbd_create4", name, 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_snapshots_is_no_lack_of_space() {
        let error = PoolError::from(Error::SnapshotLimit {
            image: "vms/a".to_owned(),
            limit: 3,
        });
        assert!(!error.is_out_of_space() && error.is_about_image() && !error.is_outcome_unknown());
        let text = error.to_string();
        assert!(text.contains("rbd snap limit clear vms/a"), "{text}");
    }
}
