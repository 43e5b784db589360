//! XAPI in memory, with the plugin of each host.

use std::collections::BTreeMap;

use nix::libc;
use sr::alarm::{Board, Message};
use sr::host::{HostReply, Result};
use uuid::Uuid;

use super::{failure, Sim};
use crate::{CrucibleSr, Host, HostState as KnownHost, SmConfig, Xapi};

impl Xapi for Sim {
    fn sm_config(&self, vdi: &Uuid) -> Result<Option<SmConfig>> {
        Ok(self.state.borrow().xapi.get(vdi).cloned())
    }

    fn add(&self, vdi: &Uuid, key: &str, value: &str) -> Result<bool> {
        let mut state = self.state.borrow_mut();
        let unknown = || failure(format!("UUID_INVALID VDI {vdi}"), libc::ENOENT);
        let sm_config = state.xapi.get_mut(vdi).ok_or_else(unknown)?;
        if sm_config.contains_key(key) {
            return Ok(false);
        }
        sm_config.insert(key.to_owned(), value.to_owned());
        Ok(true)
    }

    fn remove(&self, vdi: &Uuid, key: &str) -> Result<()> {
        if let Some(sm_config) = self.state.borrow_mut().xapi.get_mut(vdi) {
            sm_config.remove(key);
        }
        Ok(())
    }

    fn vdis(&self) -> Result<Vec<(Uuid, SmConfig)>> {
        Ok(self.state.borrow().xapi.clone().into_iter().collect())
    }

    fn pool(&self) -> Result<String> {
        Ok(self.pool.borrow().clone())
    }

    fn host(&self, host: &str) -> Result<Option<KnownHost>> {
        let state = self.state.borrow();
        if state.forgotten.contains(host) {
            return Ok(None);
        }
        Ok(Some(KnownHost {
            declared_dead: state.declared_dead.contains(host),
            boot_id: state.published.get(host).cloned(),
        }))
    }

    fn publish_boot(&self, boot_id: &str) -> Result<()> {
        // A boot is named after its host here.
        let host = boot_id.rsplit_once('-').map_or(boot_id, |(host, _)| host);
        let mut state = self.state.borrow_mut();
        state.published.insert(host.to_owned(), boot_id.to_owned());
        Ok(())
    }

    fn revive(&self, host: &str) -> Result<()> {
        self.state.borrow_mut().declared_dead.remove(host);
        Ok(())
    }

    fn ask(&self, host: &str, vdi: &Uuid) -> Result<Option<HostReply>> {
        if self.state.borrow().silent.contains(host) {
            return Ok(None);
        }
        if self.plugins_fail.get() {
            return Err(failure("the plugin failed".to_owned(), libc::EIO));
        }
        let asked = self.host(host);
        // The plugin also checks SM's links and the note of an activation first.
        let settled = match self.is_used(host, vdi) {
            true => Ok(true),
            false => CrucibleSr::new(self, &asked, self, Uuid::nil()).reconcile_vdi(vdi),
        };
        let boot_id = asked.id().boot_id.clone();
        let reply = settled.map(|in_use| HostReply {
            boot_id,
            in_use,
            datapath: None,
            size: None,
        });
        reply
            .map(Some)
            .map_err(|e| failure(e.to_string(), libc::EIO))
    }
}

impl Board for Sim {
    fn notes(&self) -> Result<BTreeMap<String, String>> {
        self.board.notes()
    }

    fn add_note(&self, key: &str, value: &str) -> Result<bool> {
        self.board.add_note(key, value)
    }

    fn remove_note(&self, key: &str) -> Result<()> {
        self.board.remove_note(key)
    }

    fn raise(&self, message: &Message) -> Result<String> {
        self.board.raise(message)
    }

    fn destroy(&self, message: &str) -> Result<()> {
        self.board.destroy(message)
    }
}
