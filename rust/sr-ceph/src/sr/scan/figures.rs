//! How much space each VDI takes, as a scan reports it. `sr/utilisation.rs` has counted it.
//!
//! SM writes each VDI that has changed to XAPI, with six calls. After the first count every disk has changed,
//! so a scan reports [`AT_ONCE`] new figures at most. The next scans report the others.

use sr::xapi::XapiVdi;

use crate::record::VdiRecord;

/// How many figures may change in one scan.
pub const AT_ONCE: usize = 32;

/// The figures of one scan.
#[derive(Debug, Default)]
pub(super) struct Figures {
    changed: usize,
}

impl Figures {
    /// The bytes to report for a VDI; `None` if they are not known.
    pub(super) fn of(&mut self, record: &VdiRecord, known: Option<&XapiVdi>) -> Option<u64> {
        let counted = match record.volume.snapshot() {
            Some(_) => Some(0),
            None => record.utilisation,
        };
        let Some(known) = known else {
            return counted;
        };
        match counted {
            Some(counted) if counted != known.utilisation && self.changed < AT_ONCE => {
                self.changed += 1;
                Some(counted)
            }
            _ => Some(known.utilisation),
        }
    }
}
