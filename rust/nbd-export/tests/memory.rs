//! The memory of the server is bounded. A process of its own: its size is measured.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nbd_export::{Aligned, Disk, Export, Opened, Opener, Paths, Progress, Server, Settings, Zero};
use serde_json::Value;
use uuid::Uuid;

const MIB: usize = 1 << 20;
const CLIENTS: usize = 64;
const REQUESTS: usize = 2;
/// The largest size of the process that is allowed.
const MOST: usize = 256 * MIB;

/// A device that takes its time, and keeps nothing.
struct Null;

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

    fn zero(&self, _: u64, _: u64, _: Zero, _: Progress<'_>) -> io::Result<()> {
        Ok(())
    }
}

struct Opens;

impl Opener for Opens {
    fn open(&self, _: &Export) -> io::Result<Opened> {
        Ok((Arc::new(Null), None))
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

/// Sends writes of 32 MiB without a pause, and expects that they succeed.
fn write_much(address: SocketAddr, name: &str) {
    let mut server = TcpStream::connect(address).unwrap();
    let mut greeting = [0; 18];
    server.read_exact(&mut greeting).unwrap();
    let size = u32::try_from(name.len()).unwrap().to_be_bytes();
    // Fixed newstyle without zeros; the option EXPORT_NAME.
    let chosen = [
        &3_u32.to_be_bytes()[..],
        b"IHAVEOPT",
        &1_u32.to_be_bytes(),
        &size,
        name.as_bytes(),
    ];
    server.write_all(&chosen.concat()).unwrap();
    let mut export = [0; 10];
    server.read_exact(&mut export).unwrap();
    let zeros = vec![0; 64 << 10];
    for _ in 0..REQUESTS {
        let length = u32::try_from(32 * MIB).unwrap().to_be_bytes();
        let header = [
            &0x2560_9513_u32.to_be_bytes()[..],
            &[0, 0, 0, 1],
            &[0; 16],
            &length,
        ];
        server.write_all(&header.concat()).unwrap();
        for _ in 0..32 * MIB / zeros.len() {
            server.write_all(&zeros).unwrap();
        }
    }
    for _ in 0..REQUESTS {
        let mut reply = [0; 16];
        server.read_exact(&mut reply).unwrap();
        assert_eq!(reply[4..8], [0; 4], "no error");
    }
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
fn sixty_four_clients_that_write_32_mib_at_once_take_less_than_256_mib() {
    let directory = tempfile::tempdir().unwrap();
    let address = start(directory.path());
    for number in 0..CLIENTS {
        let export = Export {
            vdi: Uuid::new_v4(),
            name: format!("vm/{number}"),
            device: "/dev/null".into(),
            read_only: false,
            storage: Value::Null,
        };
        let path = directory
            .path()
            .join("exports")
            .join(format!("{}.json", export.vdi));
        hostos::json_file::write(&path, &export).unwrap();
    }
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            scope.spawn(move || write_much(address, &format!("vm/{number}")));
        }
    });
    assert!(peak() < MOST, "{} MiB", peak() / MIB);
}
