//! Growing a disk that a VM uses.
//!
//! XAPI asks for it with `VDI.resize_online`: then its record of the VDI has that operation. Without it, a disk in
//! use is refused. The host of the claim reports the datapath of the disk. Only blkback (`phy`) takes another size:
//! it compares the size of its device with each request, and informs the VM. tapdisk keeps the size of its first
//! open, and refuses any other when it resumes the disk after a snapshot.
//!
//! The host's kernel watches the image, and sees the new size when the cluster has it. This is only looked at
//! after the record has the new size: a host that has the old one is no reason to fail, because its next plug
//! has the new one.

use sr::device_config::Datapath;
use uuid::Uuid;

use crate::error::{Context, Error, GrowthRefusal, Result};
use crate::hold::Hold;
use crate::record::VdiRecord;
use crate::size::Size;
use crate::CephSr;

/// How often and after how many milliseconds a host is asked whether it has the new size: krbd has it within 0.2 s.
const LOOKS: [u64; 3] = [0, 500, 2000];

impl CephSr<'_> {
    /// Refuses a disk in use, unless XAPI asks for its growth in use and it can grow there. Returns the host that
    /// uses it.
    pub(super) fn require_growable(&self, record: &VdiRecord) -> Result<Option<String>> {
        let vdi = record.uuid;
        let refused = match self.claims.refuse_if_in_use(record) {
            Ok(()) => return Ok(None),
            Err(refused) => refused,
        };
        let host = match &refused {
            Error::VdiInUse {
                host,
                hold: Hold::InUse,
                ..
            } => host.clone(),
            _ => return Err(refused),
        };
        let doing = format!("asking XAPI whether VDI {vdi} is to grow in use");
        if !self.host.grows_in_use(&vdi).doing(&doing)? {
            return Err(refused);
        }
        if record.reset_point.is_some() {
            return Err(GrowthRefusal::Resets { vdi }.into());
        }
        let doing = format!("asking host {host} how it uses VDI {vdi}");
        let reply = self.host.ask(&host, &vdi).doing(&doing)?;
        match reply.and_then(|reply| reply.datapath).as_deref() {
            Some(name) if name == Datapath::Phy.name() => Ok(Some(host)),
            Some(_) => Err(GrowthRefusal::Tapdisk { vdi, host }.into()),
            None => Err(GrowthRefusal::UnknownDatapath { vdi, host }.into()),
        }
    }

    /// Warns if the host that uses a disk does not get its new size.
    pub(super) fn warn_unless_grown_on(&self, host: &str, vdi: &Uuid, size: u64) {
        let mut last = "no reply".to_owned();
        for milliseconds in LOOKS {
            self.host.sleep(milliseconds);
            match self.host.ask(host, vdi) {
                Ok(Some(reply)) if !reply.in_use => return,
                Ok(Some(reply)) => match reply.size {
                    Some(its) if its >= size => return,
                    Some(its) => last = Size(its).to_string(),
                    None => last = "no size".to_owned(),
                },
                Ok(None) => {}
                Err(e) => last = e.to_string(),
            }
        }
        log::warn!(
            "VDI {vdi} has grown to {}, but host {host} reports {last}: its VM sees the new size when the disk is plugged again",
            Size(size)
        );
    }
}
