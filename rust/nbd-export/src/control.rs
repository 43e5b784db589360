//! The control socket: `smblock` asks which clients there are, and removes an export. One line of JSON each way.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use hostos::Deadline;
use serde::Deserialize;
use serde_json::{json, Value};
use uuid::Uuid;

use crate::clients::{Clients, Removal};

const PATIENCE: Duration = Duration::from_secs(5);
/// For the requests of a client that is disconnected.
const ENDING: Duration = Duration::from_secs(10);
const LONGEST: u64 = 4096;

/// What does not change while the server runs.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    /// The address that it listens on.
    pub address: SocketAddr,
    /// Whether clients have to encrypt.
    pub tls: bool,
}

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Command {
    Status,
    Remove { vdi: Uuid, force: bool },
}

/// Serves requests until the process ends.
pub fn serve(listener: &UnixListener, clients: &Arc<Clients>, status: &Status) {
    for asked in listener.incoming() {
        let (clients, status) = (clients.clone(), *status);
        let reply = move |of: UnixStream| {
            if let Err(error) = reply(of, &clients, &status) {
                log::debug!("the control socket of exports: {error}");
            }
        };
        let started = asked.and_then(|of| thread::Builder::new().spawn(move || reply(of)));
        if let Err(error) = started {
            log::warn!("the control socket of exports: {error}");
            thread::sleep(Duration::from_millis(100));
        }
    }
}

fn reply(asker: UnixStream, clients: &Arc<Clients>, status: &Status) -> io::Result<()> {
    asker.set_read_timeout(Some(PATIENCE))?;
    asker.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(asker.try_clone()?.take(LONGEST)).read_line(&mut line)?;
    let value = match serde_json::from_str(&line) {
        Ok(Command::Status) => json!({
            "address": status.address.ip().to_string(),
            "port": status.address.port(),
            "tls": status.tls,
            "exports": clients.registry().exports(),
            "clients": clients.list(),
        }),
        Ok(Command::Remove { vdi, force }) => remove(clients, vdi, force),
        Err(error) => json!({"error": error.to_string()}),
    };
    let mut asker = asker;
    asker.write_all(value.to_string().as_bytes())
}

fn remove(clients: &Arc<Clients>, vdi: Uuid, force: bool) -> Value {
    match clients.remove(vdi, force, Deadline::after(ENDING)) {
        Ok(Removal::Removed) => json!({"removed": true}),
        Ok(Removal::InUse(peer)) => json!({"removed": false, "client": peer}),
        Ok(Removal::Pending(peer)) => json!({"removed": true, "pending": peer}),
        Err(error) => json!({"error": error.to_string()}),
    }
}
