//! Converts strings to and from C, and grows the buffers for librbd.

use std::ffi::{c_char, CStr, CString};

use nix::errno::Errno;

use crate::error::{Error, Result};

/// Returns `value` as a C string. The error names `argument`, but does not have the value.
pub(crate) fn c_string(argument: &'static str, value: &str) -> Result<CString> {
    CString::new(value).map_err(|_| Error::BadArgument {
        argument,
        reason: "it contains a NUL byte".to_owned(),
    })
}

/// Returns each of `texts` as a C string.
pub(crate) fn c_strings<'a>(
    argument: &'static str,
    texts: impl Iterator<Item = &'a str>,
) -> Result<Vec<CString>> {
    texts.map(|text| c_string(argument, text)).collect()
}

/// Returns an array of pointers for C, valid as long as `texts` live.
pub(crate) fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    texts.iter().map(|text| text.as_ptr()).collect()
}

/// Returns a copy of the text; empty for a null pointer.
///
/// # Safety
/// `text` is null or points to a NUL-terminated string that stays valid during the call.
pub(crate) unsafe fn copy_text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    CStr::from_ptr(text).to_string_lossy().into_owned()
}

/// Returns the text in a buffer from C: up to its first NUL, or all of it.
pub(crate) fn text_of(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// Returns the texts in a buffer of NUL-terminated strings. An empty one ends the list.
pub(crate) fn texts_of(bytes: &[u8]) -> Vec<String> {
    bytes
        .split(|&byte| byte == 0)
        .take_while(|text| !text.is_empty())
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .collect()
}

/// Calls `fill` with a buffer of `length` bytes. Doubles the buffer as long as the result is ERANGE.
///
/// For functions that do not return the length that they need.
pub(crate) fn text_of_unknown_length(
    mut length: usize,
    fill: impl Fn(*mut c_char, usize) -> Result<i32>,
) -> Result<String> {
    /// Longer than every text: OSDs refuse object names over 2,048 bytes. Configuration values are the
    /// longest texts.
    const LIMIT: usize = 1 << 20;
    loop {
        let mut bytes = vec![0_u8; length];
        match fill(bytes.as_mut_ptr().cast(), length) {
            Ok(_) => return Ok(text_of(&bytes)),
            Err(error) if length < LIMIT && is_too_short(&error) => length *= 2,
            Err(error) => return Err(error),
        }
    }
}

/// Calls `fill` with a buffer for `capacity` entries, converts the entries, and calls `free`. Calls `fill`
/// again with a larger buffer as long as the result is ERANGE.
///
/// `fill` gets the capacity, and sets the number of entries: the written ones, or with ERANGE all existing
/// ones.
///
/// # Safety
/// On success, `fill` must have written as many entries as it set the number to, and not more than the
/// capacity. `free` must free only the memory that the entries point to.
pub(crate) unsafe fn list<Raw, Item>(
    mut capacity: usize,
    fill: impl Fn(*mut Raw, &mut usize) -> Result<i32>,
    convert: impl Fn(&Raw) -> Item,
    free: impl Fn(*mut Raw, usize),
) -> Result<Vec<Item>> {
    loop {
        let mut entries: Vec<Raw> = Vec::with_capacity(capacity);
        let mut count = capacity;
        match fill(entries.as_mut_ptr(), &mut count) {
            Ok(_) => {
                entries.set_len(count);
                let items = entries.iter().map(convert).collect();
                free(entries.as_mut_ptr(), count);
                return Ok(items);
            }
            // With a reserve: there may be more entries at the next call.
            Err(error) if is_too_short(&error) => capacity = count.max(capacity) + 16,
            Err(error) => return Err(error),
        }
    }
}

/// Returns whether the buffer was too short (ERANGE; ENAMETOOLONG for configuration values).
pub(crate) fn is_too_short(error: &Error) -> bool {
    let errno = error.errno();
    errno == Some(Errno::ERANGE as i32) || errno == Some(Errno::ENAMETOOLONG as i32)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::error::check;

    #[test]
    fn the_error_of_an_argument_with_a_nul_byte_does_not_quote_it() {
        let error = c_string("image name", "a\0secret").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the image name cannot be used: it contains a NUL byte"
        );
    }

    #[test]
    fn an_empty_text_ends_a_list_of_texts() {
        assert_eq!(texts_of(b"rbd\0.mgr\0\0junk"), ["rbd", ".mgr"]);
        assert_eq!(texts_of(b"\0"), Vec::<String>::new());
    }

    #[test]
    fn a_buffer_grows_until_the_text_fits() {
        let too_short = -(Errno::ERANGE as i32);
        let text = text_of_unknown_length(4, |buffer, length| {
            let fits = length >= 16;
            if fits {
                // SAFETY: `buffer` is valid for `length` bytes.
                unsafe { buffer.copy_from_nonoverlapping(c"long enough".as_ptr(), 12) };
            }
            check("rbd_get_id", String::new, if fits { 0 } else { too_short })
        });
        assert_eq!(text.unwrap(), "long enough");
    }

    #[test]
    fn a_list_grows_until_all_entries_fit_and_is_freed_once() {
        let freed = std::cell::Cell::new(0);
        let fill = |entries: *mut u64, count: &mut usize| {
            let capacity = std::mem::replace(count, 3);
            let fits = capacity >= 3;
            if fits {
                // SAFETY: the buffer has a capacity of three or more.
                unsafe { entries.copy_from_nonoverlapping([7, 8, 9].as_ptr(), 3) };
            }
            check(
                "rbd_list2",
                String::new,
                if fits { 0 } else { -(Errno::ERANGE as i32) },
            )
        };
        let free = |_, count| freed.set(freed.get() + count);
        // SAFETY: on success, `fill` writes the three entries, and the capacity is at least three.
        let items = unsafe { list(1, fill, |entry| entry * 2, free) };
        assert_eq!(items.unwrap(), [14, 16, 18]);
        assert_eq!(freed.get(), 3);
    }

    #[test]
    fn a_buffer_grows_up_to_a_limit() {
        let never = text_of_unknown_length(4, |_, _| {
            check("rbd_get_id", String::new, -(Errno::ERANGE as i32))
        });
        assert_eq!(never.unwrap_err().errno(), Some(Errno::ERANGE as i32));
    }
}
