//! A volume of three downstairs on a loopback address of its own, and servers for it.

#![allow(dead_code, reason = "each file of tests uses a part of it")]
#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails where it should"
)]

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crucible_sim::http;
use nbd::client::{handshake, NbdClient};
use tempfile::TempDir;

pub const DOWNSTAIRS: &str = env!("CARGO_BIN_EXE_crucible-downstairs");
pub const SERVER: &str = env!("CARGO_BIN_EXE_crucible-nbd-server");
pub const UPSTREAM: &str = env!("CARGO_BIN_EXE_crucible-nbd-server-upstream");
pub const KEY: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
pub const SIZE: u64 = 16 << 20;

const PATIENCE: Duration = Duration::from_secs(15);

/// A process, killed at the end.
pub struct Process(Child);

impl Process {
    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

pub struct Volume {
    directory: TempDir,
    address: String,
    encrypted: bool,
    pub downstairs: Vec<Process>,
}

impl Volume {
    pub fn new() -> Self {
        Self::with(&[], &[])
    }

    /// With extra arguments for `create` and `run`.
    pub fn with(create: &[&str], run: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let pid = std::process::id();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut volume = Self {
            directory: TempDir::new().unwrap(),
            address: format!("127.{}.{}.{number}", 2 + pid / 250 % 100, 1 + pid % 250),
            encrypted: create.contains(&"--encrypted"),
            downstairs: Vec::new(),
        };
        for index in 0..3 {
            volume.create(&format!("{index}"), create);
            let process = volume.run(index, run);
            volume.downstairs.push(process);
        }
        volume
    }

    /// A new region in a directory of this name.
    pub fn create(&self, name: &str, words: &[&str]) -> Output {
        Command::new(DOWNSTAIRS)
            .args(["create", "--block-size", "4096", "--extent-size", "1024"])
            .args(["--extent-count", "4", "--uuid"])
            .arg(uuid::Uuid::new_v4().to_string())
            .arg("-d")
            .arg(self.path(name))
            .args(words)
            .output()
            .unwrap()
    }

    /// Start one downstairs and wait until it listens.
    pub fn run(&self, index: usize, words: &[&str]) -> Process {
        let target = self.target(index);
        let child = Command::new(DOWNSTAIRS)
            .args(["run", "-a", &self.address, "-p"])
            .arg(target.port().to_string())
            .arg("-d")
            .arg(self.path(&index.to_string()))
            .args(words)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("a downstairs to listen", || {
            http::get(self.repair(index), "/region-mode").is_ok()
        });
        Process(child)
    }

    /// The directory of a region.
    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    pub fn kill(&mut self, index: usize) {
        self.downstairs[index].kill();
    }

    pub fn restart(&mut self, index: usize) {
        self.downstairs[index] = self.run(index, &[]);
    }

    pub fn target(&self, index: usize) -> SocketAddr {
        self.port(3810 + index as u16)
    }

    pub fn repair(&self, index: usize) -> SocketAddr {
        self.port(7810 + index as u16)
    }

    fn port(&self, port: u16) -> SocketAddr {
        format!("{}:{port}", self.address).parse().unwrap()
    }

    /// The command of a server; `number` distinguishes the volume's servers.
    pub fn command(&self, number: u16, generation: u64) -> (Command, SocketAddr, SocketAddr) {
        let (address, control) = (self.port(20000 + number), self.port(21000 + number));
        let mut command = Command::new(SERVER);
        for index in 0..3 {
            command.args(["-t", &self.target(index).to_string()]);
        }
        if self.encrypted {
            command.args(["-k", KEY]);
        }
        command
            .args(["-g", &generation.to_string()])
            .args(["--address", &address.to_string()])
            .args(["--control", &control.to_string()])
            .env("CRUCIBLE_SIM_RECONNECT_SECONDS", "0.2")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        (command, address, control)
    }

    /// A server that was started.
    pub fn start(&self, number: u16, generation: u64) -> Server {
        let (mut command, address, control) = self.command(number, generation);
        let process = Process(command.spawn().unwrap());
        until("a control server", || TcpStream::connect(control).is_ok());
        Server {
            process,
            address,
            control,
        }
    }

    /// A server in service.
    pub fn serve(&self, number: u16, generation: u64) -> Server {
        let server = self.start(number, generation);
        until("a server to listen", || server.is_listening());
        server
    }

    /// A server with another key than the volume's.
    pub fn serve_with_key(&self, number: u16, generation: u64, key: &str) -> Server {
        let (mut command, address, control) = self.command(number, generation);
        let words = command.get_args().map(ToOwned::to_owned);
        let words = words.map(|word| if word == KEY { key.into() } else { word });
        let words: Vec<_> = words.collect();
        command = Command::new(SERVER);
        command.args(words).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let server = Server {
            process: Process(command.spawn().unwrap()),
            address,
            control,
        };
        until("a server to listen", || server.is_listening());
        server
    }

    /// A server that all three downstairs have refused, and that waits before it retries.
    pub fn refused_by_all(&self, number: u16, generation: u64) -> Server {
        let (mut command, address, control) = self.command(number, generation);
        command.env("CRUCIBLE_SIM_RECONNECT_SECONDS", "60");
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stderr.take().unwrap());
        assert_eq!(said.lines().take(3).count(), 3);
        Server {
            process: Process(child),
            address,
            control,
        }
    }

    /// The output of a server that ends.
    pub fn refused(&self, number: u16, generation: u64) -> Output {
        let (mut command, ..) = self.command(number, generation);
        command.stderr(Stdio::piped()).output().unwrap()
    }
}

pub struct Server {
    pub process: Process,
    pub address: SocketAddr,
    control: SocketAddr,
}

impl Server {
    pub fn is_listening(&self) -> bool {
        // Without a connection: it serves one client at a time.
        let port = format!(":{:04X} ", self.address.port());
        std::fs::read_to_string("/proc/net/tcp")
            .unwrap()
            .lines()
            .any(|line| {
                line.contains(&format!("{}{port}", hex(self.address))) && line.contains(" 0A ")
            })
    }

    pub fn info(&self) -> serde_json::Value {
        let body = http::get(self.control, "/info").unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    pub fn connect(&self) -> Disk {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let export = handshake(&mut stream, b"any name").unwrap();
        assert!(export.send_flush);
        Disk {
            size: export.size,
            client: NbdClient::new(stream, &export),
        }
    }
}

fn hex(address: SocketAddr) -> String {
    let SocketAddr::V4(address) = address else {
        panic!("{address}: not IPv4");
    };
    let octets = address.ip().octets();
    format!("{:08X}", u32::from_le_bytes(octets))
}

/// A client's view.
pub struct Disk {
    pub size: u64,
    client: NbdClient<TcpStream>,
}

impl Disk {
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        self.client.seek(SeekFrom::Start(offset))?;
        self.client.write_all(bytes)
    }

    pub fn read(&mut self, offset: u64, length: usize) -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.client.seek(SeekFrom::Start(offset))?;
        self.client.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    pub fn flush(&mut self) -> std::io::Result<()> {
        self.client.flush()
    }
}

pub fn until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "timed out waiting for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
