//! What the control server says about a volume: the JSON of Crucible's `/info`.

use serde::Serialize;

/// Of the whole volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UpState {
    /// Not in service: not yet, or no more.
    Initializing,
    /// In service.
    Active,
}

/// Of one copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "type", content = "value")]
pub enum DsState {
    /// Not in service yet.
    Connecting {
        /// How far that is.
        state: Connecting,
        /// What it is a connection for.
        mode: &'static str,
    },
    /// In service.
    Active,
    /// Getting what it missed.
    LiveRepair,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum Connecting {
    /// Told not to connect.
    WaitConnect,
    /// Trying to.
    Start,
    /// Asked to become the one that writes.
    WaitForPromote,
    /// Waiting for the others.
    WaitQuorum,
}

impl DsState {
    /// On its way to the first service of this server.
    pub fn connecting(state: Connecting) -> Self {
        Self::Connecting { state, mode: "new" }
    }
}

/// The answer to `/info`.
#[derive(Debug, Serialize)]
pub struct Info {
    state: UpState,
    ds_state: Vec<DsState>,
    up_jobs: usize,
    ds_jobs: usize,
    reconcile_done: usize,
    reconcile_needed: usize,
    extents_repaired: Vec<usize>,
    extents_confirmed: Vec<usize>,
    extent_limit: Vec<Option<usize>>,
    live_repair_completed: Vec<usize>,
    live_repair_aborted: Vec<usize>,
}

impl Info {
    /// Of these states; the simulator counts no jobs and no repairs.
    pub fn new(state: UpState, ds_state: Vec<DsState>) -> Self {
        let none = vec![0; ds_state.len()];
        Self {
            state,
            up_jobs: 0,
            ds_jobs: 0,
            reconcile_done: 0,
            reconcile_needed: 0,
            extents_repaired: none.clone(),
            extents_confirmed: none.clone(),
            extent_limit: vec![None; ds_state.len()],
            live_repair_completed: none.clone(),
            live_repair_aborted: none,
            ds_state,
        }
    }
}
