//! A simulator of sysfs: the files of the kernel's NBD devices, in a temporary directory.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use hostos::Process;
use tempfile::TempDir;

use super::record::{Owner, Record, Records};
use super::Nbd;

/// The directory. At first, the module is loaded and nothing is connected.
pub(super) struct NbdSysfs(TempDir);

impl NbdSysfs {
    pub(super) fn new() -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(tree.path("sys/module/nbd")).unwrap();
        fs::create_dir_all(tree.path("sys/block/sda")).unwrap();
        tree
    }

    pub(super) fn nbd(&self) -> Nbd {
        Nbd::with_roots(self.path("sys"), self.path("dev"), self.path("run"))
    }

    pub(super) fn records(&self) -> Records {
        Records::at(self.path("run"))
    }

    /// A path in the directory.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// Gives a device a new connection, and returns its number.
    pub(super) fn connect(&self, index: u32, backend: Option<&str>) -> u64 {
        let block = self.path(&format!("sys/block/nbd{index}"));
        fs::create_dir_all(&block).unwrap();
        for (name, text) in [("size", "2048"), ("ro", "0"), ("dev", "43:1024")] {
            fs::write(block.join(name), format!("{text}\n")).unwrap();
        }
        let _ = fs::remove_file(block.join("backend"));
        if let Some(backend) = backend {
            fs::write(block.join("backend"), format!("{backend}\n")).unwrap();
        }
        // The new file is created while the old one exists, so that it gets another inode.
        fs::write(block.join("new"), "4711\n").unwrap();
        fs::rename(block.join("new"), block.join("pid")).unwrap();
        fs::metadata(block.join("pid")).unwrap().ino()
    }

    pub(super) fn disconnect(&self, index: u32) {
        let block = self.path(&format!("sys/block/nbd{index}"));
        // The old file stays, so that the next one gets another inode, as in sysfs.
        fs::rename(block.join("pid"), block.join("old")).unwrap();
    }
}

/// A connection to a server that sends nothing.
pub(super) struct Connection {
    pub stream: TcpStream,
    pub address: SocketAddr,
    pub peer: TcpStream,
}

impl Connection {
    pub(super) fn new() -> Self {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let stream = TcpStream::connect(address).unwrap();
        let (peer, _) = server.accept().unwrap();
        Self {
            stream,
            address,
            peer,
        }
    }

    /// Returns the record of a device with this connection.
    pub(super) fn record(&self, index: u32, connection: Option<u64>) -> Record {
        let socket: OwnedFd = self.stream.as_fd().try_clone_to_owned().unwrap();
        let process = Process::this().unwrap();
        Record {
            identifier: "volume".to_owned(),
            index,
            boot_id: process.boot_id,
            address: self.address,
            export: String::new(),
            socket: fs::File::from(socket).metadata().unwrap().ino(),
            owner: Owner {
                pid: process.pid,
                start_time: process.start_time,
            },
            connection,
        }
    }
}
