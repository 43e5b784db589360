//! Metadata of an image: pairs of texts in its header. rbd-mirror copies them.

use std::collections::BTreeMap;

use crate::buffer::{c_string, is_too_short, text_of, texts_of};
use crate::error::Result;
use crate::image::Image;

/// The most pairs of one request. The OSD has the same limit.
const PAGE: u64 = 64;

impl Image {
    /// Returns the value of `key`; `None` if there is none.
    ///
    /// Implements: `int rbd_metadata_get(rbd_image_t image, const char *key, char *value,
    /// size_t *val_len)`.
    pub fn metadata_get(&self, key: &str) -> Result<Option<String>> {
        let key = key.to_owned();
        self.read("rbd_metadata_get", move |image| {
            image.metadata_get_now(&key)
        })
    }

    fn metadata_get_now(&self, key: &str) -> Result<Option<String>> {
        let c_key = c_string("metadata key", key)?;
        let mut length = 1024;
        loop {
            let mut value = vec![0_u8; length];
            // SAFETY: the image is open; the key is a C string; `value` has `length` bytes.
            let got = unsafe {
                let buffer = value.as_mut_ptr().cast();
                self.rbd()
                    .rbd_metadata_get(self.raw(), c_key.as_ptr(), buffer, &mut length)
            };
            match self.check("rbd_metadata_get", got) {
                Ok(_) => return Ok(Some(text_of(&value))),
                Err(error) if error.is_not_found() => return Ok(None),
                // `length` is the required length now. The value may grow before the next call.
                Err(error) if is_too_short(&error) => length = length.max(value.len()) + 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Sets or replaces `key`.
    ///
    /// Implements: `int rbd_metadata_set(rbd_image_t image, const char *key, const char *value)`.
    pub fn metadata_set(&self, key: &str, value: &str) -> Result<()> {
        let c_key = c_string("metadata key", key)?;
        let c_value = c_string("metadata value", value)?;
        self.change("rbd_metadata_set", move |image| {
            let (rbd, key, value) = (image.rbd(), c_key.as_ptr(), c_value.as_ptr());
            // SAFETY: the image is open; both are C strings.
            let set = unsafe { rbd.rbd_metadata_set(image.raw(), key, value) };
            image.check("rbd_metadata_set", set).map(|_| ())
        })
    }

    /// Removes `key`.
    ///
    /// # Errors
    /// [`Error::is_not_found`](crate::Error::is_not_found) if there is none.
    ///
    /// Implements: `int rbd_metadata_remove(rbd_image_t image, const char *key)`.
    pub fn metadata_remove(&self, key: &str) -> Result<()> {
        let c_key = c_string("metadata key", key)?;
        self.change("rbd_metadata_remove", move |image| {
            // SAFETY: the image is open; the key is a C string.
            let removed = unsafe { image.rbd().rbd_metadata_remove(image.raw(), c_key.as_ptr()) };
            image.check("rbd_metadata_remove", removed).map(|_| ())
        })
    }

    /// Returns all pairs.
    pub fn metadata_list(&self) -> Result<BTreeMap<String, String>> {
        let mut pairs = BTreeMap::new();
        let mut after = String::new();
        loop {
            let page = self.metadata_page(&after)?;
            match page.last() {
                Some((key, _)) => after.clone_from(key),
                None => return Ok(pairs),
            }
            pairs.extend(page);
        }
    }

    /// Implements: `int rbd_metadata_list(rbd_image_t image, const char *start, uint64_t max,
    /// char *keys, size_t *key_len, char *values, size_t *vals_len)`.
    fn metadata_page(&self, after: &str) -> Result<Vec<(String, String)>> {
        let after = after.to_owned();
        self.read("rbd_metadata_list", move |image| {
            image.metadata_page_now(&after)
        })
    }

    fn metadata_page_now(&self, after: &str) -> Result<Vec<(String, String)>> {
        let start = c_string("metadata key", after)?;
        let (mut keys_length, mut values_length) = (4096, 4096);
        loop {
            let (mut keys, mut values) = (vec![0_u8; keys_length], vec![0_u8; values_length]);
            // SAFETY: the image is open; the start is a C string; the buffers have the given lengths.
            let got = unsafe {
                self.rbd().rbd_metadata_list(
                    self.raw(),
                    start.as_ptr(),
                    PAGE,
                    keys.as_mut_ptr().cast(),
                    &mut keys_length,
                    values.as_mut_ptr().cast(),
                    &mut values_length,
                )
            };
            match self.check("rbd_metadata_list", got) {
                Ok(_) => {
                    let keys = texts_of(&keys[..keys_length.min(keys.len())]);
                    let values = values.split(|&byte| byte == 0).map(text_of);
                    return Ok(keys.into_iter().zip(values).collect());
                }
                Err(error) if is_too_short(&error) => {
                    keys_length = keys_length.max(keys.len());
                    values_length = values_length.max(values.len());
                }
                Err(error) => return Err(error),
            }
        }
    }
}
