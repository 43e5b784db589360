//! Strings to and from C, and the buffers that librbd wants to be grown.

use std::ffi::{c_char, CStr, CString};

use nix::errno::Errno;

use crate::error::{Error, Result};

/// `value` as a C string. `argument` names it in the error; the value itself is not shown.
pub(crate) fn c_string(argument: &'static str, value: &str) -> Result<CString> {
    CString::new(value).map_err(|_| Error::BadArgument {
        argument,
        reason: "it contains a NUL byte".to_owned(),
    })
}

/// Each of `texts` as [`c_string`] makes it.
pub(crate) fn c_strings<'a>(
    argument: &'static str,
    texts: impl Iterator<Item = &'a str>,
) -> Result<Vec<CString>> {
    texts.map(|text| c_string(argument, text)).collect()
}

/// What C takes for an array of strings, for as long as `texts` live.
pub(crate) fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    texts.iter().map(|text| text.as_ptr()).collect()
}

/// The text at `text`; empty for a null pointer.
///
/// # Safety
/// `text` is null or points to a NUL-terminated string that stays valid during the call.
pub(crate) unsafe fn copy_text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    CStr::from_ptr(text).to_string_lossy().into_owned()
}

/// The text in a buffer that C filled: up to its first NUL, or all of it.
pub(crate) fn text_of(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// The texts in a buffer of NUL-terminated strings; an empty one ends the list.
pub(crate) fn texts_of(bytes: &[u8]) -> Vec<String> {
    bytes
        .split(|&byte| byte == 0)
        .take_while(|text| !text.is_empty())
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .collect()
}

/// Calls `fill` with a buffer of `length` bytes, doubled while the answer is ERANGE.
///
/// For the functions that do not say how much they need.
pub(crate) fn text_of_unknown_length(
    mut length: usize,
    fill: impl Fn(*mut c_char, usize) -> Result<i32>,
) -> Result<String> {
    /// No name in RADOS or RBD is longer: OSDs refuse object names over 2,048 bytes. Configuration
    /// values are the longest texts asked for in this way.
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

/// Calls `fill` with room for entries, more of it while the answer is ERANGE, converts what it
/// wrote, and has it freed.
///
/// `fill` takes the room and sets the number of entries: those written, or with ERANGE those there
/// are.
///
/// # Safety
/// On success, `fill` must have written as many entries as it set the number to, and no more than
/// there was room for; `free` must leave their memory alone but for what they point to.
pub(crate) unsafe fn list<Raw, Item>(
    mut room: usize,
    fill: impl Fn(*mut Raw, &mut usize) -> Result<i32>,
    convert: impl Fn(&Raw) -> Item,
    free: impl Fn(*mut Raw, usize),
) -> Result<Vec<Item>> {
    loop {
        let mut entries: Vec<Raw> = Vec::with_capacity(room);
        let mut count = room;
        match fill(entries.as_mut_ptr(), &mut count) {
            Ok(_) => {
                entries.set_len(count);
                let items = entries.iter().map(convert).collect();
                free(entries.as_mut_ptr(), count);
                return Ok(items);
            }
            // With some to spare: more may come before the next call.
            Err(error) if is_too_short(&error) => room = count.max(room) + 16,
            Err(error) => return Err(error),
        }
    }
}

/// The buffer was too short for the answer (ERANGE; ENAMETOOLONG for configuration values).
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
    fn an_argument_with_a_nul_byte_is_refused_without_showing_it() {
        let error = c_string("image name", "a\0secret").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the image name cannot be used: it contains a NUL byte"
        );
    }

    #[test]
    fn a_list_of_texts_ends_at_the_empty_one() {
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
            let room = std::mem::replace(count, 3);
            let fits = room >= 3;
            if fits {
                // SAFETY: there is room for three.
                unsafe { entries.copy_from_nonoverlapping([7, 8, 9].as_ptr(), 3) };
            }
            check(
                "rbd_list2",
                String::new,
                if fits { 0 } else { -(Errno::ERANGE as i32) },
            )
        };
        let free = |_, count| freed.set(freed.get() + count);
        // SAFETY: `fill` writes the three entries it tells, where there is room for them.
        let items = unsafe { list(1, fill, |entry| entry * 2, free) };
        assert_eq!(items.unwrap(), [14, 16, 18]);
        assert_eq!(freed.get(), 3);
    }

    #[test]
    fn a_buffer_does_not_grow_for_ever() {
        let never = text_of_unknown_length(4, |_, _| {
            check("rbd_get_id", String::new, -(Errno::ERANGE as i32))
        });
        assert_eq!(never.unwrap_err().errno(), Some(Errno::ERANGE as i32));
    }
}
