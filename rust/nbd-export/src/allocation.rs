//! Which parts of an export have data: `base:allocation`.

use std::io;

use crate::protocol::{allocation, ALLOCATION_ID};

/// How many parts one reply has. The client asks again for the rest.
const MOST: usize = 8192;

/// What the storage has of a device's blocks.
pub trait Allocation: Send + Sync {
    /// Returns the parts of a range in their order. A part that may have data is no hole.
    ///
    /// # Errors
    /// The storage cannot be asked. All is data for the client then.
    fn parts(&self, offset: u64, length: u64) -> io::Result<Vec<Part>>;
}

/// A part of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// In bytes.
    pub length: u64,
    /// Whether it was never written, and is read as zeros.
    pub hole: bool,
}

/// Returns the reply for a range: the context, then length and state of each part.
pub(crate) fn status(parts: &[Part], length: u32, one: bool) -> Vec<u8> {
    let mut merged: Vec<Part> = Vec::new();
    let mut left = u64::from(length);
    for part in parts {
        let part = Part {
            length: part.length.min(left),
            ..*part
        };
        left -= part.length;
        match merged.last_mut() {
            Some(last) if last.hole == part.hole => last.length += part.length,
            _ if part.length > 0 => merged.push(part),
            _ => {}
        }
    }
    if left > 0 {
        // What the storage does not mention is data.
        match merged.last_mut() {
            Some(last) if !last.hole => last.length += left,
            _ => merged.push(Part {
                length: left,
                hole: false,
            }),
        }
    }
    let mut reply = ALLOCATION_ID.to_be_bytes().to_vec();
    for part in merged.iter().take(if one { 1 } else { MOST }) {
        let state = if part.hole {
            allocation::HOLE | allocation::ZERO
        } else {
            0
        };
        reply.extend(u32::try_from(part.length).unwrap_or(u32::MAX).to_be_bytes());
        reply.extend(state.to_be_bytes());
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(of: &[(u64, bool)]) -> Vec<Part> {
        of.iter()
            .map(|&(length, hole)| Part { length, hole })
            .collect()
    }

    fn read(reply: &[u8]) -> Vec<(u32, u32)> {
        let numbers: Vec<u32> = reply
            .chunks(4)
            .map(|of| of.iter().fold(0, |n, byte| n << 8 | u32::from(*byte)))
            .collect();
        assert_eq!(numbers[0], ALLOCATION_ID);
        numbers[1..].chunks(2).map(|of| (of[0], of[1])).collect()
    }

    #[test]
    fn neighbours_of_one_state_are_one_part() {
        let found = parts(&[(4, true), (4, true), (0, false), (8, false)]);
        assert_eq!(read(&status(&found, 16, false)), [(8, 3), (8, 0)]);
        assert_eq!(read(&status(&found, 16, true)), [(8, 3)]);
    }

    #[test]
    fn parts_beyond_the_range_are_cut_off() {
        let found = parts(&[(4, false), (u64::MAX, true)]);
        assert_eq!(read(&status(&found, 16, false)), [(4, 0), (12, 3)]);
    }

    #[test]
    fn what_the_storage_does_not_mention_is_data() {
        assert_eq!(read(&status(&[], 16, false)), [(16, 0)]);
        let found = parts(&[(4, true)]);
        assert_eq!(read(&status(&found, 16, false)), [(4, 3), (12, 0)]);
    }
}
