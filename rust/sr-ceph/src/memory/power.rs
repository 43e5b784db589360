//! What happens to hosts: power, freezes, clocks, networks, and XAPI's notes about them.

use sr::alarm::memory::MemoryBoard;
use uuid::Uuid;

use super::host_state::{HostState, Power};
use super::{Sim, WATCH_TIMEOUT};

impl Sim {
    /// Powers a host off and on again: its processes and devices are gone, and the watches of its
    /// kernel last until they time out.
    pub fn reboot(&self, host: &str) {
        self.abandon(host);
        let mut state = self.lock();
        if let Some(settings) = state.hosts.get(host).map(|old| old.settings.clone()) {
            let mut booted = HostState::boot(&mut state);
            booted.settings = settings;
            state.hosts.insert(host.to_owned(), booted);
        }
    }

    /// Cuts a host's power, until it is rebooted.
    pub fn power_off(&self, host: &str) {
        self.reboot(host);
        self.set_power(host, Power::Off);
    }

    /// Freezes a host. Its kernel does not renew its watches meanwhile.
    pub fn freeze(&self, host: &str) {
        self.set_power(host, Power::Frozen);
        self.abandon(host);
    }

    /// Ends a freeze. The host's kernel watches again what it has mapped, unless it was blocklisted.
    pub fn thaw(&self, host: &str) {
        let mut state = self.lock();
        let Some(known) = state.hosts.get_mut(host) else {
            return;
        };
        if known.power != Power::Frozen {
            return;
        }
        known.power = Power::On;
        let (clients, watches) = (known.clients(), known.watches());
        for address in clients {
            state.pool.resume_watches(&address);
        }
        for (image, watcher) in watches {
            let cut_off = state.pool.blocklist.contains_key(&watcher.address);
            if !cut_off && !state.pool.watchers(&image).contains(&watcher) {
                state.pool.watch(&image, watcher);
            }
        }
    }

    fn set_power(&self, host: &str, power: Power) {
        if let Some(host) = self.lock().hosts.get_mut(host) {
            host.power = power;
        }
    }

    fn abandon(&self, host: &str) {
        let mut state = self.lock();
        let ends = state.clock + WATCH_TIMEOUT;
        let clients = state.hosts.get(host).map(HostState::clients);
        for address in clients.unwrap_or_default() {
            state.pool.abandon_watches(&address, ends);
        }
    }

    /// Sets or removes XAPI's note that HA or an administrator declared a host dead.
    pub fn declare_dead(&self, host: &str, dead: bool) {
        if let Some(host) = self.lock().hosts.get_mut(host) {
            host.settings.declared_dead = dead;
        }
    }

    /// Whether XAPI has such a note.
    pub fn is_declared_dead(&self, host: &str) -> bool {
        let state = self.lock();
        let host = state.hosts.get(host);
        host.is_some_and(|host| host.settings.declared_dead)
    }

    /// Makes a host a member of another XAPI pool. An empty name: of no pool.
    pub fn set_pool(&self, host: &str, pool: &str) {
        if let Some(host) = self.lock().hosts.get_mut(host) {
            pool.clone_into(&mut host.settings.pool);
        }
    }

    /// Whether XAPI can reach a host.
    pub fn set_host_reachable(&self, host: &str, reachable: bool) {
        if let Some(host) = self.lock().hosts.get_mut(host) {
            host.settings.reachable = reachable;
        }
    }

    /// Sets a host's clock so many seconds ahead of the right time.
    pub fn set_clock(&self, host: &str, ahead: i64) {
        if let Some(host) = self.lock().hosts.get_mut(host) {
            host.settings.skew = ahead;
        }
    }

    /// Gives a host a kernel older than Linux 5.5, or a newer one.
    pub fn set_old_kernel(&self, host: &str, old: bool) {
        if let Some(host) = self.lock().hosts.get_mut(host) {
            host.settings.watches_readers = old;
        }
    }

    /// Lets XAPI ask for growth of disks in use, as `VDI.resize_online` does.
    pub fn set_growth_in_use(&self, asked: bool) {
        self.lock().grows_in_use = asked;
    }

    /// Sets the datapath that a host reports for its disks. `None`: its smblock does not report it.
    pub fn set_datapath(&self, host: &str, datapath: Option<&str>) {
        if let Some(host) = self.lock().hosts.get_mut(host) {
            host.settings.datapath = datapath.map(str::to_owned);
        }
    }

    /// Starts or ends a tapdisk of that host that serves a VDI. SM starts it after an activation, and ends it
    /// before a deactivation.
    pub fn set_used(&self, host: &str, vdi: &Uuid, used: bool) {
        if let Some(host) = self.lock().hosts.get_mut(host) {
            if used {
                host.used.insert(*vdi);
            } else {
                host.used.remove(vdi);
            }
        }
    }

    /// Sets whether the pool's users may blocklist other clients.
    pub fn set_may_blocklist(&self, may: bool) {
        self.lock().pool.without_blocklist = !may;
    }

    /// Sets whether XAPI accepts messages.
    pub fn set_takes_messages(&self, takes: bool) {
        self.lock().board.set_refuses(!takes);
    }

    /// XAPI's messages.
    pub fn board(&self) -> MemoryBoard {
        self.lock().board.clone()
    }

    /// Returns the blocklisted addresses.
    pub fn blocklist(&self) -> Vec<String> {
        self.lock().pool.blocklist.keys().cloned().collect()
    }
}
