//! The body of the process that looks after one volume's server on this host.

use std::path::Path;

use crucible_host::server::{self, Ended};
use hostdev::nbd::Nbd;
use sr::host;
use uuid::Uuid;

use super::dom0::{failure, lock, DEVICE_DEADLINE};
use super::error::Result;

/// Runs the server of a run folder from its start to its end, and hands every line that it says to
/// `log`. Where nobody has asked for that end, the volume's device is cut off from what was its
/// server before this returns.
///
/// # Errors
/// As [`server::serve`]. That the device could not be cut off is logged: nobody can do anything
/// about it but unplug the disk, which all are told anyway.
pub fn serve(folder: &Path, log: &mut dyn FnMut(&str)) -> Result<Ended> {
    let served = server::serve(folder, log);
    let asked = matches!(&served, Ok(ended) if ended.asked);
    if !asked {
        if let Err(e) = cut_off(folder) {
            log(&format!(
                "requests that were on their way may hang for an hour: {e}"
            ));
        }
    }
    Ok(served?)
}

/// Makes the requests fail that were on their way to a server that is gone, which the kernel would
/// keep for an hour. The device stays for as long as somebody has it open, and fails all that is
/// asked of it. One that has a server, as after the volume was plugged again, is left alone.
fn cut_off(folder: &Path) -> host::Result<()> {
    let named = folder.file_name().and_then(|name| name.to_str());
    let vdi: Uuid = named
        .and_then(|name| name.parse().ok())
        .ok_or_else(|| failure(format!("{}: not named by a VDI", folder.display())))?;
    let _alone = lock(folder.parent().unwrap_or(folder), &vdi)?;
    let nbd = Nbd::new();
    let Some(device) = nbd.find(&vdi.to_string())?.filter(|found| !found.connected) else {
        return Ok(());
    };
    match nbd.disconnect(&device, DEVICE_DEADLINE) {
        // Its user has yet to close it; the connection is cut all the same.
        Err(e @ hostdev::Error::Busy { .. }) => log::info!("cut off, and still there: {e}"),
        other => other?,
    }
    Ok(())
}
