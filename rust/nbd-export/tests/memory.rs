//! The memory of the server is bounded. A process of its own: its size is measured.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nbd_export::{
    Aligned, Device, Disk, Export, Opened, Opener, Paths, Progress, Server, Settings, Zero,
};
use serde_json::Value;
use uuid::Uuid;

const MIB: usize = 1 << 20;
const CLIENTS: usize = 64;
/// Writes of 32 MiB, of 4096 bytes, and of zeros.
const REQUESTS: usize = 2;
const SMALL: usize = 640;
const ZEROS: usize = 16;
const WRITE: u16 = 1;
const WRITE_ZEROES: u16 = 6;
const NO_HOLE: u16 = 1 << 1;
/// The largest size of the process that is allowed.
const MOST: usize = 256 * MIB;

/// A device that takes its time, and keeps nothing but zeros.
struct Null(Device);

impl Disk for Null {
    fn size(&self) -> u64 {
        64 * MIB as u64
    }

    fn block(&self) -> u32 {
        512
    }

    fn read(&self, _: u64, length: usize) -> io::Result<Aligned> {
        Ok(Aligned::new(length))
    }

    fn write(&self, _: u64, _: &[u8]) -> io::Result<()> {
        thread::sleep(Duration::from_millis(20));
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn trim(&self, _: u64, _: u64, _: Progress<'_>) -> io::Result<()> {
        Ok(())
    }

    fn zero(&self, from: u64, length: u64, how: Zero, progress: Progress<'_>) -> io::Result<()> {
        Disk::zero(&self.0, from, length, how, progress)
    }
}

struct Opens;

impl Opener for Opens {
    fn open(&self, export: &Export) -> io::Result<Opened> {
        let device = Device::open(&export.device, export.read_only)?;
        Ok((Arc::new(Null(device)), None))
    }
}

fn start(directory: &Path) -> SocketAddr {
    for port in 24_000..24_100 {
        let settings = Settings {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            tls: None,
            timeout: Duration::from_secs(60),
        };
        match Server::start(&settings, &Paths::new(directory), Arc::new(Opens)) {
            Ok(server) => {
                thread::spawn(move || server.run());
                return settings.address;
            }
            Err(nbd_export::Error::Listen { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("no port is free");
}

fn connect(address: SocketAddr, name: &str) -> TcpStream {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        // The client before may not have ended yet.
        match try_connect(address, name) {
            Ok(server) => return server,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn try_connect(address: SocketAddr, name: &str) -> io::Result<TcpStream> {
    let mut server = TcpStream::connect(address)?;
    let mut greeting = [0; 18];
    server.read_exact(&mut greeting)?;
    let size = u32::try_from(name.len()).unwrap().to_be_bytes();
    // Fixed newstyle without zeros; the option EXPORT_NAME.
    let chosen = [
        &3_u32.to_be_bytes()[..],
        b"IHAVEOPT",
        &1_u32.to_be_bytes(),
        &size,
        name.as_bytes(),
    ];
    server.write_all(&chosen.concat())?;
    let mut export = [0; 10];
    server.read_exact(&mut export)?;
    Ok(server)
}

fn send(server: &mut TcpStream, flags: u16, command: u16, length: usize) {
    let header = [
        &0x2560_9513_u32.to_be_bytes()[..],
        &flags.to_be_bytes(),
        &command.to_be_bytes(),
        &[0; 16],
        &u32::try_from(length).unwrap().to_be_bytes(),
    ];
    server.write_all(&header.concat()).unwrap();
}

fn expect_successes(server: &mut TcpStream, count: usize) {
    for _ in 0..count {
        let mut reply = [0; 16];
        server.read_exact(&mut reply).unwrap();
        assert_eq!(reply[4..8], [0; 4], "no error");
    }
}

/// Sends many requests for zeros without data and without holes.
fn zero_much(address: SocketAddr, name: &str) {
    let mut server = connect(address, name);
    for _ in 0..ZEROS {
        send(&mut server, NO_HOLE, WRITE_ZEROES, MIB);
    }
    expect_successes(&mut server, ZEROS);
}

/// Sends many small writes.
fn write_small(address: SocketAddr, name: &str) {
    let mut server = connect(address, name);
    for _ in 0..SMALL {
        send(&mut server, 0, WRITE, 4096);
        server.write_all(&[0; 4096]).unwrap();
    }
    expect_successes(&mut server, SMALL);
}

/// Sends writes of 32 MiB without a pause, and expects that they succeed.
fn write_much(address: SocketAddr, name: &str) {
    let mut server = connect(address, name);
    let zeros = vec![0; 64 << 10];
    for _ in 0..REQUESTS {
        send(&mut server, 0, WRITE, 32 * MIB);
        for _ in 0..32 * MIB / zeros.len() {
            server.write_all(&zeros).unwrap();
        }
    }
    expect_successes(&mut server, REQUESTS);
}

/// The largest size that this process has had, in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<usize>()
        .unwrap()
        << 10
}

#[test]
fn sixty_four_clients_at_once_take_less_than_256_mib() {
    let directory = tempfile::tempdir().unwrap();
    let address = start(directory.path());
    // In memory: writes are quick.
    let disk = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
    disk.as_file().set_len(64 * MIB as u64).unwrap();
    for number in 0..CLIENTS {
        let export = Export {
            vdi: Uuid::new_v4(),
            name: format!("vm/{number}"),
            device: disk.path().to_owned(),
            read_only: false,
            storage: Value::Null,
        };
        let path = directory
            .path()
            .join("exports")
            .join(format!("{}.json", export.vdi));
        hostos::json_file::write(&path, &export).unwrap();
    }
    for (what, kind) in [
        ("zeros", zero_much as fn(_, &str)),
        ("small writes", write_small),
        ("writes of 32 MiB", write_much),
    ] {
        thread::scope(|scope| {
            for number in 0..CLIENTS {
                scope.spawn(move || kind(address, &format!("vm/{number}")));
            }
        });
        assert!(peak() < MOST, "{what}: {} MiB", peak() / MIB);
    }
}
