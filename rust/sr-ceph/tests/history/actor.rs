//! One command of one host.

use sr_ceph::faults::{Faults, FaultyCluster, FaultyHost};
use sr_ceph::host::Host;
use sr_ceph::{Repository, Result};

use crate::support::{repository, Lab, Process};

/// Runs a command as a process with faults that then ends.
pub fn run<T>(
    lab: &Lab,
    host: &str,
    faults: Faults<'static>,
    command: impl FnOnce(&Repository<'_>) -> Result<T>,
) -> (Result<T>, &'static Faults<'static>) {
    // They outlive the step, as what they have sent does: a test's own process ends soon.
    let process: &'static Process = Box::leak(Box::new(lab.process(host)));
    let faults: &'static Faults<'static> = Box::leak(Box::new(faults));
    let cluster = FaultyCluster::new(&process.cluster, faults);
    let own = FaultyHost::new(&process.host, faults);
    let result = command(&repository(&cluster, &own, lab.sr));
    lab.world.kill(process.host.owner());
    (result, faults)
}
