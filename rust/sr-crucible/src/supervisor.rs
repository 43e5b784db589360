//! The supervisor of one volume's server on this host.

use std::path::Path;

use crucible_host::server::{self, Ended};
use hostdev::nbd::Nbd;
use sr::host;
use uuid::Uuid;

use super::dom0::{failure, lock, DEVICE_DEADLINE};
use super::error::Result;

/// Runs the server of a runtime directory until it ends, and calls `log` with each line that it prints.
/// If the server was not stopped on purpose, the volume's device is cut off before this returns.
///
/// # Errors
/// As [`server::serve`]. A failure to cut the device off is only logged: the remedy is to unplug the disk,
/// which the alert asks for in any case.
pub fn serve(directory: &Path, log: &mut dyn FnMut(&str)) -> Result<Ended> {
    let served = server::serve(directory, log);
    let asked = matches!(&served, Ok(ended) if ended.asked);
    if !asked {
        if let Err(e) = cut_off(directory) {
            log(&format!(
                "requests in flight may hang for an hour, because the device could not be cut off: {e}"
            ));
        }
    }
    Ok(served?)
}

/// Fails the requests in flight to a server that is gone. The kernel would keep them for an hour. The device
/// stays until it is closed, and fails every request. A device that is connected to a new server, because
/// the volume was plugged again, is not changed.
fn cut_off(directory: &Path) -> host::Result<()> {
    let named = directory.file_name().and_then(|name| name.to_str());
    let vdi: Uuid = named.and_then(|name| name.parse().ok()).ok_or_else(|| {
        failure(format!(
            "{}: the directory's name is not the UUID of a VDI",
            directory.display()
        ))
    })?;
    let _alone = lock(directory.parent().unwrap_or(directory), &vdi)?;
    let nbd = Nbd::new();
    let Some(device) = nbd.find(&vdi.to_string())?.filter(|found| !found.connected) else {
        return Ok(());
    };
    match nbd.disconnect(&device, DEVICE_DEADLINE) {
        // The device is still open. Its connection is cut in any case.
        Err(e @ hostdev::Error::Busy { .. }) => {
            log::info!("the device is cut off, and goes when it is closed: {e}")
        }
        other => other?,
    }
    Ok(())
}
