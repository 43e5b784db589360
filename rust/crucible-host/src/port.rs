//! The loopback ports of this host's servers.
//!
//! A server that finds its port taken has taken its volume from the running user before it notices:
//! ports are reserved, and seen to be free, before anything is started.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hostos::{files, json_file, Deadline, LockFile};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::server::{self, folder};
use crate::Error;

/// Where servers listen: an address of this host's loopback that nothing else uses, so that the
/// route to it can be given other properties ([`crate::route`]) than that to 127.0.0.1.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 115, 109, 1);

/// The first port of the first pair; ports from 32768 are the kernel's to give away.
const FIRST: u16 = 20_000;
/// Pairs of ports there are.
const PAIRS: u16 = 1_000;
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
    /// [`Error::NoPort`] if none is free, [`Error::Listen`] if nothing can listen there,
    /// [`Error::Locked`] if another process keeps looking, [`Error::File`].
    pub fn reserve(&self, volume: &Uuid) -> Result<Reserved, Error> {
        folder::make(&self.root)?;
        let _lock = self.lock()?;
        let own = folder::make(&folder::path(&self.root, volume))?;
        if let Some(reserved) = read(&own)? {
            if is_free(&reserved)? {
                return Ok(reserved);
            }
        }
        let mut taken = Vec::new();
        for other in server::all(&self.root)?
            .iter()
            .filter(|other| *other != volume)
        {
            taken.extend(read(&folder::path(&self.root, other))?);
        }
        for pair in candidates(volume).map(|port| self.pair(port)) {
            if !taken.contains(&pair) && is_free(&pair)? {
                json_file::write(&own.join(FILE), &pair)?;
                return Ok(pair);
            }
        }
        Err(Error::NoPort {
            volume: *volume,
            address: self.address,
            first: FIRST,
            last: FIRST + 2 * PAIRS - 1,
        })
    }

    /// Gives up a volume's reservation. It is no error if there is none.
    ///
    /// # Errors
    /// [`Error::File`]
    pub fn release(&self, volume: &Uuid) -> Result<(), Error> {
        Ok(files::remove(&folder::path(&self.root, volume).join(FILE))?)
    }

    fn pair(&self, port: u16) -> Reserved {
        let at = |port| SocketAddr::new(IpAddr::V4(self.address), port);
        Reserved {
            nbd: at(port),
            control: at(port + 1),
        }
    }

    fn lock(&self) -> Result<LockFile, Error> {
        folder::lock(
            &self.root.join("ports.lock"),
            Deadline::after(LOCK_DEADLINE),
        )
    }
}

/// The first ports of all pairs. Each volume begins somewhere else: a port that was one volume's is
/// not the first that the next one gets.
fn candidates(volume: &Uuid) -> impl Iterator<Item = u16> {
    let (_, low) = volume.as_u64_pair();
    (0..PAIRS).map(move |nth| {
        // Below PAIRS, as the remainder is.
        let begin = u16::try_from(low % u64::from(PAIRS)).unwrap_or_default();
        FIRST + 2 * ((begin + nth) % PAIRS)
    })
}

fn read(folder: &Path) -> Result<Option<Reserved>, Error> {
    Ok(json_file::read(&folder.join(FILE))?)
}

/// Binds as the server will: a port in TIME_WAIT is free to both.
fn is_free(pair: &Reserved) -> Result<bool, Error> {
    for address in [pair.nbd, pair.control] {
        match TcpListener::bind(address) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Ok(false),
            Err(source) => return Err(Error::Listen { address, source }),
        }
    }
    Ok(true)
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

    /// Volumes that begin at the last pair but two.
    fn volume(number: u64) -> Uuid {
        Uuid::from_u64_pair(number, 997)
    }

    #[test]
    fn no_two_volumes_get_the_same_port_and_each_keeps_its_own() {
        let root = tempfile::tempdir().unwrap();
        let ports = ports(root.path(), 1);
        let first = ports.reserve(&volume(1)).unwrap();
        let second = ports.reserve(&volume(2)).unwrap();
        assert_eq!((first.nbd.port(), first.control.port()), (21_994, 21_995));
        assert_eq!((second.nbd.port(), second.control.port()), (21_996, 21_997));
        assert_eq!(ports.reserve(&volume(1)).unwrap(), first);

        ports.release(&volume(1)).unwrap();
        ports.release(&volume(1)).unwrap();
        assert_eq!(ports.reserve(&volume(3)).unwrap(), first);
    }

    #[test]
    fn a_port_on_which_somebody_listens_is_given_to_nobody() {
        let root = tempfile::tempdir().unwrap();
        let ports = ports(root.path(), 2);
        let first = ports.reserve(&volume(1)).unwrap();
        // Its own server, which was not stopped, or something else.
        let _server = TcpListener::bind(first.control).unwrap();
        assert_eq!(ports.reserve(&volume(1)).unwrap().nbd.port(), 21_996);
    }

    #[test]
    fn reservations_at_the_same_time_do_not_meet() {
        let root = tempfile::tempdir().unwrap();
        let ports = ports(root.path(), 3);
        let mut given: Vec<u16> = std::thread::scope(|scope| {
            let reserve = |number| ports.reserve(&volume(number)).unwrap().nbd.port();
            let threads: Vec<_> = (0..6)
                .map(|number| scope.spawn(move || reserve(number)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        given.sort_unstable();
        assert_eq!(given, [20_000, 20_002, 20_004, 21_994, 21_996, 21_998]);
    }

    #[test]
    fn a_host_whose_loopback_is_not_there_says_so() {
        let root = tempfile::tempdir().unwrap();
        let mut ports = ports(root.path(), 4);
        // Not an address of this host: nothing can be bound to it.
        ports.address = Ipv4Addr::new(192, 0, 2, 1);
        let error = ports.reserve(&volume(1)).unwrap_err().to_string();
        assert!(error.contains("192.0.2.1:21994"), "{error}");
        assert!(error.contains("EADDRNOTAVAIL (99)"), "{error}");
    }
}
