//! A connection to one downstairs: sends requests, gets replies in their order, reports its end.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::wire::{receive, send, Reply, Request};

/// How long a downstairs may be silent.  As measured: I/O stalls for 35 s if one is frozen.
const SILENCE: Duration = Duration::from_secs(35);

/// How the connection ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// One side has closed the connection.
    Closed,
    /// Another upstairs has taken the volume.
    NoLongerActive,
}

/// One user at a time sends and receives; see [`super::Backlog`]'s lock.
#[derive(Debug)]
pub struct Link {
    stream: TcpStream,
    replies: Mutex<Receiver<(Reply, Vec<u8>)>>,
}

impl Link {
    /// Creates it on a connected socket, with a thread that receives.
    pub fn new(stream: TcpStream) -> io::Result<(Self, JoinHandle<Ended>)> {
        stream.set_nodelay(true)?;
        let mut reader = stream.try_clone()?;
        let (replies, received) = channel();
        let listening = thread::spawn(move || loop {
            match receive::<Reply>(&mut reader) {
                Ok((Reply::NoLongerActive, _)) => return Ended::NoLongerActive,
                Ok(reply) => {
                    if replies.send(reply).is_err() {
                        return Ended::Closed;
                    }
                }
                Err(_) => return Ended::Closed,
            }
        });
        let link = Self {
            stream,
            replies: Mutex::new(received),
        };
        Ok((link, listening))
    }

    /// Send a request and wait for its reply.
    pub fn call(&self, request: &Request, payload: &[u8]) -> io::Result<(Reply, Vec<u8>)> {
        self.send(request, payload)?;
        self.receive()
    }

    /// Send a request.
    pub fn send(&self, request: &Request, payload: &[u8]) -> io::Result<()> {
        send(&mut &self.stream, request, payload)
    }

    /// Wait for the next reply; an error if the connection has ended, or is silent for too long.
    pub fn receive(&self) -> io::Result<(Reply, Vec<u8>)> {
        let replies = self.replies.lock().unwrap_or_else(PoisonError::into_inner);
        replies.recv_timeout(SILENCE).map_err(|error| match error {
            RecvTimeoutError::Timeout => io::ErrorKind::TimedOut.into(),
            RecvTimeoutError::Disconnected => io::ErrorKind::ConnectionReset.into(),
        })
    }

    /// Close the connection; calling it twice is harmless.
    pub fn close(&self) {
        self.stream.shutdown(Shutdown::Both).ok();
    }
}
