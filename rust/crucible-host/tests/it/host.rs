//! A host with one volume. The server is a simulator (`tests/sim/server.rs`); its supervisor and its runtime
//! directory are real.

use std::net::Ipv4Addr;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use crucible_host::port::{Ports, Reserved};
use crucible_host::server::{Detached, Ended, Server, Spec, State, Status};
use crucible_host::SecretString;
use hostos::Process;
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use tempfile::TempDir;
use uuid::Uuid;

pub const SIM: &str = env!("CARGO_BIN_EXE_crucible-server-sim");
pub const KEY: &str = "dGhpcyBpcyBhIGtleSBvZiAzMiBieXRlcywgcmVhbGx5IQ==";
pub const SOON: Duration = Duration::from_secs(10);

/// One volume of one host.
pub struct Host {
    pub root: TempDir,
    pub volume: Uuid,
    pub server: Server,
    pub program: PathBuf,
    pub ports: Reserved,
}

impl Host {
    /// `last` is the last byte of the loopback address of the host, which no other test uses. The simulator
    /// behaves according to `name`.
    pub fn new(last: u8, name: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let volume = Uuid::new_v4();
        let program = root.path().join(name);
        symlink(SIM, &program).unwrap();
        let ports = Ports {
            root: root.path().to_owned(),
            address: Ipv4Addr::new(127, 115, 110, last),
        };
        Host {
            server: Server::at(root.path(), &volume),
            ports: ports.reserve(&volume).unwrap(),
            root,
            volume,
            program,
        }
    }

    pub fn spec(&self) -> Spec {
        Spec {
            volume: self.volume,
            server: self.program.clone(),
            targets: [3810, 3820, 3830].map(|port| ([10, 0, 0, 1], port).into()),
            generation: 7,
            nbd: self.ports.nbd,
            control: self.ports.control,
            key: Some(SecretString::from(KEY)),
        }
    }

    pub fn start(&self) {
        self.server.prepare(&self.spec()).unwrap();
        self.server.start(&supervisor()).unwrap();
    }

    /// Starts the server, and returns its state when it is ready.
    pub fn ready(&self) -> State {
        self.start();
        self.server.wait_ready(SOON).unwrap();
        self.running()
    }

    pub fn running(&self) -> State {
        match self.server.status().unwrap() {
            Status::Running(state) => state,
            other => panic!("not running: {other:?}"),
        }
    }

    /// Waits for the end of the server.
    pub fn ended(&self) -> Ended {
        let mut status = self.server.status().unwrap();
        for _ in 0..1500 {
            if let Status::Ended(ended) = status {
                return ended;
            }
            std::thread::sleep(Duration::from_millis(10));
            status = self.server.status().unwrap();
        }
        panic!("it has not ended: {status:?}");
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.server.directory().join(name)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let stopped = self.server.stop(SOON);
        if !std::thread::panicking() {
            stopped.unwrap();
        }
    }
}

pub fn supervisor() -> Detached {
    Detached {
        command: [SIM, "serve"].map(Into::into).to_vec(),
    }
}

pub fn send(process: &Process, signal: Signal) {
    kill(Pid::from_raw(process.pid.cast_signed()), signal).unwrap();
}
