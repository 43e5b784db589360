//! XAPI's messages and the SR's `other_config` in memory, for tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Board, Message};
use crate::host::{HostError, Result};

#[derive(Debug, Default)]
struct State {
    notes: BTreeMap<String, String>,
    messages: BTreeMap<String, Message>,
    raised: Vec<Message>,
    refuses: bool,
}

/// All hosts of a pool share it.
#[derive(Debug, Clone, Default)]
pub struct MemoryBoard(Arc<Mutex<State>>);

impl MemoryBoard {
    fn lock(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match state.refuses {
            false => Ok(state),
            true => Err(HostError {
                message: "XAPI does not reply".to_owned(),
                errno: Some(nix::libc::ECONNREFUSED),
                id: None,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes every call fail, or work again.
    pub fn set_refuses(&self, refuses: bool) {
        self.state().refuses = refuses;
    }

    /// Every message that was ever created.
    #[must_use]
    pub fn raised(&self) -> Vec<Message> {
        self.state().raised.clone()
    }

    /// The messages that were not destroyed.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        self.state().messages.values().cloned().collect()
    }

    /// The keys of the SR's `other_config`.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.state().notes.keys().cloned().collect()
    }
}

impl Board for MemoryBoard {
    fn notes(&self) -> Result<BTreeMap<String, String>> {
        Ok(self.lock()?.notes.clone())
    }

    fn add_note(&self, key: &str, value: &str) -> Result<bool> {
        let mut state = self.lock()?;
        if state.notes.contains_key(key) {
            return Ok(false);
        }
        state.notes.insert(key.to_owned(), value.to_owned());
        Ok(true)
    }

    fn remove_note(&self, key: &str) -> Result<()> {
        self.lock()?.notes.remove(key);
        Ok(())
    }

    fn raise(&self, message: &Message) -> Result<String> {
        let mut state = self.lock()?;
        state.raised.push(message.clone());
        let reference = format!("OpaqueRef:{:04}", state.raised.len());
        state.messages.insert(reference.clone(), message.clone());
        Ok(reference)
    }

    fn destroy(&self, message: &str) -> Result<()> {
        self.lock()?.messages.remove(message);
        Ok(())
    }
}
