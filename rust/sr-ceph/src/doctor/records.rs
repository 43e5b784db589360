//! The catalogue's keys and values.

use sr::finding::table;

use super::look::Doctor;
use crate::catalogue::{
    directory_key, host_key, DIRECTORY, HIDDEN_PREFIX, INTENT_PREFIX, LINEAGE_PREFIX, SR_KEY,
    VDI_PREFIX,
};
use crate::error::{Context, Result};
use crate::record::{
    HiddenRecord, HostRecord, Intent, LineageRecord, ReaderRecord, Record, SrRecord, TrashRecord,
    Unreadable, VdiRecord,
};
use crate::sr::reclaim::{TRASH_PREFIX, WORKER_KEY};

fn problem<T: Record>(value: &[u8]) -> Option<Unreadable> {
    T::parse(value).err()
}

/// Why a value cannot be read; `None` in the outer place: the key is not one of this version's.
fn problem_of(key: &str, value: &[u8]) -> Option<Option<Unreadable>> {
    let host_prefix = host_key("");
    let found = match key {
        SR_KEY => problem::<SrRecord>(value),
        WORKER_KEY => None, // a worker takes its own record over if it is damaged
        _ if key.starts_with(VDI_PREFIX) => problem::<VdiRecord>(value),
        _ if key.starts_with(INTENT_PREFIX) => problem::<Intent>(value),
        _ if key.starts_with(HIDDEN_PREFIX) => problem::<HiddenRecord>(value),
        _ if key.starts_with(LINEAGE_PREFIX) => problem::<LineageRecord>(value),
        _ if key.starts_with(TRASH_PREFIX) => problem::<TrashRecord>(value),
        _ if key.starts_with(&host_prefix) => problem::<HostRecord>(value),
        _ if key.starts_with("reader.") => problem::<ReaderRecord>(value),
        _ => return None,
    };
    Some(found)
}

impl Doctor<'_, '_> {
    pub(super) fn look_at_records(&mut self) -> Result<()> {
        let (pool, object) = (self.sr.pool.pool_name(), self.sr.catalogue.object());
        for (key, value) in &self.entries {
            let shown = format!("key {key}");
            let give_up = format!("rados -p {pool} rmomapkey {object} {key}");
            let kind = match problem_of(key, value) {
                Some(None) => continue,
                Some(Some(Unreadable::Newer(newer))) => {
                    table::NEWER.found(shown, newer.what(), newer.fix())
                }
                Some(Some(reason)) => {
                    let fix = format!(
                        "write a copy of the value back, or give the entry up with: {give_up}"
                    );
                    table::UNREADABLE.found(shown, reason.to_string(), fix)
                }
                None => {
                    let fix = format!("if no newer smblock uses the SR: {give_up}");
                    let text = format!("this version has no such key in {object}");
                    table::UNKNOWN_KEY.found(shown, text, fix)
                }
            };
            self.found.push(kind);
        }
        self.look_at_sr_record();
        self.look_at_directory()
    }

    fn look_at_sr_record(&mut self) {
        let value = self.entries.get(SR_KEY);
        let Some(record) = value.and_then(|value| SrRecord::parse(value).ok()) else {
            if value.is_none() {
                let text = "the catalogue has no key sr";
                let fix = "restore the catalogue's object from a copy";
                let object = self.sr.catalogue.object();
                self.found.push(table::UNREADABLE.found(object, text, fix));
            }
            return;
        };
        if record.deleting {
            let sr = self.sr.sr;
            let fix =
                format!("xe sr-destroy uuid={sr} again, or keep the SR: xe pbd-plug uuid=PBD");
            let text = "its deletion has begun, and nothing can be created in it";
            let found = table::DELETING.found(format!("SR {sr}"), text, fix);
            self.found.push(found);
        }
    }

    fn look_at_directory(&mut self) -> Result<()> {
        let (sr, pool) = (self.sr.sr, self.sr.pool.pool_name());
        let key = directory_key(&sr);
        let listed = match self.sr.pool.get(DIRECTORY, &[&key]) {
            Err(e) if e.is_not_found() => false,
            other => !other
                .doing("reading the pool's directory of SRs")?
                .is_empty(),
        };
        if !listed {
            let text = format!("the object {DIRECTORY} of pool {pool} does not name it");
            let fix = format!("printf {sr} | rados -p {pool} setomapval {DIRECTORY} {key}");
            let found = table::NOT_IN_DIRECTORY.found(format!("SR {sr}"), text, fix);
            self.found.push(found);
        }
        Ok(())
    }
}
