//! Runs one command of one host.

use sr_ceph::faults::{Faults, FaultyHost, FaultyPool};
use sr_ceph::host::Host;
use sr_ceph::{CephSr, Result};

use crate::support::{ceph_sr, Lab, Process};

/// Runs a command as a process with faults, which ends after it.
pub fn run<T>(
    lab: &Lab,
    host: &str,
    faults: Faults<'static>,
    command: impl FnOnce(&CephSr<'_>) -> Result<T>,
) -> (Result<T>, &'static Faults<'static>) {
    // Leaked: the process's requests outlive the step.
    let process: &'static Process = Box::leak(Box::new(lab.process(host)));
    let faults: &'static Faults<'static> = Box::leak(Box::new(faults));
    let pool = FaultyPool::new(&process.pool, faults);
    let own = FaultyHost::new(&process.host, faults);
    let result = command(&ceph_sr(&pool, &own, lab.sr));
    lab.sim.kill(process.host.owner());
    (result, faults)
}
