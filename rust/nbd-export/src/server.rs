//! The server: one port, all exports of this host.
//!
//! A connection takes what it needs of the registry, its device and two sockets. It has no lock that another one
//! waits for while it does I/O, so that an export is added, removed, or dead without an effect on others.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use hostos::deadline::by_deadline;
use hostos::errno::describe_io;
use hostos::{files, Deadline, FileError, LockFile};
use rustls::ServerConfig;

use crate::allocation::Allocation;
use crate::channel::{end_if_gone, Channel};
use crate::clients::Clients;
use crate::connections::{Connections, Place};
use crate::control;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::handshake::{greet, Chosen, Encryption, Handshake, Outcome};
use crate::memory::Memory;
use crate::offer::{Description, Exports, Refused};
use crate::registry::{Export, Registry};
use crate::settings::Settings;
use crate::tls;
use crate::transmission::{serve, Session};

/// For all options of a client together.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// For opening a device.
const OPENING: Duration = Duration::from_secs(10);
/// How often the server looks for devices that do not respond.
const LOOK: Duration = Duration::from_secs(1);

/// Opens the device of an export.
pub trait Opener: Send + Sync {
    /// Returns the device, and what can be asked about its allocation.
    ///
    /// # Errors
    /// The device cannot be opened.
    fn open(&self, export: &Export) -> io::Result<Opened>;
}

/// A device, and what can be asked about its allocation.
pub type Opened = (Arc<dyn Disk>, Option<Arc<dyn Allocation>>);

/// The files of the server below a directory of this host.
#[derive(Debug)]
pub struct Paths(PathBuf);

impl Paths {
    /// Files in that directory.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self(directory.to_owned())
    }

    fn registry(&self) -> PathBuf {
        self.0.join("exports")
    }

    fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    fn control(&self) -> PathBuf {
        self.0.join("control")
    }
}

/// A server that listens.
pub struct Server {
    listener: TcpListener,
    shared: Arc<Shared>,
    _lock: LockFile,
}

struct Shared {
    clients: Arc<Clients>,
    opener: Arc<dyn Opener>,
    tls: Option<Arc<ServerConfig>>,
    connections: Arc<Connections>,
    memory: Arc<Memory>,
}

impl Server {
    /// Listens on the address of the settings and on the control socket.
    ///
    /// # Errors
    /// [`Error`].
    pub fn start(settings: &Settings, paths: &Paths, opener: Arc<dyn Opener>) -> Result<Self> {
        files::create_directory(&paths.registry())?;
        let lock = LockFile::acquire(&paths.lock(), Deadline::after(Duration::ZERO))?;
        let lock = lock.ok_or(Error::Running)?;
        let tls = settings.tls.as_ref().map(tls::configuration).transpose()?;
        let address = settings.address;
        let listener =
            TcpListener::bind(address).map_err(|source| Error::Listen { address, source })?;
        let control = bind_control(&paths.control())?;
        let clients = Arc::new(Clients::new(Registry::new(&paths.registry())));
        let status = control::Status {
            address,
            tls: tls.is_some(),
        };
        start_thread("export-control", {
            let clients = clients.clone();
            move || control::serve(&control, &clients, &status)
        })?;
        start_thread("export-watch", {
            let (clients, limit) = (clients.clone(), settings.timeout);
            move || loop {
                thread::sleep(LOOK.min(limit));
                clients.expire(limit);
            }
        })?;
        log::info!(
            "exports are served on {address}{}",
            if tls.is_some() { " with TLS" } else { "" }
        );
        let shared = Shared {
            clients,
            opener,
            tls,
            connections: Arc::default(),
            memory: Arc::default(),
        };
        Ok(Self {
            listener,
            shared: Arc::new(shared),
            _lock: lock,
        })
    }

    /// Serves clients until the process ends.
    pub fn run(&self) -> ! {
        loop {
            let (client, peer) = match self.listener.accept() {
                Ok(client) => client,
                Err(error) => {
                    log::warn!(
                        "exports: cannot accept a connection: {}",
                        describe_io(&error)
                    );
                    thread::sleep(Duration::from_millis(100)); // no descriptor is free
                    continue;
                }
            };
            if let Err(error) = self.take(client, peer) {
                log::warn!("exports: {peer} is refused: {}", describe_io(&error));
            }
        }
    }

    /// Serves a client on a thread of its own.
    fn take(&self, client: TcpStream, peer: SocketAddr) -> io::Result<()> {
        let place = self.shared.connections.enter(&client)?;
        if self.shared.tls.is_none() {
            place.admit()?;
        }
        let shared = self.shared.clone();
        let started = thread::Builder::new()
            .name("nbd-client".to_owned())
            .spawn(move || {
                if let Err(error) = converse(&shared, client, peer, place) {
                    log::info!(
                        "exports: the connection of {peer} ended: {}",
                        describe_io(&error)
                    );
                }
            });
        started.map(drop)
    }
}

fn converse(
    shared: &Arc<Shared>,
    client: TcpStream,
    peer: SocketAddr,
    place: Place,
) -> io::Result<()> {
    client.set_nodelay(true)?;
    end_if_gone(&client)?;
    let end = Deadline::after(HANDSHAKE);
    let offered = Offered {
        shared: shared.clone(),
        peer: peer.to_string(),
        place: Arc::new(place),
    };
    let mut channel = Channel::Tcp(client);
    let no_zeroes = greet(&mut channel, end)?;
    let mut encryption = match shared.tls {
        Some(_) => Encryption::Required,
        None => Encryption::Absent,
    };
    loop {
        let outcome = Handshake::new(&offered, encryption, no_zeroes, end).run(&mut channel)?;
        match (outcome, channel, &shared.tls) {
            (Outcome::Chosen(chosen), channel, _) => return transmit(channel, chosen, &offered),
            (Outcome::StartTls, Channel::Tcp(client), Some(with)) => {
                channel = tls::accept(client, with, end)?;
                offered.place.admit()?;
                encryption = Encryption::Active;
            }
            _ => return Ok(()),
        }
    }
}

fn transmit(channel: Channel, chosen: Chosen<Session>, to: &Offered) -> io::Result<()> {
    let (name, peer) = (chosen.session.name.clone(), &to.peer);
    log::info!("exports: {peer} uses {name}");
    serve(channel, chosen, to.shared.memory.clone())?;
    log::info!("exports: {peer} has ended with {name}");
    Ok(())
}

/// The exports, for one client.
struct Offered {
    shared: Arc<Shared>,
    peer: String,
    place: Arc<Place>,
}

impl Offered {
    /// Opens a device. A dead one holds up its own client only.
    fn open_device(&self, export: &Export) -> std::result::Result<(Description, Opened), Refused> {
        let (opener, of) = (self.shared.opener.clone(), export.clone());
        let opening = self.shared.clients.begin_opening(export)?;
        let opened = by_deadline(Deadline::after(OPENING), move || {
            let opened = opener.open(&of);
            drop(opening); // perhaps long after the deadline
            opened
        });
        let refused = |text| Refused {
            is_unknown: false,
            text: format!(
                "export {:?}: {}: {text}",
                export.name,
                export.device.display()
            ),
        };
        let opened = match opened {
            Ok(Some(Ok(opened))) => opened,
            Ok(Some(Err(error))) | Err(error) => return Err(refused(describe_io(&error))),
            Ok(None) => return Err(refused(format!("not opened in {} s", OPENING.as_secs()))),
        };
        let description = Description {
            size: opened.0.size(),
            block: opened.0.block(),
            read_only: export.read_only,
        };
        Ok((description, opened))
    }
}

impl Exports for Offered {
    type Session = Session;

    fn names(&self) -> Vec<String> {
        let exports = self.shared.clients.registry().exports();
        exports.into_iter().map(|export| export.name).collect()
    }

    fn describe(&self, name: &str) -> std::result::Result<Description, Refused> {
        let export = self.shared.clients.registry().find(name)?;
        let for_reading = Export {
            read_only: true,
            ..export.clone()
        };
        let (found, _) = self.open_device(&for_reading)?;
        Ok(Description {
            read_only: export.read_only,
            ..found
        })
    }

    fn open(&self, name: &str) -> std::result::Result<(Description, Session), Refused> {
        let (export, claim) = self.shared.clients.claim(name, &self.peer)?;
        let (description, (disk, allocation)) = self.open_device(&export)?;
        claim.check()?;
        let session = Session {
            name: export.name,
            read_only: export.read_only,
            disk,
            allocation,
            claim,
            place: self.place.clone(),
        };
        Ok((description, session))
    }
}

fn bind_control(path: &Path) -> Result<UnixListener> {
    files::remove(path)?; // of a server that was killed
    let bound = UnixListener::bind(path).map_err(|error| FileError::new("create", path, error))?;
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, mode).map_err(|error| FileError::new("change", path, error))?;
    Ok(bound)
}

fn start_thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let started = thread::Builder::new().name(name.to_owned()).spawn(work);
    let failed = |error| FileError::new("start a thread of", Path::new(name), error);
    started.map(drop).map_err(|error| failed(error).into())
}
