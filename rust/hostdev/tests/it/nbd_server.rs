//! An NBD server with a disk in memory, for one client at a time. It supports fixed newstyle with
//! `NBD_OPT_EXPORT_NAME` only, and flush.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// The size of the disk, in bytes.
pub const SIZE: usize = 8 << 20;

const FLAGS: u16 = 1 | 4;
const ERR_UNSUP: u32 = 0x8000_0001;
const EXPORT_NAME: u32 = 1;
const READ: u16 = 0;
const WRITE: u16 = 1;
const DISCONNECT: u16 = 2;
const FLUSH: u16 = 3;

/// The server. When it is dropped, it closes its client's connection and ends.
pub struct Server {
    pub address: SocketAddr,
    disk: Arc<Disk>,
}

#[derive(Default)]
struct Disk {
    data: Mutex<Vec<u8>>,
    client: Mutex<Option<TcpStream>>,
    requests: AtomicUsize,
    flushes: AtomicUsize,
    disconnects: AtomicUsize,
    hangs: AtomicBool,
    over: AtomicBool,
}

impl Server {
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let disk = Arc::new(Disk {
            data: Mutex::new(vec![0; SIZE]),
            ..Disk::default()
        });
        let server = Self {
            address,
            disk: disk.clone(),
        };
        thread::spawn(move || {
            for client in listener.incoming() {
                if disk.over.load(Ordering::SeqCst) {
                    return;
                }
                // An error of one client does not end the server.
                let _ = disk.serve(client.unwrap());
            }
        });
        server
    }

    /// The number of received requests.
    pub fn requests(&self) -> usize {
        self.disk.requests.load(Ordering::SeqCst)
    }

    /// The number of completed flushes.
    pub fn flushes(&self) -> usize {
        self.disk.flushes.load(Ordering::SeqCst)
    }

    /// The number of clients that disconnected.
    pub fn disconnects(&self) -> usize {
        self.disk.disconnects.load(Ordering::SeqCst)
    }

    /// The data of the disk.
    pub fn data(&self, offset: usize, length: usize) -> Vec<u8> {
        self.disk.data.lock().unwrap()[offset..offset + length].to_vec()
    }

    /// Stops all replies.
    pub fn hang(&self) {
        self.disk.hangs.store(true, Ordering::SeqCst);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.disk.over.store(true, Ordering::SeqCst);
        if let Some(client) = self.disk.client.lock().unwrap().take() {
            let _ = client.shutdown(std::net::Shutdown::Both);
        }
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

impl Disk {
    fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        *self.client.lock().unwrap() = Some(client.try_clone()?);
        client.set_nodelay(true)?;
        client.write_all(b"NBDMAGICIHAVEOPT\0\x03")?;
        bytes::<4>(&mut client)?;
        loop {
            bytes::<8>(&mut client)?;
            let option = bytes::<4>(&mut client)?;
            let length = u32::from_be_bytes(bytes(&mut client)?) as usize;
            client.read_exact(&mut vec![0; length])?;
            if u32::from_be_bytes(option) == EXPORT_NAME {
                break;
            }
            let mut refusal = 0x3_e889_0455_65a9u64.to_be_bytes().to_vec();
            refusal.extend(option);
            refusal.extend(ERR_UNSUP.to_be_bytes());
            refusal.extend(0u32.to_be_bytes());
            client.write_all(&refusal)?;
        }
        client.write_all(&[&(SIZE as u64).to_be_bytes()[..], &FLAGS.to_be_bytes()].concat())?;
        while self.request(&mut client)? {}
        Ok(())
    }

    /// Serves one request. Returns whether more may follow.
    fn request(&self, client: &mut TcpStream) -> io::Result<bool> {
        bytes::<6>(client)?;
        let command = u16::from_be_bytes(bytes(client)?);
        let cookie = bytes::<8>(client)?;
        let offset = u64::from_be_bytes(bytes(client)?) as usize;
        let length = u32::from_be_bytes(bytes(client)?) as usize;
        self.requests.fetch_add(1, Ordering::SeqCst);
        let mut reply = [&0x6744_6698u32.to_be_bytes()[..], &[0; 4], &cookie].concat();
        match command {
            READ => reply.extend(&self.data.lock().unwrap()[offset..offset + length]),
            WRITE => {
                let mut data = vec![0; length];
                client.read_exact(&mut data)?;
                self.data.lock().unwrap()[offset..offset + length].copy_from_slice(&data);
            }
            FLUSH => {
                self.flushes.fetch_add(1, Ordering::SeqCst);
            }
            DISCONNECT => {
                self.disconnects.fetch_add(1, Ordering::SeqCst);
                return Ok(false);
            }
            other => panic!("the kernel sent command {other}, which was not offered"),
        }
        if !self.hangs.load(Ordering::SeqCst) {
            client.write_all(&reply)?;
        }
        Ok(true)
    }
}

fn bytes<const N: usize>(client: &mut TcpStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    client.read_exact(&mut bytes)?;
    Ok(bytes)
}
