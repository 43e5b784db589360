//! The doctor: everything that is wrong with an SR, or that makes the next operation fail. Each part looks at one kind of object, and adds findings with ids of `sr::finding`.
//!
//! Nothing is changed: the parts use none of the driver's judgements that write to the catalogue. What cannot
//! be read becomes a finding, so that one part does not hide the others. [`CephSr::repair`] does what the
//! next scan and the next plug do, and nothing else.

mod cluster;
mod health;
mod hosts;
mod images;
mod journal;
mod look;
mod records;
mod repair;
mod space;

use sr::doctor::{tags, Facts};
use sr::finding::{unreadable, Finding};

use self::look::Doctor;
use crate::error::Result;
use crate::CephSr;

impl CephSr<'_> {
    /// Looks at the SR from this host. `facts`: what XAPI and SM have about it. Changes nothing.
    ///
    /// # Errors
    /// The pool or the catalogue cannot be read.
    pub fn doctor(&self, facts: &Facts) -> Result<Vec<Finding>> {
        let mut doctor = Doctor::new(self)?;
        let parts = [
            Doctor::look_at_records,
            Doctor::look_at_images,
            Doctor::look_at_journal,
            Doctor::look_at_space,
            Doctor::look_at_hosts,
        ];
        for part in parts {
            match part(&mut doctor) {
                // Each other part would wait as long.
                Err(e) if e.is_outcome_unknown() => return Err(e),
                Err(e) => doctor.found.push(unreadable(self.sr, e)),
                Ok(()) => {}
            }
        }
        doctor.look_at_cluster();
        let has = doctor.what_the_sr_has();
        doctor.found.extend(tags(facts, &self.sr, &has));
        Ok(doctor.found)
    }
}
