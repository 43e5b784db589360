//! How many connections there are.
//!
//! A connection counts until its last request has returned from the kernel: its threads and its memory stay until
//! then, also if the client is gone. A client that still has to prove who it is takes no place of the others.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections at once of clients that may use exports.
pub const MOST: usize = 64;
/// Connections at once before the client has shown its certificate. A further one ends the oldest.
pub const NEWCOMERS: usize = 16;

/// The connections of the server.
#[derive(Debug, Default)]
pub struct Connections {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    newcomers: BTreeMap<u64, TcpStream>,
    admitted: BTreeSet<u64>,
}

/// The place of a connection, until it is dropped.
#[derive(Debug)]
pub struct Place {
    of: Arc<Connections>,
    number: u64,
}

impl Connections {
    /// Gives a place to a client that still has to show its certificate.
    ///
    /// # Errors
    /// No file descriptor is free.
    pub fn enter(self: &Arc<Self>, client: &TcpStream) -> io::Result<Place> {
        let client = client.try_clone()?;
        let mut state = self.state();
        if state.newcomers.len() >= NEWCOMERS {
            if let Some((_, oldest)) = state.newcomers.pop_first() {
                let _ = oldest.shutdown(Shutdown::Both); // it may have ended already
            }
        }
        let number = state.next;
        state.next += 1;
        state.newcomers.insert(number, client);
        Ok(Place {
            of: self.clone(),
            number,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Lets the client use exports: it has shown its certificate, or needs none.
    ///
    /// # Errors
    /// There are [`MOST`] such clients, or [`NEWCOMERS`] newer connections without a certificate.
    pub fn admit(&self) -> io::Result<()> {
        let mut state = self.of.state();
        if state.newcomers.remove(&self.number).is_none() {
            let text = format!("there are {NEWCOMERS} newer connections without a certificate");
            return Err(io::Error::other(text));
        }
        if state.admitted.len() >= MOST {
            return Err(io::Error::other(format!("there are {MOST} connections")));
        }
        state.admitted.insert(self.number);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.of.state();
        state.newcomers.remove(&self.number);
        state.admitted.remove(&self.number);
    }
}
