//! `serve_exports`: the NBD server of this host's exports.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nbd_export::{
    Allocation, Device, Error, Export, Opened, Opener, Part, Paths, Server, Settings,
};
use pyo3::prelude::*;
use pyo3::wrap_pyfunction;
use serde::Deserialize;

use crate::panic::detached;

/// After the cluster could not be asked, all of a disk counts as data for this long.
const PAUSE: Duration = Duration::from_secs(30);

/// Serves the exports whose files are in `directory`, with the settings of export.conf. Returns never: ends with
/// an error, or with the process.
#[pyfunction]
#[pyo3(text_signature = "(settings, directory)")]
fn serve_exports(
    py: Python<'_>,
    settings: BTreeMap<String, String>,
    directory: PathBuf,
) -> PyResult<()> {
    detached(py, "serve", move || match run(&settings, &directory) {
        Ok(never) => match never {},
        Err(error) => Err::<(), _>(error),
    })
}

fn run(settings: &BTreeMap<String, String>, directory: &Path) -> Result<Infallible, Error> {
    let settings = Settings::parse(settings)?;
    let server = Server::start(&settings, &Paths::new(directory), Arc::new(Devices))?;
    server.run()
}

/// Opens block devices.
struct Devices;

impl Opener for Devices {
    fn open(&self, export: &Export) -> io::Result<Opened> {
        let device = Device::open(&export.device, export.read_only)?;
        let image = serde_json::from_value::<CephImage>(export.storage.clone()).ok();
        let allocation = image.map(|image| -> Arc<dyn Allocation> {
            Arc::new(CephAllocation {
                image,
                state: Mutex::default(),
            })
        });
        Ok((Arc::new(device), allocation))
    }
}

/// The storage of an export of an SR of type cephrbd. Other SR types cannot state what is allocated.
#[derive(Deserialize)]
struct CephImage {
    device_config: BTreeMap<String, String>,
    image_id: String,
    snapshot_id: Option<u64>,
}

/// What Ceph has of an image. The first question opens it: few clients ask.
struct CephAllocation {
    image: CephImage,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: Option<Arc<sr_ceph::allocation::Allocation>>,
    failed: Option<Instant>,
}

impl Allocation for CephAllocation {
    fn parts(&self, offset: u64, length: u64) -> io::Result<Vec<Part>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.failed.is_some_and(|at| at.elapsed() < PAUSE) {
            return Ok(Vec::new());
        }
        let image = &self.image;
        let opened = match &state.open {
            Some(open) => Ok(open.clone()),
            None => sr_ceph::allocation::Allocation::open(
                image.device_config.clone(),
                &image.image_id,
                image.snapshot_id,
            )
            .map(Arc::new),
        };
        let found = opened.and_then(|open| {
            let data = open.data(offset, length)?;
            state.open = Some(open);
            Ok(data)
        });
        match found {
            Ok(data) => Ok(parts(offset, length, &data)),
            Err(error) => {
                *state = State {
                    open: None,
                    failed: Some(Instant::now()),
                };
                Err(io::Error::other(error.to_string()))
            }
        }
    }
}

/// Returns data and holes of a range, given the ranges with data in their order.
fn parts(offset: u64, length: u64, data: &[(u64, u64)]) -> Vec<Part> {
    let end = offset + length;
    let mut at = offset;
    let mut parts = Vec::new();
    let mut add = |to: u64, hole: bool| {
        let to = to.clamp(at, end);
        parts.push(Part {
            length: to - at,
            hole,
        });
        at = to;
    };
    for &(start, size) in data {
        add(start, true);
        add(start + size, false);
    }
    add(end, true);
    parts
}

/// Adds the function to the module.
pub fn add_to(module: &PyModule) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(serve_exports, module)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_data_is_a_hole() {
        let found = parts(100, 50, &[(90, 20), (120, 10), (149, 100)]);
        let found: Vec<_> = found.iter().map(|part| (part.length, part.hole)).collect();
        let wanted = [
            (0, true),
            (10, false),
            (10, true),
            (10, false),
            (19, true),
            (1, false),
            (0, true),
        ];
        assert_eq!(found, wanted);
    }
}
