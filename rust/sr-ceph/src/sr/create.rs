//! Creating an SR.
//!
//! 1. The object that deletion needs on a full pool is made (`rbd_trash`).
//! 2. The pool's directory gets a key for the SR.
//! 3. The SR's catalogue object is made, exclusively.
//!
//! A crash before step 3 leaves a directory key without a catalogue: that is no SR. A probe ignores it, and
//! deleting or creating an SR of that UUID removes it.

use crate::catalogue::{directory_key, DIRECTORY, SR_KEY};
use crate::error::{Context, Error, KernelTooOld, Result};
use crate::host::KernelRelease;
use crate::pool::{Entries, Transaction};
use crate::record::{Record, SrRecord};
use crate::{room, CephSr};

impl CephSr<'_> {
    /// Makes an empty SR.
    pub fn create_sr(&self, name_label: &str, name_description: &str) -> Result<()> {
        let doing = format!("creating SR {}", self.sr);
        self.require_place(&doing)?;
        self.prepare_place(&doing)?;
        let mut record = SrRecord::new(self.sr, name_label, name_description, self.host.now());
        let entries = Entries::from([(SR_KEY.to_owned(), record.seal())]);
        match self.pool.create_object(&self.catalogue.object(), &entries) {
            Err(e) if e.is_already_there() => Err(Error::SrExists {
                sr: self.sr,
                pool: self.pool.spec(),
            }),
            other => other.doing(&doing),
        }
    }

    /// Refuses a pool that cannot hold the SR. Changes nothing.
    pub(crate) fn require_place(&self, doing: &str) -> Result<()> {
        self.require_kernel()?;
        room::require_usable_pool(self.pool, &format!("SR {} was not created", self.sr))?;
        let allowed = self.pool.may_blocklist();
        allowed.doing(&format!(
            "{doing}: checking that a dead host can be cut off"
        ))
    }

    /// Refuses a kernel that cannot map the images of the SR.
    pub(crate) fn require_kernel(&self) -> Result<()> {
        let namespace = self.pool.namespace();
        let striped = self.images.are_striped();
        if namespace.is_empty() && !striped {
            return Ok(());
        }
        let kernel = self.host.kernel();
        let kernel = kernel.doing("reading the release of this host's kernel")?;
        Ok(require_new(&kernel, namespace, striped)?)
    }

    /// Steps 1 and 2.
    pub(crate) fn prepare_place(&self, doing: &str) -> Result<()> {
        self.pool.prepare_trash().doing(doing)?;
        self.enter_directory(doing)
    }

    fn enter_directory(&self, doing: &str) -> Result<()> {
        let key = directory_key(&self.sr);
        let value = self.sr.to_string().into_bytes();
        let entries = Entries::from([(key, value)]);
        match self.pool.create_object(DIRECTORY, &entries) {
            Err(e) if e.is_already_there() => {
                let transaction = Transaction {
                    set: entries,
                    ..Transaction::default()
                };
                self.pool.transaction(DIRECTORY, &transaction).doing(doing)
            }
            other => other.doing(doing),
        }
    }
}

/// Refuses a kernel that cannot map images in that namespace, or with stripes.
fn require_new(
    kernel: &KernelRelease,
    namespace: &str,
    striped: bool,
) -> std::result::Result<(), KernelTooOld> {
    let release = kernel.name.clone();
    if !(namespace.is_empty() || kernel.maps_namespaces()) {
        let namespace = namespace.to_owned();
        return Err(KernelTooOld::Namespace { namespace, release });
    }
    if striped && !kernel.maps_stripes() {
        return Err(KernelTooOld::Stripes { release });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_cannot_map_the_images_of_an_sr_is_refused() {
        let required = |name: &str, namespace, striped| {
            let name = name.to_owned();
            let required = require_new(&KernelRelease { name }, namespace, striped);
            required.map_err(|e| e.to_string())
        };
        for (namespace, striped) in [("", false), ("", true), ("a", false), ("a", true)] {
            assert_eq!(required("4.19.0+1", namespace, striped), Ok(()));
        }
        assert_eq!(required("4.16.0", "", false), Ok(()));
        assert_eq!(required("4.17.0", "", true), Ok(()));
        let refused = required("4.17.0", "a", true).err().unwrap_or_default();
        assert!(
            refused.contains("device-config:namespace=a needs Linux 4.19"),
            "{refused}"
        );
        let refused = required("4.16.0", "", true).err().unwrap_or_default();
        assert!(refused.contains("needs Linux 4.17"), "{refused}");
    }
}
