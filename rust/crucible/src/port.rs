//! The loopback ports of this host's servers.
//!
//! A server that finds its port taken has taken its volume from the running user before it notices:
//! ports are reserved, and seen to be free, before anything is started.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::deadline::Deadline;
use crate::server::{self, folder};
use crate::Error;

/// Where servers listen: an address of this host's loopback that nothing else uses, so that the
/// route to it can be given other properties ([`crate::route`]) than that to 127.0.0.1.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 115, 109, 1);

/// The first port of the first pair; ports from 32768 are the kernel's to give away.
const FIRST: u16 = 20_000;
/// The first port of the last pair.
const LAST: u16 = 21_998;
/// How long another process of this host may look for ports.
const LOCK_DEADLINE: Duration = Duration::from_secs(10);
/// The reservation, in the volume's run folder: it goes where the folder goes.
const FILE: &str = "ports.json";

/// The ports of this host. A pair belongs to one volume, and is noted in its run folder.
#[derive(Clone, Debug)]
pub struct Ports {
    /// The folder of all run folders, as for [`crate::server::Server::at`].
    pub root: PathBuf,
    /// Where servers listen: [`ADDRESS`], but for hosts that share one kernel.
    pub address: Ipv4Addr,
}

/// Two ports of one volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reserved {
    /// Where the server offers the volume.
    pub nbd: SocketAddr,
    /// Where its upstairs tells about itself.
    pub control: SocketAddr,
}

impl Ports {
    /// The ports of the host whose run folders are in `root`.
    pub fn new(root: &Path) -> Self {
        Ports {
            root: root.to_owned(),
            address: ADDRESS,
        }
    }

    /// Reserves two ports for a volume. Both are free at this moment, and no other volume of this
    /// host gets them until they are released. A reservation that the volume has already is kept
    /// if its ports are free, and replaced otherwise. The volume's run folder is made if need be.
    ///
    /// # Errors
    /// [`Error::NoPort`] if none is free, [`Error::Locked`] if another process keeps looking,
    /// [`Error::File`].
    pub fn reserve(&self, volume: &Uuid) -> Result<Reserved, Error> {
        folder::make(&self.root)?;
        let _lock = self.lock()?;
        let own = folder::make(&folder::path(&self.root, volume))?;
        if let Some(reserved) = read(&own)?.filter(is_free) {
            return Ok(reserved);
        }
        let mut taken = Vec::new();
        for other in server::all(&self.root)?
            .iter()
            .filter(|other| *other != volume)
        {
            taken.extend(read(&folder::path(&self.root, other))?);
        }
        let reserved = (FIRST..=LAST)
            .step_by(2)
            .map(|port| self.pair(port))
            .find(|pair| !taken.contains(pair) && is_free(pair))
            .ok_or(Error::NoPort {
                volume: *volume,
                address: self.address,
                first: FIRST,
                last: LAST + 1,
            })?;
        folder::write(&own.join(FILE), &reserved)?;
        Ok(reserved)
    }

    /// Gives up a volume's reservation. It is no error if there is none.
    ///
    /// # Errors
    /// [`Error::File`]
    pub fn release(&self, volume: &Uuid) -> Result<(), Error> {
        folder::remove_file(&folder::path(&self.root, volume).join(FILE))
    }

    fn pair(&self, port: u16) -> Reserved {
        let at = |port| SocketAddr::new(IpAddr::V4(self.address), port);
        Reserved {
            nbd: at(port),
            control: at(port + 1),
        }
    }

    fn lock(&self) -> Result<File, Error> {
        folder::lock(
            &self.root.join("ports.lock"),
            Deadline::after(LOCK_DEADLINE),
        )
    }
}

fn read(folder: &Path) -> Result<Option<Reserved>, Error> {
    folder::read(&folder.join(FILE))
}

/// Binds as the server will: a port in TIME_WAIT is free to both.
fn is_free(pair: &Reserved) -> bool {
    [pair.nbd, pair.control]
        .iter()
        .all(|address| TcpListener::bind(address).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `last` is the last byte of the address: each test has its own.
    fn ports(root: &Path, last: u8) -> Ports {
        Ports {
            root: root.join("crucible"),
            address: Ipv4Addr::new(127, 115, 111, last),
        }
    }

    #[test]
    fn no_two_volumes_get_the_same_port_and_each_keeps_its_own() {
        let root = tempfile::tempdir().unwrap();
        let ports = ports(root.path(), 1);
        let (web, database) = (Uuid::new_v4(), Uuid::new_v4());
        let first = ports.reserve(&web).unwrap();
        let second = ports.reserve(&database).unwrap();
        assert_eq!((first.nbd.port(), first.control.port()), (20_000, 20_001));
        assert_eq!((second.nbd.port(), second.control.port()), (20_002, 20_003));
        assert_eq!(ports.reserve(&web).unwrap(), first);

        ports.release(&web).unwrap();
        ports.release(&web).unwrap();
        assert_eq!(ports.reserve(&Uuid::new_v4()).unwrap(), first);
    }

    #[test]
    fn a_port_on_which_somebody_listens_is_given_to_nobody() {
        let root = tempfile::tempdir().unwrap();
        let ports = ports(root.path(), 2);
        let volume = Uuid::new_v4();
        let first = ports.reserve(&volume).unwrap();
        // Its own server, which was not stopped, or something else.
        let _server = TcpListener::bind(first.control).unwrap();
        assert_eq!(ports.reserve(&volume).unwrap().nbd.port(), 20_002);
    }

    #[test]
    fn reservations_at_the_same_time_do_not_meet() {
        let root = tempfile::tempdir().unwrap();
        let ports = ports(root.path(), 3);
        let mut given: Vec<u16> = std::thread::scope(|scope| {
            let reserve = || ports.reserve(&Uuid::new_v4()).unwrap().nbd.port();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(reserve)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        given.sort_unstable();
        assert_eq!(given, (20_000..20_016).step_by(2).collect::<Vec<_>>());
    }
}
