//! Taking over the disks of the driver CephRBDSR, in place, and giving them back.
//!
//! CephRBDSR finds a disk by the name of its image alone, `vdi-UUID`, takes no claim, and its SRs are of type
//! cephrbd too. So the SR keeps its UUID, XAPI keeps its records of the SR, of the VDIs and of their VBDs, and
//! an image changes its owner by one step: it is renamed. From then on CephRBDSR cannot open it. No data is
//! copied; snapshots and clones refer to images by id, and stay as they are.
//!
//! To take over (`take.rs`):
//!
//! 1. Everything is looked at (`look.rs`). Anything that must not be taken as it is refuses all: the SR is
//!    plugged, a client has an image open, an image is half deleted. Nothing is changed.
//! 2. For each image: the image-meta is written, which has the old name; the image is renamed; its clients are
//!    listed again. A client that has opened it in between has it by its old name: the image is renamed back.
//! 3. One operation writes all records. If the SR has no catalogue yet, it makes the catalogue with them.
//!
//! Until step 3 smblock has no such SR, so it cannot be plugged, and no scan makes XAPI forget a disk. A stop
//! leaves some images with the old name, and some with the new one: their image-meta shows what they were.
//! The next run continues, in either direction.
//!
//! To give back (`give_back.rs`):
//!
//! 1. As above. In addition, anything that smblock has made since refuses: it would be lost.
//! 2. The SR is marked, and looked at again. Clone bases are removed.
//! 3. The catalogue is removed, if it has this very mark. smblock has no such SR from now on.
//! 4. For each image: snapshots of CephRBDSR are protected again, the image gets its old name, and then its
//!    image-meta is removed.
//!
//! Snapshots stay protected, because CephRBDSR cannot delete a snapshot that is not. A deletion of such a
//! snapshot removes the protection (`vdi/delete.rs`).

mod describe;
mod give_back;
mod look;
mod take;

use sr::engine::{Adoption, AdoptionRequest};

use crate::error::{NamespaceError, Result};
use crate::CephSr;

impl CephSr<'_> {
    /// Takes over the disks of CephRBDSR, or gives them back. Returns what was done, or would be, and what
    /// prevents it.
    ///
    /// # Errors
    /// The device-config names a namespace; or the pool cannot be read or changed. What is done then stays; a repetition continues.
    pub fn adopt_older(&self, request: &AdoptionRequest) -> Result<Adoption> {
        if !self.pool.namespace().is_empty() {
            let namespace = self.pool.namespace().to_owned();
            return Err(NamespaceError::Adoption {
                sr: self.sr,
                namespace,
            }
            .into());
        }
        match request.undo {
            false => self.take_over(request),
            true => self.give_back(request),
        }
    }
}
