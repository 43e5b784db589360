//! The images that the catalogue names. An image that any key names is never purged.
//!
//! A value that cannot be read may name any image. So nothing is purged while the catalogue holds one.

use std::collections::BTreeMap;

use crate::catalogue::{
    with_prefix, HIDDEN_PREFIX, INTENT_PREFIX, PREPARED_PREFIX, SR_KEY, VDI_PREFIX,
};
use crate::pool::Entries;
use crate::record::{newer, Action, HiddenRecord, Intent, PreparedRecord, Record, VdiRecord};

/// The images that a catalogue names, each with the key that does.
#[derive(Debug, Default)]
pub(super) struct Named {
    by_id: BTreeMap<String, String>,
    /// Images that are being made: their ids are not known yet.
    by_name: BTreeMap<String, String>,
    unreadable: Option<String>,
}

/// Why an image is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reason {
    /// That key of the catalogue names it.
    NamedBy(String),
    /// That key of the catalogue cannot be read, and may name it.
    Unreadable(String),
}

impl Named {
    pub(super) fn by(entries: &Entries) -> Self {
        let mut named = Named::default();
        // A newer format may have other keys that name images.
        if entries.get(SR_KEY).is_some_and(|sr| newer(sr).is_some()) {
            named.unreadable = Some(SR_KEY.to_owned());
        }
        for (key, value) in with_prefix(entries, VDI_PREFIX) {
            named.add(key, VdiRecord::parse(value).ok(), Self::add_vdi);
        }
        for (key, value) in with_prefix(entries, INTENT_PREFIX) {
            named.add(key, Intent::parse(value).ok(), Self::add_intent);
        }
        for (key, value) in with_prefix(entries, HIDDEN_PREFIX) {
            named.add(
                key,
                HiddenRecord::parse(value).ok(),
                |named, key, hidden| {
                    named.add_id(key, hidden.image.id);
                },
            );
        }
        for (key, value) in with_prefix(entries, PREPARED_PREFIX) {
            let record = PreparedRecord::parse(value).ok();
            named.add(key, record, |named, key, record| {
                if let Some((image, _)) = record.prepared.snapshot() {
                    named.add_id(key, image.id.clone());
                }
            });
        }
        named
    }

    /// Returns why an image of that id and name is to be kept. `None`: nothing names it.
    pub(super) fn reason_to_keep(&self, id: &str, name: &str) -> Option<Reason> {
        let key = self.by_id.get(id).or_else(|| self.by_name.get(name));
        let named = key.cloned().map(Reason::NamedBy);
        named.or_else(|| self.unreadable.clone().map(Reason::Unreadable))
    }

    /// A key that cannot be read.
    pub(super) fn unreadable(&self) -> Option<&str> {
        self.unreadable.as_deref()
    }

    fn add<R>(&mut self, key: &str, record: Option<R>, add: impl FnOnce(&mut Self, &str, R)) {
        match record {
            Some(record) => add(self, key, record),
            None => self.unreadable = Some(key.to_owned()),
        }
    }

    fn add_vdi(&mut self, key: &str, vdi: VdiRecord) {
        self.add_id(key, vdi.volume.image().id.clone());
        if let Some(point) = vdi.reset_point {
            self.add_id(key, point.image.id);
        }
    }

    fn add_intent(&mut self, key: &str, intent: Intent) {
        match intent.action {
            Action::CreateDisk { image_name } | Action::Revert { image_name } => {
                self.by_name.insert(image_name, key.to_owned());
            }
            Action::Snapshot { image, .. }
            | Action::CloneDisk { image, .. }
            | Action::DeleteSnapshot { image, .. }
            | Action::DeleteDisk { image, .. }
            | Action::Grow { image, .. } => self.add_id(key, image.id),
        }
    }

    /// The key of a VDI is added first, and stays: it is the one that an administrator looks for.
    fn add_id(&mut self, key: &str, id: String) {
        self.by_id.entry(id).or_insert_with(|| key.to_owned());
    }
}
