//! Checks that a volume's storage servers run, without an upstairs.
//!
//! The start of an upstairs would take the volume from its current user. A downstairs also has an HTTP
//! server, on its data port plus 4000, which describes its region.

use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use hostos::errno::describe_io;
use hostos::Deadline;
use serde::de::DeserializeOwned;
use serde::Deserialize;
use uuid::Uuid;

use crate::http;

/// The HTTP port of a downstairs minus its data port.
pub const REPAIR_PORT_OFFSET: u16 = 4000;

/// The state of one downstairs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetState {
    /// It accepts connections. A value is `None` if it did not report it.
    Up {
        /// Whether it refuses writes; an upstairs then refuses it.
        read_only: Option<bool>,
        /// Bytes of its region.
        size: Option<u64>,
        /// Whether its region requires a key. If not, it accepts none.
        encrypted: Option<bool>,
        /// The region's UUID.
        region: Option<Uuid>,
    },
    /// It accepts no connections, for that reason.
    Down(String),
}

/// The fields of `/region-info` that are used here.
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

/// Returns the state of one downstairs. A downstairs whose process is frozen is down: its kernel accepts
/// connections, but it sends no reply.
pub fn probe(target: SocketAddr, deadline: Duration) -> TargetState {
    let deadline = Deadline::after(deadline);
    if let Err(error) = TcpStream::connect_timeout(&target, least(deadline.left())) {
        return TargetState::Down(describe_io(&error));
    }
    let mut repair = target;
    let Some(port) = target.port().checked_add(REPAIR_PORT_OFFSET) else {
        return TargetState::Down(format!(
            "port {} is no data port of a downstairs: the highest is {}",
            target.port(),
            u16::MAX - REPAIR_PORT_OFFSET
        ));
    };
    repair.set_port(port);
    // A firewall may allow the data port alone. A missing reply is then no failure.
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

/// `connect_timeout` refuses a timeout of zero.
fn least(time: Duration) -> Duration {
    time.max(Duration::from_millis(1))
}

/// Probes all targets at once; the states are in the order of the targets.
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

/// Returns `None` for an unknown reply: a newer Crucible may have another form.
fn ask<T: DeserializeOwned>(repair: SocketAddr, path: &str, deadline: Deadline) -> Option<T> {
    match http::get(repair, path, deadline.left()) {
        Ok(reply) => Some(reply),
        Err(reason) => {
            log::info!("http://{repair}{path} does not reply: {reason}");
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
