//! Connects a device.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::Duration;

use hostos::deadline::{by_deadline, Deadline};
use hostos::Process;
use nix::errno::Errno;

use super::handshake::{self, Export};
use super::netlink::{is_taken, Connect, Netlink};
use super::record::{check_identifier, Owner, Record};
use super::{Found, Nbd, NbdDevice, BACKEND, FIRST};
use crate::Error;

/// The time without a reply after which the kernel ends the connection. A server may wait long for its
/// storage. Kernels before 5.4 need a timeout; their default is 30 s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3600);
/// The unit of a virtual machine's requests, in bytes.
const SECTOR: u32 = 512;
/// The largest block size of the kernel's devices, in bytes.
const PAGE: u32 = 4096;
/// The number of attempts for an index that is busy but not connected: udev opens new devices for a moment.
const TRIES: usize = 5;
const RETRY: Duration = Duration::from_millis(50);
/// The time to disconnect a device that differs from the request.
const UNDO: Duration = Duration::from_secs(10);

/// An export to connect, and its identifier.
#[derive(Clone, Debug)]
pub struct ConnectRequest {
    /// The address of the server.
    pub address: SocketAddr,
    /// The export's name; empty for the server's default.
    pub export: String,
    /// The identifier of the device: letters, digits, `-` and `_`, such as a volume's UUID.
    pub identifier: String,
    /// The size that the export must have, in bytes; `None` accepts any.
    pub size: Option<u64>,
    /// Refuse writes.
    pub read_only: bool,
    /// The time for all steps together.
    pub deadline: Duration,
}

impl ConnectRequest {
    fn wrong_export(&self, problem: String, errno: Errno) -> Error {
        Error::NbdExport {
            server: self.address,
            problem,
            errno: errno as i32,
        }
    }

    /// Checks that an export can be the requested disk, and returns the flags for the kernel.
    fn check(&self, export: &Export) -> Result<u16, Error> {
        if let Some(expected) = self.size.filter(|size| *size != export.size) {
            return Err(self.wrong_export(
                format!(
                    "exports {} bytes as {:?}, but {expected} bytes were expected: it serves another \
                     volume, or the declared size of the volume is wrong",
                    export.size, self.export
                ),
                Errno::EMEDIUMTYPE,
            ));
        }
        let block = self.block_size(export);
        let possible = block.is_power_of_two() && block <= PAGE;
        if !possible || export.size == 0 || !export.size.is_multiple_of(block.into()) {
            return Err(self.wrong_export(
                format!(
                    "exports {} bytes in requests of at least {block} bytes: the kernel supports blocks of \
                     {SECTOR} to {PAGE} bytes, and a size that is a multiple of them",
                    export.size,
                ),
                Errno::EINVAL,
            ));
        }
        if self.read_only {
            return Ok(export.flags | handshake::READ_ONLY);
        }
        if export.flags & handshake::READ_ONLY != 0 {
            return Err(self.wrong_export(
                format!(
                    "exports {:?} read-only, but the VDI is writable: start the server without its \
                     read-only option",
                    self.export
                ),
                Errno::EROFS,
            ));
        }
        if export.flags & handshake::SEND_FLUSH == 0 {
            return Err(self.wrong_export(
                "does not support flush, so acknowledged data could be lost: use a server that does"
                    .to_owned(),
                Errno::EOPNOTSUPP,
            ));
        }
        Ok(export.flags)
    }

    fn block_size(&self, export: &Export) -> u32 {
        export.least_request.unwrap_or(SECTOR).max(SECTOR)
    }
}

impl Found {
    /// Returns whether this device fulfils the request and its connection is up.
    fn serves(&self, request: &ConnectRequest) -> bool {
        self.device.connected
            && self.device.read_only == request.read_only
            && request.size.is_none_or(|size| self.device.size == size)
            && self.record.as_ref().is_some_and(|record| {
                record.address == request.address && record.export == request.export
            })
    }
}

impl Nbd {
    /// Connects an export, or returns its connected device.
    ///
    /// Idempotent: returns a device of the same identifier if it fulfils the request. If it does not (its
    /// connection is dead, or it has another server or another mode), it is disconnected first, if it is not
    /// open. Loads the module if it is not loaded. When this returns, the device node exists. Two processes
    /// that connect one identifier at the same time may get two devices: the caller must prevent this.
    ///
    /// # Errors
    /// - [`Error::Invalid`]: an invalid identifier or name; nothing was done.
    /// - [`Error::ModuleMissing`], [`Error::NbdKernel`], [`Error::Io`]: this host.
    /// - [`Error::NbdServer`], [`Error::NbdExport`]: the server; nothing stays connected.
    /// - [`Error::Busy`]: a device of that identifier must be disconnected first, but is in use.
    /// - [`Error::Timeout`]: the server or the kernel did not reply. If it was the kernel, the device may
    ///   still get connected, until this process ends.
    pub fn connect(&self, request: &ConnectRequest) -> Result<NbdDevice, Error> {
        let end = Deadline::after(request.deadline);
        check_identifier(&request.identifier)?;
        self.load_module(end.left())?;
        // First: many servers serve one client only, and the handshake would wait for the end of this one.
        if let Some(found) = self.lookup(&request.identifier)? {
            if found.serves(request) {
                found.ensure_node(end)?;
                return Ok(found.device);
            }
            self.disconnect(&found.device, end.left())?;
        }
        let (stream, export) =
            handshake::negotiate(request.address, &request.export, request.deadline, end)?;
        let flags = request.check(&export)?;
        let record = self.new_record(request, &stream)?;
        let outcome = by_deadline(end, {
            let nbd = self.clone();
            let block_size = request.block_size(&export);
            move || nbd.connect_kernel(record, &stream, export.size, block_size, flags, end)
        });
        match outcome.map_err(|error| refusal(request.address, error))? {
            Some(done) => done?,
            None => {
                return Err(Error::Timeout {
                    action: "connect",
                    object: format!("an NBD device to {}", request.address),
                    waited: request.deadline,
                    advice: "see `dmesg`".to_owned(),
                })
            }
        }
        let made = self.verify(request, &export)?;
        made.ensure_node(end)?;
        log::info!(
            "connected {} to {} as {}",
            made.device.device.display(),
            request.address,
            request.identifier
        );
        Ok(made.device)
    }

    fn new_record(&self, request: &ConnectRequest, stream: &TcpStream) -> Result<Record, Error> {
        let socket = stream
            .as_fd()
            .try_clone_to_owned()
            .and_then(|socket| File::from(socket).metadata())
            .map_err(|source| Error::NbdServer {
                action: "keep the connection to",
                server: request.address,
                source,
            })?;
        let process = Process::this()?;
        Ok(Record {
            identifier: request.identifier.clone(),
            index: FIRST,
            boot_id: process.boot_id,
            address: request.address,
            export: request.export.clone(),
            socket: socket.ino(),
            owner: Owner {
                pid: process.pid,
                start_time: process.start_time,
            },
            connection: None,
        })
    }

    /// Gives the kernel the connection, and writes its record.
    fn connect_kernel(
        &self,
        mut record: Record,
        stream: &TcpStream,
        size: u64,
        block_size: u32,
        flags: u16,
        end: Deadline,
    ) -> Result<(), Error> {
        let server = record.address;
        let refused = |source| refusal(server, source);
        let netlink = Netlink::open()?;
        let backend = format!("{BACKEND}{}", record.identifier);
        for attempt in 0.. {
            record.index = self.free_index(attempt / TRIES)?;
            self.records.write(&record)?;
            let result = netlink.connect(&Connect {
                index: record.index,
                socket: stream.as_raw_fd(),
                size,
                block_size,
                flags,
                timeout: REQUEST_TIMEOUT,
                backend: &backend,
            });
            match result {
                Ok(()) => break,
                Err(error) if is_taken(&error) && !end.passed() => thread::sleep(RETRY),
                Err(error) => {
                    self.records.remove(&record.identifier)?;
                    return Err(refused(error));
                }
            }
        }
        let recorded = self.sysfs.connection(record.index).and_then(|connection| {
            let lost = || refused(io::Error::other("the device is gone"));
            record.connection = Some(connection.ok_or_else(lost)?);
            self.records.write(&record)
        });
        if recorded.is_err() {
            // Without a record, the next process might not find the connection.
            netlink.disconnect(record.index).map_err(refused)?;
            self.records.remove(&record.identifier)?;
        }
        recorded
    }

    /// Returns the index of a device that is not connected; skips the first `skipped` ones.
    fn free_index(&self, skipped: usize) -> Result<u32, Error> {
        let connected = self.sysfs.connected()?;
        let mut free = (FIRST..).filter(|index| !connected.contains(index));
        // The host has too little memory to use all indices.
        Ok(free.nth(skipped).unwrap_or(u32::MAX))
    }

    /// Checks that the device fulfils the request, and disconnects it if not: kernels round sizes.
    fn verify(&self, request: &ConnectRequest, export: &Export) -> Result<Found, Error> {
        let made = self
            .lookup(&request.identifier)?
            .ok_or_else(|| refusal(request.address, io::Error::other("the device is gone")))?;
        let device = &made.device;
        if device.size == export.size && device.read_only == request.read_only {
            return Ok(made);
        }
        let wrong = format!(
            "the device has {} bytes of {}, and is {}",
            device.size,
            export.size,
            if device.read_only {
                "read-only"
            } else {
                "writable"
            }
        );
        self.disconnect(device, UNDO)?;
        Err(refusal(request.address, io::Error::other(wrong)))
    }
}

fn refusal(server: SocketAddr, source: io::Error) -> Error {
    Error::NbdKernel {
        action: format!("connect an NBD device to {server}"),
        source,
        advice: "see `dmesg`",
    }
}

#[cfg(test)]
mod tests;
