//! The part of HTTP that `/info` needs: GET, one request for each connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(30);

/// The reply to a path: `Err` with a status and the reason.
pub type Reply = Result<Vec<u8>, (u16, String)>;

/// Serve requests on a thread of its own until the process ends.
pub fn serve(listener: TcpListener, reply: impl Fn(&str) -> Reply + Send + Sync + 'static) {
    let reply = Arc::new(reply);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let reply = Arc::clone(&reply);
            // A client that has disconnected gets no reply: that is not an error.
            thread::spawn(move || respond(stream, &*reply).ok());
        }
    });
}

fn respond(stream: TcpStream, reply: &(dyn Fn(&str) -> Reply + Send + Sync)) -> io::Result<()> {
    stream.set_read_timeout(Some(DEADLINE))?;
    let mut reader = BufReader::new(&stream);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut header = String::new();
    while reader.read_line(&mut header)? > 0 && !header.trim_end().is_empty() {
        header.clear();
    }
    let path = match request.split(' ').collect::<Vec<_>>()[..] {
        ["GET", path, _] => reply(path),
        _ => Err((405, "only GET".to_owned())),
    };
    let (status, body) = match path {
        Ok(body) => (200, body),
        Err((status, why)) => (status, serde_json::to_vec(&why)?),
    };
    let head = format!(
        "HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let mut stream = &stream;
    stream.write_all(&[head.as_bytes(), &body].concat())
}

/// The body of `http://ADDRESS/PATH`.
pub fn get(address: SocketAddr, path: &str) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n").as_bytes())?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply)?;
    let end = reply
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .ok_or_else(|| io::Error::other(format!("http://{address}{path}: no HTTP reply")))?;
    let body = reply.split_off(end + 4);
    if reply.starts_with(b"HTTP/1.1 200 ") {
        return Ok(body);
    }
    Err(io::Error::other(format!(
        "http://{address}{path}: {}",
        String::from_utf8_lossy(&body)
    )))
}
