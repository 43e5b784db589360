//! `smblock check`: tests each part that this host needs to serve the SR's volumes.

use sr::check::{CheckLine, Outcome};

use super::activate::unusable;
use super::{CrucibleSr, Listing};

impl CrucibleSr<'_> {
    /// Checks the lists of volumes, the server's program, the kernel and every target. Its only change is
    /// that it loads the kernel module nbd.
    pub fn check(&self) -> Vec<CheckLine> {
        let program = match self.host.check_program() {
            Ok(()) => Outcome::Ok("the program can be run, and has the option --address".to_owned()),
            Err(e) => Outcome::failed(e.message, "install a build of crucible-nbd-server that supports --address, or name one with device-config:server=PROGRAM"),
        };
        let kernel = match self.host.check_kernel() {
            Ok(()) => Outcome::Ok("the module nbd is loaded".to_owned()),
            Err(e) => Outcome::failed(
                e.message,
                "volumes need the kernel's NBD client: run 'modprobe nbd'",
            ),
        };
        let mut lines = vec![program.on("server"), kernel.on("kernel")];
        match self.inventory.list() {
            Ok(listing) => {
                let found = format!("{} volume(s)", listing.volumes.len());
                lines.push(Outcome::Ok(found).on("volumes"));
                lines.extend(self.check_targets(&listing));
            }
            Err(e) => {
                let remedy =
                    "fix the file of device-config:volumes, or the program of device-config:provisioner";
                lines.push(Outcome::failed(e.to_string(), remedy).on("volumes"));
            }
        }
        lines
    }

    /// Returns a warning for each volume that could not be plugged now. The SR can still be created.
    fn check_targets(&self, listing: &Listing) -> Vec<CheckLine> {
        let volumes: Vec<_> = listing.volumes.iter().map(|(volume, _)| volume).collect();
        let states = self.states(&volumes);
        let mut lines = Vec::new();
        for volume in volumes {
            let troubles = volume.targets.iter().filter_map(|target| {
                let why = unusable(volume, states.get(target)?)?;
                Some(format!("target {target} {why}"))
            });
            let troubles: Vec<_> = troubles.collect();
            if !troubles.is_empty() {
                let found = format!(
                    "VDI {} could not be plugged: {}",
                    volume.uuid,
                    troubles.join("; ")
                );
                let remedy = "start the downstairs of that target, or correct the entry of the volume in the list of volumes";
                lines.push(Outcome::warning(found, remedy).on("targets"));
            }
        }
        if lines.is_empty() {
            lines.push(Outcome::Ok(format!("all {} targets reply", states.len())).on("targets"));
        }
        lines
    }
}
