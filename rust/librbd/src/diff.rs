//! Lists what changed in an image since one of its snapshots.
//!
//! **What librbd reports** ([`Image::diff`]). An extent of an object that existed at the older point is exact. Of
//! an object that was created or extended since then, everything from its old end to its new end is one extent,
//! with the holes in it. So an extent may contain data that is the same; data that changed is always in an
//! extent, if both points are snapshots of this image.
//!
//! **A clone** ([`Diff::since`] is `None`). Without the parent, librbd does not report what the clone discarded
//! of its parent's data. With the parent, it reports that as the parent's data. So only a snapshot that is as old
//! as the clone finds everything that was changed in the clone.

use std::any::Any;
use std::ffi::{c_int, c_void, CString};
use std::ops::ControlFlow;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;

use crate::buffer::c_string;
use crate::error::Result;
use crate::ffi::rbd::rbd_diff_callback_t;
use crate::image::Image;

/// A range of an image, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Its first byte.
    pub offset: u64,
    /// Its length.
    pub length: u64,
    /// Whether it has data. If not, it reads as zeros (or as the parent's data, if the parent is not included).
    pub exists: bool,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Diff<'a> {
    /// The name of the older point: a user snapshot of the image. `None` is an empty image.
    pub since: Option<&'a str>,
    /// Whether data of the parent counts. It has no effect with `since`.
    pub with_parent: bool,
    /// Whether an extent is as long as its object. The feature `fast-diff` makes this cheap.
    pub whole_objects: bool,
}

impl Image {
    /// Calls `step` with `state` for each extent of the `length` bytes at `offset` that differs between
    /// `diff.since` and the set snapshot (else the head), and returns the state. The extents are in no promised
    /// order; they may be larger than the changes (see the top of this file). `step` runs on a thread of librbd;
    /// [`ControlFlow::Break`] ends the call with the state as it is. Sends a request for each object of the
    /// range, unless the image has the feature `fast-diff` and `diff.whole_objects` is set: divide a long image
    /// into ranges, each of which has its own deadline. Several threads may compare one open image.
    ///
    /// A call that is abandoned at its deadline ends before its next extent, and drops the state.
    ///
    /// # Errors
    /// [`Error::is_not_found`](crate::Error::is_not_found) if the image has no such snapshot; EINVAL if the
    /// snapshot is newer than the set one, or `offset` is the image's end or beyond it.
    ///
    /// # Panics
    /// If `step` panics. The call has ended then.
    ///
    /// Implements: `int rbd_diff_iterate2(rbd_image_t image, const char *fromsnapname, uint64_t ofs,
    /// uint64_t len, uint8_t include_parent, uint8_t whole_object, rbd_diff_callback_t cb, void
    /// *arg)`.
    pub fn diff<S, F>(
        &self,
        diff: &Diff<'_>,
        offset: u64,
        length: u64,
        state: S,
        step: F,
    ) -> Result<S>
    where
        S: Send + 'static,
        F: FnMut(&mut S, Extent) -> ControlFlow<()> + Send + 'static,
    {
        let since = diff.since.map(|name| c_string("snapshot name", name));
        let request = Request {
            since: since.transpose()?,
            offset,
            length,
            include_parent: diff.with_parent.into(),
            whole_object: diff.whole_objects.into(),
        };
        let abandoned = Arc::new(AtomicBool::new(false));
        let visitor = Visitor::new(state, step, abandoned.clone());
        let done = self.read("rbd_diff_iterate2", move |image| {
            image.diff_now(&request, visitor)
        });
        abandoned.store(true, Ordering::Relaxed); // without effect if the call has ended
        done
    }

    /// Returns the extents of [`Image::diff`], by their offset; neighbours of the same kind are one extent.
    ///
    /// # Errors
    /// As [`Image::diff`].
    pub fn extents(&self, diff: &Diff<'_>, offset: u64, length: u64) -> Result<Vec<Extent>> {
        let found = self.diff(diff, offset, length, Vec::new(), |found, extent| {
            found.push(extent);
            ControlFlow::Continue(())
        })?;
        Ok(merged(found))
    }

    /// Returns whether the `length` bytes of the image at `offset` have changed since the user snapshot
    /// `snapshot`. Each object that was written, discarded or created since then counts as a change, also if
    /// its data is the same. Stops at the first change.
    ///
    /// # Errors
    /// As [`Image::diff`].
    pub fn differs_from(&self, snapshot: &str, offset: u64, length: u64) -> Result<bool> {
        let diff = Diff {
            since: Some(snapshot),
            with_parent: false,
            whole_objects: true,
        };
        self.diff(&diff, offset, length, false, |found, _| {
            *found = true;
            ControlFlow::Break(())
        })
    }

    fn diff_now<S, F>(&self, request: &Request, visitor: Visitor<S, F>) -> Result<S>
    where
        F: FnMut(&mut S, Extent) -> ControlFlow<()>,
    {
        let visitor = Mutex::new(visitor);
        let since = request.since.as_ref().map_or(ptr::null(), |n| n.as_ptr());
        let callback: rbd_diff_callback_t = visit::<S, F>;
        // SAFETY: the image is open; `since` is null or a C string; the visitor outlives the call.
        let compared = unsafe {
            self.rbd().rbd_diff_iterate2(
                self.raw(),
                since,
                request.offset,
                request.length,
                request.include_parent,
                request.whole_object,
                callback,
                ptr::from_ref(&visitor).cast_mut().cast(),
            )
        };
        let visitor = visitor.into_inner().unwrap_or_else(PoisonError::into_inner);
        match visitor.end {
            End::Panic(payload) => resume_unwind(payload),
            End::Break => Ok(visitor.state), // the call ends with what `visit` returns
            End::Abandoned | End::None => self
                .check("rbd_diff_iterate2", compared)
                .map(|_| visitor.state),
        }
    }
}

/// The arguments of a call.
struct Request {
    since: Option<CString>,
    offset: u64,
    length: u64,
    include_parent: u8,
    whole_object: u8,
}

/// What gets the extents of a call.
struct Visitor<S, F> {
    state: S,
    step: F,
    abandoned: Arc<AtomicBool>,
    end: End,
}

/// Why the visitor stops.
enum End {
    None,
    Break,
    Abandoned,
    Panic(Box<dyn Any + Send>),
}

impl<S, F: FnMut(&mut S, Extent) -> ControlFlow<()>> Visitor<S, F> {
    fn new(state: S, step: F, abandoned: Arc<AtomicBool>) -> Self {
        Self {
            state,
            step,
            abandoned,
            end: End::None,
        }
    }

    /// Returns whether the call shall continue. Never panics.
    fn visit(&mut self, extent: Extent) -> bool {
        if matches!(self.end, End::None) && self.abandoned.load(Ordering::Relaxed) {
            self.end = End::Abandoned;
        }
        if !matches!(self.end, End::None) {
            return false; // librbd may report extents of requests that are on their way
        }
        let (state, step) = (&mut self.state, &mut self.step);
        self.end = match catch_unwind(AssertUnwindSafe(|| step(state, extent))) {
            Ok(ControlFlow::Continue(())) => End::None,
            Ok(ControlFlow::Break(())) => End::Break,
            Err(payload) => End::Panic(payload),
        };
        matches!(self.end, End::None)
    }
}

/// An `rbd_diff_callback_t`. librbd stops if the result is negative.
///
/// # Safety
/// `data` points to a `Mutex<Visitor<S, F>>` that lives.
unsafe extern "C" fn visit<S, F>(
    offset: u64,
    length: usize,
    exists: c_int,
    data: *mut c_void,
) -> c_int
where
    F: FnMut(&mut S, Extent) -> ControlFlow<()>,
{
    // SAFETY: the caller's promise; the mutex allows calls from several threads.
    let visitor = unsafe { &*data.cast_const().cast::<Mutex<Visitor<S, F>>>() };
    let mut visitor = visitor.lock().unwrap_or_else(PoisonError::into_inner);
    let extent = Extent {
        offset,
        length: length as u64,
        exists: exists != 0,
    };
    if visitor.visit(extent) {
        0
    } else {
        -(Errno::EINTR as c_int)
    }
}

fn merged(mut extents: Vec<Extent>) -> Vec<Extent> {
    extents.sort_unstable_by_key(|extent| extent.offset);
    extents.dedup_by(|next, last| {
        let joins = next.exists == last.exists && last.offset + last.length == next.offset;
        if joins {
            last.length += next.length;
        }
        joins
    });
    extents
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn extent(offset: u64, length: u64, exists: bool) -> Extent {
        Extent {
            offset,
            length,
            exists,
        }
    }

    /// Makes the callback's calls for extents of one byte, as librbd does, and returns their results.
    fn call<S, F>(visitor: &Mutex<Visitor<S, F>>, offsets: &[u64]) -> Vec<c_int>
    where
        F: FnMut(&mut S, Extent) -> ControlFlow<()>,
    {
        let data: *mut c_void = ptr::from_ref(visitor).cast_mut().cast();
        let calls = offsets.iter();
        // SAFETY: `data` points to a visitor of this type.
        calls
            .map(|offset| unsafe { visit::<S, F>(*offset, 1, 1, data) })
            .collect()
    }

    const STOP: c_int = -(Errno::EINTR as c_int);

    #[test]
    fn neighbours_of_the_same_kind_are_one_extent() {
        let found = vec![
            extent(8, 4, true),
            extent(0, 4, true),
            extent(4, 4, true),
            extent(12, 4, false),
            extent(20, 4, false),
        ];
        let expected = [
            extent(0, 12, true),
            extent(12, 4, false),
            extent(20, 4, false),
        ];
        assert_eq!(merged(found), expected);
    }

    #[test]
    fn a_break_ends_the_call_and_later_extents_are_not_visited() {
        let step = |sum: &mut u64, extent: Extent| {
            *sum += extent.offset;
            if extent.offset == 2 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let visitor = Mutex::new(Visitor::new(0, step, Arc::default()));
        assert_eq!(call(&visitor, &[1, 2, 4]), [0, STOP, STOP]);
        let visitor = visitor.into_inner().unwrap();
        assert_eq!(visitor.state, 3);
        assert!(matches!(visitor.end, End::Break));
    }

    #[test]
    fn an_abandoned_call_ends_at_its_next_extent() {
        let abandoned = Arc::new(AtomicBool::new(false));
        let step = |count: &mut u32, _| {
            *count += 1;
            ControlFlow::Continue(())
        };
        let visitor = Mutex::new(Visitor::new(0, step, abandoned.clone()));
        assert_eq!(call(&visitor, &[1]), [0]);
        abandoned.store(true, Ordering::Relaxed);
        assert_eq!(call(&visitor, &[2]), [STOP]);
        assert_eq!(visitor.into_inner().unwrap().state, 1);
    }

    #[test]
    fn a_panic_does_not_cross_the_callback() {
        let step = |_: &mut (), _: Extent| panic!("in a step");
        let visitor = Mutex::new(Visitor::new((), step, Arc::default()));
        assert_eq!(call(&visitor, &[1, 2]), [STOP, STOP]);
        let end = visitor.into_inner().unwrap().end;
        assert!(matches!(end, End::Panic(_)));
    }
}
