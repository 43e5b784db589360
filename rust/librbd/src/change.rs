//! Changes an image, and explains what prevents a change.

use crate::error::Result;
use crate::image::Image;
use crate::progress::{Beats, Progress};

impl Image {
    /// Makes a call that changes this image, by the deadline. The error names the lock or the client that
    /// prevents the change.
    pub(crate) fn change<T: Send + 'static>(
        &self,
        call: &'static str,
        work: impl FnOnce(&Image) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.long_change(call, &mut |_, _| {}, |image, _| work(image))
    }

    /// As [`Image::change`], for a long call: see [`Progress`].
    pub(crate) fn long_change<T: Send + 'static>(
        &self,
        call: &'static str,
        progress: Progress<'_>,
        work: impl FnOnce(&Image, &Beats) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let shared = self.share();
        let cluster = self.pool().cluster();
        let done =
            cluster
                .patience()
                .long_change_in_time(call, self.path(), progress, move |beats| {
                    shared.refuse_if_locked(call)?;
                    work(&shared, beats)
                });
        done.map_err(|error| self.explain(error))
    }
}
