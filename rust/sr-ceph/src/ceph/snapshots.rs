//! Snapshots of several images at once.

use std::thread;

use crate::pool::{Pool, PoolError, Result};

/// Takes the snapshots in parallel: the monitors then commit the ids of all of them at once.
pub(super) fn create<P: Pool + Sync>(pool: &P, wanted: &[(&str, &str)]) -> Vec<Result<u64>> {
    thread::scope(|scope| {
        let each = wanted.iter();
        let threads: Vec<_> = each
            .map(|(image_id, name)| scope.spawn(|| pool.create_snapshot(image_id, name)))
            .collect();
        let results = threads.into_iter().zip(wanted);
        let results = results.map(|(thread, (image_id, _))| match thread.join() {
            Ok(result) => result,
            // A panic: it is unknown whether the snapshot was taken.
            Err(_) => Err(PoolError::new(
                PoolError::SNAPSHOT,
                image_id,
                nix::libc::ETIMEDOUT,
            )),
        });
        results.collect()
    })
}
