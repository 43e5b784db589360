//! One volume, the hosts that use it, and the states that tests expect.

use crucible_host::Volume;
use sr::faults::Faults;
use sr_crucible::faults::{FaultyHost, FaultyXapi};
use sr_crucible::memory::{MemoryHost, Sim};
use sr_crucible::{CrucibleSr, Device, Error, Hold, Log, Result, Xapi};
use uuid::Uuid;

pub const VDI: Uuid = Uuid::from_u128(0x7d1);
pub const SR: Uuid = Uuid::from_u128(0x54);

pub fn volume() -> Volume {
    let target = |port| format!("192.0.2.1:{port}").parse().unwrap();
    Volume {
        uuid: VDI,
        name: "web1 root".to_owned(),
        description: String::new(),
        size: 1 << 30,
        targets: [target(3810), target(3811), target(3812)],
        regions: None,
        generation_floor: 0,
        key: None,
    }
}

pub fn sim() -> Sim {
    Sim::new(vec![volume()])
}

/// Runs a process on a host, without faults.
pub fn on<T>(sim: &Sim, host: &str, work: impl FnOnce(&CrucibleSr<'_>) -> T) -> T {
    let host = sim.host(host);
    work(&CrucibleSr::new(sim, &host, sim, SR))
}

pub fn activate(sim: &Sim, host: &str) -> Result<Device> {
    activation(sim, host, || on(sim, host, |sr| sr.activate(&VDI, true)))
}

/// Runs an activation as SM does, with a note meanwhile and links after it.
pub fn activation<T>(sim: &Sim, host: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = sim.is_used(host, &VDI);
    sim.set_used(host, &VDI, true);
    let done = work();
    sim.set_used(host, &VDI, before || done.is_ok());
    done
}

/// Checks that the volume is refused because a host has it. Returns the reason.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(done: Result<T>, at: &str) -> Hold {
    match done {
        Err(Error::VdiInUse { hold, .. }) => hold,
        other => panic!("{at}: {other:?}"),
    }
}

pub fn deactivate(sim: &Sim, host: &str) {
    sim.set_used(host, &VDI, false);
    on(sim, host, |sr| sr.deactivate(&VDI)).unwrap();
}

pub fn open_claim(sim: &Sim) -> Option<(String, u64)> {
    let log = Log::read(&VDI, &sim.sm_config(&VDI).unwrap().unwrap()).unwrap();
    log.open()
        .map(|claim| (claim.host.clone(), claim.generation))
}

#[track_caller]
pub fn nothing_is_left(sim: &Sim, at: &str) {
    assert_eq!(sim.left(&VDI), Vec::<String>::new(), "{at}");
    assert_eq!(open_claim(sim), None, "{at}");
    assert_eq!(sim.broken(), Vec::<String>::new(), "{at}");
}

#[track_caller]
pub fn is_served_by(sim: &Sim, host: &str, at: &str) {
    let serving = sim.serving(&VDI);
    assert_eq!(serving.len(), 1, "{at}: {serving:?}");
    assert_eq!(serving[0].0, host, "{at}");
    assert_eq!(open_claim(sim), Some(serving[0].clone()), "{at}");
    assert_eq!(sim.broken(), Vec::<String>::new(), "{at}");
}

/// Runs a process on a host, with faults.
pub fn faulty<'w, T>(
    sim: &'w Sim,
    host: &'w MemoryHost<'w>,
    faults: &Faults<'w>,
    work: impl FnOnce(&CrucibleSr<'_>) -> T,
) -> T {
    let xapi = FaultyXapi::new(sim, faults);
    let host = FaultyHost::new(host, faults);
    work(&CrucibleSr::new(&xapi, &host, sim, SR))
}
