//! The memory for the data of requests of all clients together.
//!
//! Each client has a part of its own, which others cannot take: a device that does not respond holds up no other
//! client. What large requests and many requests need beyond that, the clients share. If that is taken, a large
//! request is served in pieces of the client's own part.

use std::sync::{Mutex, PoisonError};

/// What each client has for itself, in bytes. Not less than the largest request of the kernel's client and of
/// qemu-img.
pub const OWN: usize = 2 << 20;
/// What all clients share, in bytes. With 64 clients all data takes 192 MiB at most.
const SHARED: usize = 64 << 20;

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
