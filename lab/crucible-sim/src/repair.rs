//! A downstairs' HTTP server, 4000 above its port: its region's definition, and its data for a copy.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::downstairs::Downstairs;
use crate::http::{self, Reply};
use crate::region::{Definition, Region, Version};

/// The HTTP port is this number above the port for servers.
pub const PORT_OFFSET: u16 = 4000;

const PIECE: u64 = 4 << 20;

/// Reply to a request.
pub fn reply(downstairs: &Arc<Downstairs>, path: &str) -> Reply {
    let failed = |error: io::Error| (500, error.to_string());
    let region = downstairs.region();
    match path.split('/').collect::<Vec<_>>()[..] {
        ["", "region-info"] => json(region.definition()),
        ["", "region-mode"] => json(&downstairs.is_read_only()),
        ["", "work"] => json(&true),
        ["", "sim", ..] if !downstairs.is_read_only() => Err((
            409,
            "the region is open for writing: its data is for copying from a read-only downstairs"
                .to_owned(),
        )),
        ["", "sim", "version"] => json(region.version()),
        ["", "sim", "allocated"] => json(&region.allocated().map_err(failed)?),
        ["", "sim", "data", offset, length] => match (offset.parse(), length.parse()) {
            (Ok(offset), Ok(length)) => region
                .read(offset, length, region.version().key)
                .map_err(failed),
            _ => Err((400, "offset and length are numbers".to_owned())),
        },
        _ => Err((404, "Not Found".to_owned())),
    }
}

fn json(value: &impl serde::Serialize) -> Reply {
    serde_json::to_vec(value).map_err(|error| (500, error.to_string()))
}

/// Copy the region behind another downstairs' HTTP server into a new region.
pub fn clone_region(region: &mut Region, source: SocketAddr) -> io::Result<()> {
    let other: Definition = fetch(source, "/region-info")?;
    let own = region.definition().clone();
    if own.uuid == other.uuid {
        return Err(io::Error::other("region incompatible: UUIDs are the same"));
    }
    if (Definition {
        uuid: own.uuid,
        ..other.clone()
    }) != own
    {
        return Err(io::Error::other(format!(
            "region incompatible: it is {own:?}, the source {other:?}"
        )));
    }
    let version: Version = fetch(source, "/sim/version")?;
    for (start, length) in fetch::<Vec<(u64, u64)>>(source, "/sim/allocated")? {
        let end = start + length;
        let mut at = start;
        while at < end {
            let bytes = PIECE.min(end - at);
            let piece = http::get(source, &format!("/sim/data/{at}/{bytes}"))?;
            region.write(at, &piece, version.key)?;
            at += bytes;
        }
    }
    region.adopt(version)
}

fn fetch<T: DeserializeOwned>(source: SocketAddr, path: &str) -> io::Result<T> {
    Ok(serde_json::from_slice(&http::get(source, path)?)?)
}
