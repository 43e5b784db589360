//! Encryption of a connection, by rustls.
//!
//! The transmission reads and sends at the same time, on several threads, and a TLS connection is one object. So a
//! thread of its own passes the bytes between the client and a pair of sockets.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use hostos::Deadline;
use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};

use crate::channel::Channel;
use crate::error::{Error, Result};
use crate::settings::TlsFiles;

const PART: usize = 64 << 10;
/// For what is left to be sent when the server has closed its end.
const LAST: Duration = Duration::from_secs(5);

/// Returns the configuration of the files: TLS 1.2 and 1.3, and clients with a certificate of the CA only.
///
/// # Errors
/// [`Error::Certificate`].
pub fn configuration(files: &TlsFiles) -> Result<Arc<ServerConfig>> {
    let chain = certificates(&files.certificate, "certificate")?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| unusable(&files.key, "key", &error))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&files.client_ca, "client-ca")? {
        let added = roots.add(certificate);
        added.map_err(|error| unusable(&files.client_ca, "client-ca", &error))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
        .build()
        .map_err(|error| unusable(&files.client_ca, "client-ca", &error))?;
    let built = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|of| {
            of.with_client_cert_verifier(verifier)
                .with_single_cert(chain, key)
        });
    built
        .map(Arc::new)
        .map_err(|error| unusable(&files.certificate, "certificate", &error))
}

fn certificates(path: &Path, purpose: &'static str) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>);
    let found = read.map_err(|error| unusable(path, purpose, &error))?;
    if found.is_empty() {
        return Err(unusable(path, purpose, &"it has no certificate"));
    }
    Ok(found)
}

fn unusable(path: &Path, purpose: &'static str, reason: &dyn std::fmt::Display) -> Error {
    Error::Certificate {
        path: path.to_owned(),
        purpose,
        reason: reason.to_string(),
    }
}

/// Encrypts a connection. Returns the end that the server uses.
///
/// # Errors
/// The client has no certificate of the CA, or does not finish TLS's handshake before the deadline.
pub fn accept(
    mut client: TcpStream,
    with: &Arc<ServerConfig>,
    end: Deadline,
) -> io::Result<Channel> {
    let mut tls = ServerConnection::new(with.clone()).map_err(io::Error::other)?;
    while tls.is_handshaking() {
        if end.passed() {
            return Err(ErrorKind::TimedOut.into());
        }
        let left = Some(end.left().max(Duration::from_millis(1)));
        client.set_read_timeout(left)?;
        client.set_write_timeout(left)?;
        if tls.wants_write() {
            tls.write_tls(&mut client)?;
        } else {
            if tls.read_tls(&mut client)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if let Err(error) = tls.process_new_packets() {
                let _ = tls.write_tls(&mut client); // the alert
                return Err(io::Error::other(error));
            }
        }
    }
    tls.set_buffer_limit(None); // the pump reads nothing while something is unsent
    let (inner, outer) = UnixStream::pair()?;
    client.set_nonblocking(true)?;
    inner.set_nonblocking(true)?;
    thread::Builder::new()
        .name("nbd-tls".to_owned())
        .spawn(move || {
            let mut pump = Pump {
                tls,
                client,
                inner,
                received: Vec::new(),
                ended: false,
            };
            if let Err(error) = pump.run() {
                log::debug!("a TLS connection: {error}");
            }
            let _ = pump.client.shutdown(Shutdown::Both);
        })?;
    Ok(Channel::Tls(outer))
}

/// Passes bytes between a client and the server's end.
struct Pump {
    tls: ServerConnection,
    client: TcpStream,
    inner: UnixStream,
    /// Decrypted, and not yet taken by the server.
    received: Vec<u8>,
    /// The client has ended its side.
    ended: bool,
}

impl Pump {
    fn run(&mut self) -> io::Result<()> {
        self.decrypt()?; // what came with the last message of the handshake
        self.deliver()?;
        loop {
            if self.ended && self.received.is_empty() {
                return Ok(());
            }
            if self.wait()? {
                return self.drain();
            }
            self.receive()?;
            self.deliver()?;
            if self.collect()? {
                return self.finish();
            }
            self.transmit()?;
        }
    }

    /// Waits until there is something to do. Returns whether the server has closed its end.
    ///
    /// `poll` reports an end that is gone also if it is not asked about it: it has to be acted on at once.
    fn wait(&self) -> io::Result<bool> {
        let (mut client, mut server) = (PollFlags::empty(), PollFlags::empty());
        if self.tls.wants_write() {
            client |= PollFlags::POLLOUT;
        } else {
            server |= PollFlags::POLLIN;
        }
        if self.received.is_empty() {
            client |= PollFlags::POLLIN;
        } else {
            server |= PollFlags::POLLOUT;
        }
        let mut both = [
            PollFd::new(self.client.as_fd(), client),
            PollFd::new(self.inner.as_fd(), server),
        ];
        match poll(&mut both, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let gone = PollFlags::POLLHUP | PollFlags::POLLERR;
        let [client, server] = both.map(|of| of.revents().is_some_and(|is| is.intersects(gone)));
        if client && !self.received.is_empty() {
            return Err(ErrorKind::ConnectionReset.into());
        }
        Ok(server)
    }

    /// Sends what the server has left when it closed its end, if the client takes it.
    fn drain(&mut self) -> io::Result<()> {
        self.client.set_nonblocking(false)?;
        self.client.set_write_timeout(Some(LAST))?;
        loop {
            while self.tls.wants_write() {
                self.tls.write_tls(&mut self.client)?;
            }
            if self.collect()? {
                return self.finish();
            }
        }
    }

    fn receive(&mut self) -> io::Result<()> {
        if !self.received.is_empty() || self.ended {
            return Ok(());
        }
        match self.tls.read_tls(&mut self.client) {
            Ok(0) => self.ended = true,
            Ok(_) => {}
            Err(error) if is_later(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
        self.decrypt()
    }

    fn decrypt(&mut self) -> io::Result<()> {
        let state = self.tls.process_new_packets().map_err(io::Error::other)?;
        self.received.resize(state.plaintext_bytes_to_read(), 0);
        self.tls.reader().read_exact(&mut self.received)
    }

    fn deliver(&mut self) -> io::Result<()> {
        while !self.received.is_empty() {
            match self.inner.write(&self.received) {
                Ok(written) => drop(self.received.drain(..written)),
                Err(error) if is_later(&error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Returns whether the server has closed its end.
    fn collect(&mut self) -> io::Result<bool> {
        if self.tls.wants_write() {
            return Ok(false);
        }
        let mut part = [0; PART];
        match self.inner.read(&mut part) {
            Ok(0) => return Ok(true),
            Ok(read) => self.tls.writer().write_all(&part[..read])?,
            Err(error) if is_later(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(false)
    }

    fn transmit(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.client) {
                Ok(_) => {}
                Err(error) if is_later(&error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.tls.send_close_notify();
        self.client.set_nonblocking(false)?;
        self.client.set_write_timeout(Some(LAST))?;
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.client)?;
        }
        Ok(())
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
