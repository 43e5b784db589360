//! Takes copies into service: first all three together, later each one that reconnects.

use std::net::TcpStream;
use std::sync::{Arc, MutexGuard};
use std::thread;
use std::time::Duration;

use super::info::{Connecting, DsState, UpState};
use super::link::{Ended, Link};
use super::{State, Upstairs};
use crate::region::{Definition, Version};
use crate::wire::{Reply, Request};

const CONNECT: Duration = Duration::from_secs(10);
const PIECE: usize = 4 << 20;

/// Why a copy is not in service.
enum Setback {
    /// Temporarily: the server retries.
    Later(String),
    /// Permanently: the volume cannot be served.
    Never(String),
}

fn later(error: impl ToString) -> Setback {
    Setback::Later(error.to_string())
}

impl Upstairs {
    /// Keep one copy connected as long as the volume is in service.
    pub(super) fn stay_connected(&self, index: usize) {
        loop {
            let target = self.options.targets[index];
            match self.connect(index) {
                Ok(Ended::NoLongerActive) => {
                    self.disable(format!("{target}: another upstairs took over"));
                }
                Ok(Ended::Closed) => eprintln!("{target}: connection lost"),
                Err(Setback::Later(why)) => eprintln!("{target}: {why}"),
                Err(Setback::Never(why)) => self.disable(why),
            }
            let link = self.state().clients[index].link.clone();
            if let Some(link) = link {
                self.drop_link(index, &link);
            }
            let mut state = self.state();
            if state.disabled.is_some() {
                return;
            }
            if state.up == UpState::Initializing {
                state.clients[index].region = None;
            }
            drop(state);
            thread::sleep(self.options.reconnect);
        }
    }

    /// From the connection to its end.
    fn connect(&self, index: usize) -> Result<Ended, Setback> {
        let target = self.options.targets[index];
        let stream = TcpStream::connect_timeout(&target, CONNECT).map_err(later)?;
        let (link, listening) = Link::new(stream).map_err(later)?;
        let link = Arc::new(link);
        let started = self.negotiate(index, &link).and_then(|region| {
            if self.state().up == UpState::Active {
                self.rejoin(index, &link)
            } else {
                self.wait_quorum(index, &link, region);
                Ok(())
            }
        });
        if started.is_err() {
            link.close();
        }
        let ended = listening.join().unwrap_or(Ended::Closed);
        if ended == Ended::NoLongerActive {
            return Ok(ended);
        }
        started.map(|()| ended)
    }

    fn negotiate(&self, index: usize, link: &Link) -> Result<(Definition, Version), Setback> {
        let encrypted = self.identity.key.is_some();
        match link
            .call(&Request::Hello(self.identity.clone()), b"")
            .map_err(later)?
            .0
        {
            Reply::Done => {}
            Reply::ReadOnlyMismatch => {
                return Err(Setback::Never(
                    "Incompatible read-only settings: wanted false, got true".to_owned(),
                ))
            }
            Reply::EncryptionMismatch => {
                return Err(Setback::Never(format!(
                    "Incompatible encryption settings: wanted {encrypted}, got {}",
                    !encrypted
                )))
            }
            reply => return Err(later(format!("{reply:?}"))),
        }
        self.state().clients[index].state = DsState::connecting(Connecting::WaitForPromote);
        // The previous writer is fenced here, before the other copies have agreed.
        link.call(&Request::Promote, b"").map_err(later)?;
        match link.call(&Request::Describe, b"").map_err(later)?.0 {
            Reply::Region(definition, version) => Ok((definition, version)),
            reply => Err(later(format!("{reply:?}"))),
        }
    }

    fn wait_quorum(&self, index: usize, link: &Arc<Link>, region: (Definition, Version)) {
        let mut state = self.state();
        let client = &mut state.clients[index];
        client.state = DsState::connecting(Connecting::WaitQuorum);
        client.link = Some(Arc::clone(link));
        client.region = Some(region);
        self.changed.notify_all();
    }

    /// If all three are connected: make their contents equal, and go into service.
    pub(super) fn collate(&self, mut state: MutexGuard<'_, State>) -> Result<(), String> {
        if let Some(why) = &state.disabled {
            return Err(why.clone());
        }
        let requested = self.options.generation;
        if requested == 0 {
            return Err("Generation 0 is illegal".to_owned());
        }
        let regions: Vec<_> = state
            .clients
            .iter()
            .filter_map(|client| client.region.clone().zip(client.link.clone()))
            .collect();
        let lowest = regions
            .iter()
            .map(|((_, version), _)| version.generation + 1)
            .max();
        if let Some(found) = lowest.filter(|found| requested < *found) {
            return Err(format!(
                "Generation number is too low: requested {requested}, found {found}"
            ));
        }
        let Some(((definition, newest), source)) =
            regions.iter().max_by_key(|((_, version), _)| version)
        else {
            return Err("must specify at least one --target".to_owned());
        };
        for ((other, version), link) in &regions {
            if other.size() != definition.size() || other.block_size != definition.block_size {
                return Err("Region incompatible: extent_count".to_owned());
            }
            if (version != newest || newest.dirty) && !Arc::ptr_eq(link, source) {
                copy(source, link)?;
            }
        }
        state.size = definition.size();
        state.block = definition.block_size;
        state.up = UpState::Active;
        for client in &mut state.clients {
            client.state = DsState::Active;
        }
        self.backlog().flushes = newest.flush;
        self.changed.notify_all();
        Ok(())
    }

    /// Copy what a copy has missed to it, and take it back into service.
    fn rejoin(&self, index: usize, link: &Arc<Link>) -> Result<(), Setback> {
        let mut backlog = self.backlog();
        let (stale, links) = {
            let mut state = self.state();
            state.clients[index].state = DsState::LiveRepair;
            (state.clients[index].stale, state.links())
        };
        if stale {
            let (_, source) = links
                .first()
                .ok_or_else(|| later("no copy is there to bring it up to date"))?;
            copy(source, link).map_err(Setback::Later)?;
        }
        let mut state = self.state();
        if state.disabled.is_some() {
            return Err(later("out of service"));
        }
        let client = &mut state.clients[index];
        client.stale = false;
        client.state = DsState::Active;
        client.link = Some(Arc::clone(link));
        drop(state);
        if stale {
            // The next flush stores the same version on all.
            backlog.since.get_or_insert_with(std::time::Instant::now);
        }
        self.changed.notify_all();
        Ok(())
    }
}

/// Make one copy equal to another, in all ranges that either has written.
fn copy(source: &Link, target: &Link) -> Result<(), String> {
    for link in [source, target] {
        let ranges = match ask(link, &Request::Allocated, b"")? {
            (Reply::Allocated(ranges), _) => ranges,
            (reply, _) => return Err(format!("{reply:?}")),
        };
        for (start, length) in ranges {
            let end = start + length;
            for offset in (start..end).step_by(PIECE) {
                let length = PIECE.min((end - offset) as usize);
                let (_, bytes) = ask(source, &Request::Read { offset, length }, b"")?;
                ask(target, &Request::Write { offset }, &bytes)?;
            }
        }
    }
    Ok(())
}

fn ask(link: &Link, request: &Request, payload: &[u8]) -> Result<(Reply, Vec<u8>), String> {
    match link.call(request, payload) {
        Ok((Reply::Failed(why), _)) => Err(why),
        Ok(reply) => Ok(reply),
        Err(error) => Err(error.to_string()),
    }
}
