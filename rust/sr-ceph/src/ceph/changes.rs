//! Which blocks of an image changed between two of its points.
//!
//! The image is opened read-only: its writer keeps the exclusive lock, and nothing is locked. It is compared in
//! ranges of [`step_of`] bytes, each a call with a deadline of its own, by [`THREADS`] threads. A range that fails ends
//! all of them before their next range.
//!
//! A snapshot that is removed meanwhile would be compared without a part of its data. Before Ceph frees anything,
//! librbd moves it to the namespace of removed snapshots, and gives it another name. So the names of both points
//! are read again at the end, from the image's header.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use librbd::{Diff, Image, SnapId, Snapshot, SnapshotKind};
use nix::libc;

use super::CephPool;
use crate::bitmap::Bitmap;
use crate::image_format::step_of;
use crate::pool::{Comparison, PoolError, Result};

/// How many ranges are compared at once. Each has 10 requests under way (`rbd_concurrent_management_ops`).
const THREADS: u64 = 4;

impl Comparison for CephPool {
    fn changed_blocks(
        &self,
        id: &str,
        since: u64,
        until: Option<u64>,
        size: u64,
    ) -> Result<Bitmap> {
        let mut image = self.open_image(id, true)?;
        let older = find(&image, id, since)?;
        let newer = until.map(|until| find(&image, id, until)).transpose()?;
        let newer_size = match &newer {
            None => image.size()?,
            Some(newer) => {
                image.set_snapshot(Some(newer.id))?;
                newer.size
            }
        };
        let step = step_of(self.pool.header(id).object_size()?);
        let mut bitmap = compare(&image, &older.name, step, (size.min(newer_size), size))?;
        // An image that was shrunk: librbd does not compare what was cut off.
        if older.size > newer_size {
            bitmap.mark(newer_size, older.size - newer_size);
        }
        image.close()?;
        let header = self.pool.header(id);
        for snapshot in newer.iter().chain([&older]) {
            if header.snapshot_name(snapshot.id)? != snapshot.name {
                return Err(removed(id));
            }
        }
        Ok(bitmap)
    }
}

/// Returns the ordinary snapshot with that id.
fn find(image: &Image, image_id: &str, id: u64) -> Result<Snapshot> {
    let mut snapshots = image.snapshots()?.into_iter();
    let found = snapshots.find(|s| s.id == SnapId(id) && s.kind == SnapshotKind::User);
    found.ok_or_else(|| removed(image_id))
}

fn removed(image_id: &str) -> PoolError {
    PoolError::new("rbd_snap_list", image_id, libc::ENOENT)
}

/// Compares the first `length` bytes in ranges of `step` bytes. The bitmap is that of `size` bytes.
fn compare(image: &Image, since: &str, step: u64, (length, size): (u64, u64)) -> Result<Bitmap> {
    let (next, stopped) = (AtomicU64::new(0), AtomicBool::new(false));
    let found = Mutex::new(Ok(Bitmap::new(size)));
    let work = || {
        while !stopped.load(Ordering::Relaxed) {
            let offset = next.fetch_add(step, Ordering::Relaxed);
            if offset >= length {
                return;
            }
            let part = compare_range(image, since, offset, step.min(length - offset));
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            match (&mut *found, part) {
                (Ok(found), Ok(part)) => found.merge(&part, offset),
                (Ok(_), Err(error)) => {
                    stopped.store(true, Ordering::Relaxed);
                    *found = Err(error);
                }
                (Err(_), _) => {} // the first error is returned
            }
        }
    };
    thread::scope(|scope| {
        let more = THREADS.min(length.div_ceil(step)).saturating_sub(1);
        for _ in 0..more {
            // Without another thread, this one compares all ranges.
            let thread = thread::Builder::new().name("changed-blocks".to_owned());
            if let Err(error) = thread.spawn_scoped(scope, work) {
                log::warn!("cannot start a thread to compare an image: {error}");
            }
        }
        work();
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn compare_range(image: &Image, since: &str, offset: u64, length: u64) -> Result<Bitmap> {
    let diff = Diff {
        since: Some(since),
        ..Diff::default()
    };
    let bitmap = Bitmap::new(length);
    let marked = image.diff(&diff, offset, length, bitmap, move |bitmap, extent| {
        bitmap.mark(extent.offset.saturating_sub(offset), extent.length);
        ControlFlow::Continue(())
    });
    Ok(marked?)
}
