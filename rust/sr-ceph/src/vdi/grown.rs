//! A disk in use whose image was grown by hand.
//!
//! tapdisk keeps the size that the image has when the disk is plugged. After a pause it opens the image again, and
//! does not resume if the size is another one (EMEDIUMTYPE): the VM would stop. So the disk's record has the size
//! that tapdisk has: an activation writes the size of the image to the record with its claim, and a scan does not
//! change the record of a claimed disk. A snapshot is refused before the pause if the image is larger.
//!
//! blkback takes the new size by itself. Its host is only asked if the sizes differ.

use sr::device_config::Datapath;

use crate::error::{ByHand, Context, Result};
use crate::record::VdiRecord;
use crate::CephSr;

impl CephSr<'_> {
    /// Refuses to pause a disk that its tapdisk could not resume, because the image has another size.
    pub(in crate::vdi) fn require_resumable(&self, record: &VdiRecord, size: u64) -> Result<()> {
        match self.host_of_smaller(record, size)? {
            None => Ok(()),
            Some(host) => Err(ByHand::GrownInUse {
                vdi: record.uuid,
                image: self.images.path(&record.volume.image().name),
                host,
                expected: record.size,
                size,
            }
            .into()),
        }
    }

    /// The host on which a VM may use the disk through tapdisk, if the image is larger than the disk.
    pub(crate) fn host_of_smaller(&self, record: &VdiRecord, size: u64) -> Result<Option<String>> {
        let Some(claim) = record.claim.as_ref().filter(|_| size > record.size) else {
            return Ok(None);
        };
        let (vdi, host) = (&record.uuid, &claim.owner.host);
        let doing = format!("asking host {host} how it uses VDI {vdi}");
        let takes_any_size = match self.host.ask(host, vdi).doing(&doing)? {
            Some(reply) => !reply.in_use || reply.datapath.as_deref() == Some(Datapath::Phy.name()),
            None => false,
        };
        Ok((!takes_any_size).then(|| host.clone()))
    }
}
