//! The control server's reply about a volume: the JSON of Crucible's `/info`.

use serde::Serialize;

/// State of the whole volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UpState {
    /// Not in service, or no longer.
    Initializing,
    /// In service.
    Active,
}

/// State of one copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "type", content = "value")]
pub enum DsState {
    /// Not in service yet.
    Connecting {
        /// The state of the connection.
        state: Connecting,
        /// The purpose of the connection.
        mode: &'static str,
    },
    /// In service.
    Active,
    /// It gets the writes that it missed.
    LiveRepair,
}

/// The state of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum Connecting {
    /// Not to connect.
    WaitConnect,
    /// Trying to connect.
    Start,
    /// Has requested to become the writer.
    WaitForPromote,
    /// Waiting for the others.
    WaitQuorum,
}

impl DsState {
    /// Before the first service of this server.
    pub fn connecting(state: Connecting) -> Self {
        Self::Connecting { state, mode: "new" }
    }
}

/// The reply to `/info`.
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
    /// Fills it with these states; the simulator counts no jobs and no repairs.
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
