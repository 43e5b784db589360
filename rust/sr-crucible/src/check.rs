//! The administrator's pre-flight: whether this host can serve the SR's volumes, part by part.

use sr::check::{CheckLine, Outcome};

use super::activate::unusable;
use super::{CrucibleSr, Listing};

impl CrucibleSr<'_> {
    /// Looks at the lists, the server's program, the kernel and every target. Nothing is changed but
    /// that the kernel's nbd module is loaded.
    pub fn check(&self) -> Vec<CheckLine> {
        let program = match self.host.check_program() {
            Ok(()) => Outcome::Ok("it can be run, and has --address".to_owned()),
            Err(e) => Outcome::failed(e.message, "that option is not in every build of it"),
        };
        let kernel = match self.host.check_kernel() {
            Ok(()) => Outcome::Ok("it has nbd".to_owned()),
            Err(e) => Outcome::failed(
                e.message,
                "volumes need the kernel's NBD client: modprobe nbd",
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
                    "put right what device-config:volumes or device-config:provisioner names";
                lines.push(Outcome::failed(e.to_string(), remedy).on("volumes"));
            }
        }
        lines
    }

    /// A line for each volume that could not be plugged now: no reason to create no SR.
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
                let remedy = "start the downstairs there, or correct what is declared about it";
                lines.push(Outcome::warning(found, remedy).on("targets"));
            }
        }
        if lines.is_empty() {
            lines.push(Outcome::Ok(format!("all {} answer", states.len())).on("targets"));
        }
        lines
    }
}
