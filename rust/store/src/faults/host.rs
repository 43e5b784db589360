//! The faults of a process before its host.

use uuid::Uuid;

use super::{change, read, Call, Faults};
use crate::host::{Host, MapRequest, Mapped, Owner, Result as HostResult};

/// A [`Host`] as a process with faults sees it.
pub struct FaultyHost<'f, 'w> {
    inner: &'w dyn Host,
    faults: &'f Faults<'w>,
}

impl<'f, 'w> FaultyHost<'f, 'w> {
    /// Puts faults before a host.
    pub fn new(inner: &'w dyn Host, faults: &'f Faults<'w>) -> Self {
        FaultyHost { inner, faults }
    }

    fn call<T>(
        &self,
        call: &Call<'_>,
        apply: impl Fn(&dyn Host) -> HostResult<T> + 'w,
    ) -> HostResult<T> {
        let inner = self.inner;
        self.faults.pass(call, move || apply(inner), || Ok(()))
    }
}

impl Host for FaultyHost<'_, '_> {
    fn owner(&self) -> &Owner {
        self.inner.owner()
    }

    fn now(&self) -> u64 {
        self.inner.now()
    }

    fn pause(&self, milliseconds: u64) {
        self.inner.pause(milliseconds);
    }

    fn is_gone(&self, owner: &Owner) -> bool {
        self.inner.is_gone(owner)
    }

    fn is_declared_dead(&self, host: &str) -> HostResult<bool> {
        let owned = host.to_owned();
        self.call(&read("is_declared_dead", host), move |h| {
            h.is_declared_dead(&owned)
        })
    }

    fn pause_disk(&self, vdi: &Uuid) -> HostResult<()> {
        let owned = *vdi;
        self.call(&change("pause_disk", &vdi.to_string()), move |h| {
            h.pause_disk(&owned)
        })
    }

    fn resume_disk(&self, vdi: &Uuid) -> HostResult<()> {
        let owned = *vdi;
        self.call(&change("resume_disk", &vdi.to_string()), move |h| {
            h.resume_disk(&owned)
        })
    }

    fn supported_features(&self) -> HostResult<Option<u64>> {
        self.call(&read("supported_features", ""), |h| h.supported_features())
    }

    fn mappings(&self) -> HostResult<Vec<Mapped>> {
        self.call(&read("mappings", ""), |h| h.mappings())
    }

    fn map(&self, request: &MapRequest) -> HostResult<Mapped> {
        let owned = request.clone();
        self.call(&change("map", &request.image_name), move |h| h.map(&owned))
    }

    fn unmap(&self, mapped: &Mapped) -> HostResult<()> {
        let owned = mapped.clone();
        self.call(&change("unmap", &mapped.image_name), move |h| {
            h.unmap(&owned)
        })
    }
}
