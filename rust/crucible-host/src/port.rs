//! The loopback ports of this host's servers.
//!
//! A server takes its volume from the current user before it detects that its port is in use. So ports are
//! reserved, and checked to be free, before a server starts.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hostos::{files, json_file, Deadline, LockFile};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::server::{self, runtime_directory};
use crate::Error;

/// The address that servers listen on. No other program uses this loopback address, so that its route can
/// have other properties ([`crate::route`]) than the route to 127.0.0.1.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 115, 109, 1);

/// The first port of the first pair. The kernel assigns ports from 32768 to clients.
const FIRST: u16 = 20_000;
/// The number of pairs of ports.
const PAIRS: u16 = 1_000;
/// How long another process of this host may search for ports.
const LOCK_DEADLINE: Duration = Duration::from_secs(10);
/// The reservation, a file of the volume's runtime directory.
const FILE: &str = "ports.json";

/// The ports of this host. A pair belongs to one volume, whose runtime directory records it.
#[derive(Clone, Debug)]
pub struct Ports {
    /// The parent of all runtime directories, as for [`crate::server::Server::at`].
    pub root: PathBuf,
    /// The address that servers listen on: [`ADDRESS`], unless several hosts share one kernel.
    pub address: Ipv4Addr,
}

/// Two ports of one volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reserved {
    /// The address of the volume's NBD export.
    pub nbd: SocketAddr,
    /// The address of the upstairs' `/info`.
    pub control: SocketAddr,
}

impl Ports {
    /// Returns the ports of the host whose runtime directories are in `root`.
    pub fn new(root: &Path) -> Self {
        Ports {
            root: root.to_owned(),
            address: ADDRESS,
        }
    }

    /// Reserves two ports for a volume. Both are free, and no other volume of this host gets them until
    /// they are released. An earlier reservation of the volume stays if its ports are free; else it is
    /// replaced. Creates the volume's runtime directory if it is missing.
    ///
    /// # Errors
    /// [`Error::NoPort`] if none is free, [`Error::Listen`] if no process can listen on the address,
    /// [`Error::Locked`] if another process searches for too long, [`Error::File`].
    pub fn reserve(&self, volume: &Uuid) -> Result<Reserved, Error> {
        runtime_directory::create(&self.root)?;
        let _lock = self.lock()?;
        let own = runtime_directory::create(&runtime_directory::path(&self.root, volume))?;
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
            taken.extend(read(&runtime_directory::path(&self.root, other))?);
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

    /// Removes a volume's reservation. Succeeds if there is none.
    ///
    /// # Errors
    /// [`Error::File`]
    pub fn release(&self, volume: &Uuid) -> Result<(), Error> {
        Ok(files::remove(
            &runtime_directory::path(&self.root, volume).join(FILE),
        )?)
    }

    fn pair(&self, port: u16) -> Reserved {
        let at = |port| SocketAddr::new(IpAddr::V4(self.address), port);
        Reserved {
            nbd: at(port),
            control: at(port + 1),
        }
    }

    fn lock(&self) -> Result<LockFile, Error> {
        runtime_directory::lock(
            &self.root.join("ports.lock"),
            Deadline::after(LOCK_DEADLINE),
        )
    }
}

/// Returns the first ports of all pairs. Each volume begins with another pair, so that a volume rarely gets
/// a port that another one has just released.
fn candidates(volume: &Uuid) -> impl Iterator<Item = u16> {
    let (_, low) = volume.as_u64_pair();
    (0..PAIRS).map(move |nth| {
        // Below PAIRS, as the remainder is.
        let begin = u16::try_from(low % u64::from(PAIRS)).unwrap_or_default();
        FIRST + 2 * ((begin + nth) % PAIRS)
    })
}

fn read(directory: &Path) -> Result<Option<Reserved>, Error> {
    Ok(json_file::read(&directory.join(FILE))?)
}

/// Binds to the port with the options that the server uses: a port in TIME_WAIT is free for both.
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

    /// `last` is the last byte of the address, which no other test uses.
    fn ports(root: &Path, last: u8) -> Ports {
        Ports {
            root: root.join("crucible"),
            address: Ipv4Addr::new(127, 115, 111, last),
        }
    }

    /// Volumes that begin at the third pair from the end.
    fn volume(number: u64) -> Uuid {
        Uuid::from_u64_pair(number, 997)
    }

    #[test]
    fn each_volume_keeps_ports_of_its_own() {
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
    fn a_port_in_use_is_not_reserved() {
        let root = tempfile::tempdir().unwrap();
        let ports = ports(root.path(), 2);
        let first = ports.reserve(&volume(1)).unwrap();
        // Its own server, which was not stopped, or another program.
        let _server = TcpListener::bind(first.control).unwrap();
        assert_eq!(ports.reserve(&volume(1)).unwrap().nbd.port(), 21_996);
    }

    #[test]
    fn concurrent_reservations_get_different_ports() {
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
    fn an_address_that_the_host_lacks_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let mut ports = ports(root.path(), 4);
        // Not an address of this host: nothing can be bound to it.
        ports.address = Ipv4Addr::new(192, 0, 2, 1);
        let error = ports.reserve(&volume(1)).unwrap_err().to_string();
        assert!(error.contains("192.0.2.1:21994"), "{error}");
        assert!(error.contains("EADDRNOTAVAIL (99)"), "{error}");
    }
}
