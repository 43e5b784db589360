//! Whether a volume's storage servers are there, asked without an upstairs.
//!
//! Starting an upstairs to find out would take the volume from whoever uses it. A downstairs serves
//! HTTP beside its data port, on a port 4000 above, and tells there what it keeps.

use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use hostos::errno::describe_io;
use hostos::Deadline;
use serde::de::DeserializeOwned;
use serde::Deserialize;
use uuid::Uuid;

use crate::http;

/// From a downstairs' data port to the one on which it tells about its region.
pub const REPAIR_PORT_OFFSET: u16 = 4000;

/// What is known of one downstairs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetState {
    /// It accepts connections. The rest is `None` where it does not tell.
    Up {
        /// Whether it refuses writes; an upstairs then refuses it.
        read_only: Option<bool>,
        /// Bytes of its region.
        size: Option<u64>,
        /// Whether its region takes encrypted data only, or none: a key must be given, or must not.
        encrypted: Option<bool>,
        /// The region's UUID.
        region: Option<Uuid>,
    },
    /// It does not, for that reason.
    Down(String),
}

/// `/region-info`, as far as it is used here.
#[derive(Deserialize)]
struct RegionInfo {
    uuid: Option<Uuid>,
    block_size: u64,
    extent_size: Blocks,
    extent_count: u64,
    encrypted: bool,
}

#[derive(Deserialize)]
struct Blocks {
    value: u64,
}

impl RegionInfo {
    fn size(&self) -> Option<u64> {
        self.block_size
            .checked_mul(self.extent_size.value)?
            .checked_mul(self.extent_count)
    }
}

/// Asks one downstairs, within `deadline` for everything. One whose process is frozen accepts
/// connections, since the kernel does that, and replies to nothing: it is down.
pub fn probe(target: SocketAddr, deadline: Duration) -> TargetState {
    let deadline = Deadline::after(deadline);
    if let Err(error) = TcpStream::connect_timeout(&target, least(deadline.left())) {
        return TargetState::Down(describe_io(&error));
    }
    let mut repair = target;
    let Some(port) = target.port().checked_add(REPAIR_PORT_OFFSET) else {
        return TargetState::Down(format!("port {} is none of a downstairs", target.port()));
    };
    repair.set_port(port);
    // A firewall may allow the data port alone. What is not told is then no failure.
    if let Err(error) = TcpStream::connect_timeout(&repair, least(deadline.left() / 2)) {
        log::info!("http://{repair} does not reply: {}", describe_io(&error));
        return TargetState::Up {
            read_only: None,
            size: None,
            encrypted: None,
            region: None,
        };
    }
    let region: Option<RegionInfo> = ask(repair, "/region-info", deadline);
    let read_only = ask(repair, "/region-mode", deadline);
    if region.is_none() && read_only.is_none() && deadline.passed() {
        return TargetState::Down(
            "it accepts connections and does not reply: its process is frozen".to_owned(),
        );
    }
    TargetState::Up {
        read_only,
        size: region.as_ref().and_then(RegionInfo::size),
        encrypted: region.as_ref().map(|region| region.encrypted),
        region: region.and_then(|region| region.uuid),
    }
}

/// connect_timeout refuses to wait for no time at all.
fn least(time: Duration) -> Duration {
    time.max(Duration::from_millis(1))
}

/// Asks all of them at once; the answers are in the order of the targets.
pub fn probe_all(targets: &[SocketAddr], deadline: Duration) -> Vec<TargetState> {
    thread::scope(|scope| {
        let probes: Vec<_> = targets
            .iter()
            .map(|target| scope.spawn(move || probe(*target, deadline)))
            .collect();
        probes
            .into_iter()
            .map(|probe| {
                probe
                    .join()
                    .unwrap_or_else(|_| TargetState::Down("the probe panicked".to_owned()))
            })
            .collect()
    })
}

/// A newer Crucible may tell something else: that is no failure, only less to go by.
fn ask<T: DeserializeOwned>(repair: SocketAddr, path: &str, deadline: Deadline) -> Option<T> {
    match http::get(repair, path, deadline.left()) {
        Ok(answer) => Some(answer),
        Err(reason) => {
            log::info!("http://{repair}{path} does not answer: {reason}");
            None
        }
    }
}

/// Reads a reply to `/region-info`.
#[cfg(fuzzing)]
pub(crate) fn read_region_info(reply: &[u8]) {
    if let Ok(region) = serde_json::from_slice::<RegionInfo>(reply) {
        region.size();
    }
}
