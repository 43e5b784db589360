//! The memory for the data of requests of all clients together.
//!
//! Each client has a part of its own, which others cannot take: a device that does not respond holds up no other
//! client. What large requests and many requests need beyond that, the clients share. If that is taken, a large
//! request is served in pieces of the client's own part.

use std::sync::{Mutex, PoisonError};

use crate::aligned::ALIGNMENT;
use crate::protocol::MAX_PAYLOAD;

/// For the data of which each client has memory for itself, in bytes. Not less than the largest request of the
/// kernel's client and of qemu-img.
pub const PIECE: usize = 2 << 20;
/// What each client has for itself, in bytes: the same for up to 16 requests.
pub const OWN: usize = PIECE + 16 * ALIGNMENT;
/// What all clients share, in bytes: two requests of the largest size. With 64 clients all data takes 197 MiB at
/// most.
const SHARED: usize = 2 * (MAX_PAYLOAD as usize + ALIGNMENT);

/// What the clients share.
#[derive(Debug)]
pub struct Memory {
    free: Mutex<usize>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            free: Mutex::new(SHARED),
        }
    }
}

impl Memory {
    /// Takes that many bytes. Returns `false` if fewer are free.
    pub fn take(&self, size: usize) -> bool {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let left = free.checked_sub(size);
        *free = left.unwrap_or(*free);
        left.is_some()
    }

    /// Gives them back.
    pub fn give(&self, size: usize) {
        *self.free.lock().unwrap_or_else(PoisonError::into_inner) += size;
    }
}
