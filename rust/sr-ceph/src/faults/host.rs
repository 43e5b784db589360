//! Fault injection for the calls to a host.

use sr::alarm::Report;
use sr::faults::{change, read, Call, Faults};
use uuid::Uuid;

use crate::host::{
    Host, HostReply, KernelRelease, MapRequest, Mapped, Membership, Owner, Result as HostResult,
};

/// A [`Host`] with fault injection.
pub struct FaultyHost<'f, 'w> {
    inner: &'w dyn Host,
    faults: &'f Faults<'w>,
}

impl<'f, 'w> FaultyHost<'f, 'w> {
    /// Adds fault injection to a host.
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

    fn sleep(&self, milliseconds: u64) {
        self.inner.sleep(milliseconds);
    }

    fn is_gone(&self, owner: &Owner) -> bool {
        self.inner.is_gone(owner)
    }

    fn seen_for(&self, key: &str, value: &str) -> HostResult<u64> {
        let owned = (key.to_owned(), value.to_owned());
        self.call(&read("seen_for", key), move |h| {
            h.seen_for(&owned.0, &owned.1)
        })
    }

    fn note(&self, name: &str, text: Option<&str>) -> HostResult<()> {
        let owned = (name.to_owned(), text.map(ToOwned::to_owned));
        // No outcome depends on a note: a lost note is a failing read.
        self.call(&read("note", name), move |h| {
            h.note(&owned.0, owned.1.as_deref())
        })
    }

    fn noted(&self, name: &str) -> HostResult<Option<String>> {
        let owned = name.to_owned();
        self.call(&read("noted", name), move |h| h.noted(&owned))
    }

    fn pool(&self) -> HostResult<String> {
        self.call(&read("pool", ""), |h| h.pool())
    }

    fn membership(&self, host: &str) -> HostResult<Membership> {
        let owned = host.to_owned();
        self.call(&read("membership", host), move |h| h.membership(&owned))
    }

    fn ask(&self, host: &str, vdi: &Uuid) -> HostResult<Option<HostReply>> {
        let owned = (host.to_owned(), *vdi);
        self.call(&read("ask", host), move |h| h.ask(&owned.0, &owned.1))
    }

    fn grows_in_use(&self, vdi: &Uuid) -> HostResult<bool> {
        let owned = *vdi;
        self.call(&read("grows_in_use", &vdi.to_string()), move |h| {
            h.grows_in_use(&owned)
        })
    }

    fn revive(&self) -> HostResult<()> {
        self.call(&change("revive", ""), |h| h.revive())
    }

    fn alarm(&self, report: &Report) -> HostResult<()> {
        let owned = report.clone();
        self.call(&change("alarm", ""), move |h| h.alarm(&owned))
    }

    fn pause_disks(&self, vdis: &[Uuid]) -> Vec<HostResult<()>> {
        let each = vdis.iter().map(|vdi| {
            let (owned, name) = (*vdi, vdi.to_string());
            self.call(&change("pause_disk", &name), move |h| h.pause_disk(&owned))
        });
        each.collect()
    }

    fn resume_disks(&self, vdis: &[Uuid]) -> Vec<HostResult<bool>> {
        let each = vdis.iter().map(|vdi| {
            let (owned, name) = (*vdi, vdi.to_string());
            self.call(&change("resume_disk", &name), move |h| {
                h.resume_disk(&owned)
            })
        });
        each.collect()
    }

    fn is_task_over(&self, task: &str) -> HostResult<bool> {
        let owned = task.to_owned();
        self.call(&read("is_task_over", task), move |h| h.is_task_over(&owned))
    }

    fn kernel(&self) -> HostResult<KernelRelease> {
        self.call(&read("kernel", ""), |h| h.kernel())
    }

    fn supported_features(&self) -> HostResult<Option<u64>> {
        self.call(&read("supported_features", ""), |h| h.supported_features())
    }

    fn watches_readers(&self) -> HostResult<bool> {
        self.call(&read("watches_readers", ""), |h| h.watches_readers())
    }

    fn mappings(&self) -> HostResult<Vec<Mapped>> {
        self.call(&read("mappings", ""), |h| h.mappings())
    }

    fn map(&self, request: &MapRequest) -> HostResult<Mapped> {
        let owned = request.clone();
        self.call(&change("map", &request.image_name), move |h| h.map(&owned))
    }

    fn unmap(&self, mapped: &Mapped, seconds: u64) -> HostResult<()> {
        let owned = mapped.clone();
        self.call(&change("unmap", &mapped.image_name), move |h| {
            h.unmap(&owned, seconds)
        })
    }
}
