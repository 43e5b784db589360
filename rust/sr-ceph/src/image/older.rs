//! The names that the driver CephRBDSR gives to images and snapshots.
//!
//! An image is `PREFIXvdi-UUID`, a snapshot of it `PREFIXsnap-UUID`. `PREFIX` is the key `prefix` of the
//! device-config; a hyphen is added if it does not end with one. CephRBDSR finds both by these names alone: it
//! keeps no other record in the pool.

use uuid::Uuid;

/// How long a UUID is in a name.
const UUID_LENGTH: usize = 36;
const IMAGE: &str = "vdi-";
const SNAPSHOT: &str = "snap-";

/// The names in one SR of CephRBDSR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OlderNames {
    prefix: String,
}

impl OlderNames {
    /// The names with the `prefix` of a device-config.
    pub(crate) fn new(prefix: &str) -> Self {
        let mut prefix = prefix.to_owned();
        if !prefix.is_empty() && !prefix.ends_with('-') {
            prefix.push('-');
        }
        OlderNames { prefix }
    }

    /// The names in the SR that an image of that name belongs to.
    pub(crate) fn of_image(name: &str) -> Option<Self> {
        let (before, _) = split(name, IMAGE)?;
        Some(OlderNames {
            prefix: before.to_owned(),
        })
    }

    /// The VDI of an image, if the image belongs to the SR.
    pub(crate) fn disk(&self, name: &str) -> Option<Uuid> {
        self.uuid(name, IMAGE)
    }

    /// The VDI of a snapshot, if it is one of the SR.
    pub(crate) fn snapshot(&self, name: &str) -> Option<Uuid> {
        self.uuid(name, SNAPSHOT)
    }

    fn uuid(&self, name: &str, kind: &str) -> Option<Uuid> {
        let (before, uuid) = split(name, kind)?;
        (before == self.prefix).then_some(uuid)
    }

    /// The prefix, with its hyphen.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether an image looks like one of the SR, and has no UUID in its name.
    pub(crate) fn lacks_uuid(&self, name: &str) -> bool {
        let rest = name.strip_prefix(&self.prefix);
        rest.is_some_and(|rest| rest.starts_with(IMAGE)) && self.disk(name).is_none()
    }
}

/// Whether CephRBDSR has made a snapshot of that name. smblock's own are named by the UUID alone.
pub(crate) fn is_older_snapshot(name: &str) -> bool {
    split(name, SNAPSHOT).is_some()
}

/// Splits a name into what is before the kind, and the UUID after it.
fn split<'n>(name: &'n str, kind: &str) -> Option<(&'n str, Uuid)> {
    let at = name.len().checked_sub(UUID_LENGTH)?;
    let (before, uuid) = (name.get(..at)?, name.get(at..)?);
    let before = before.strip_suffix(kind)?;
    // Of the forms that the parser accepts, only the hyphenated one has that length.
    Some((before, uuid.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "5c7b7d1e-2f0a-4c6e-9c39-0d7a4f0b8a11";

    #[test]
    fn an_image_belongs_to_the_sr_with_its_prefix() {
        let (plain, lab) = (OlderNames::new(""), OlderNames::new("lab"));
        let name = |prefix: &str| format!("{prefix}vdi-{UUID}");
        assert_eq!(plain.disk(&name("")), UUID.parse().ok());
        assert_eq!(lab.disk(&name("lab-")), UUID.parse().ok());
        assert_eq!(OlderNames::new("lab-"), lab);
        assert_eq!(plain.disk(&name("lab-")), None);
        assert_eq!(lab.disk(&name("")), None);
        assert_eq!(OlderNames::of_image(&name("lab-")), Some(lab));
    }

    #[test]
    fn a_name_without_a_hyphenated_uuid_is_no_disk() {
        let names = OlderNames::new("");
        let simple = UUID.replace('-', "");
        for name in ["vdi-", "vdi-golden", "x", "", &format!("vdi-{simple}")] {
            assert_eq!(names.disk(name), None, "{name}");
        }
        assert!(names.lacks_uuid("vdi-golden") && !names.lacks_uuid("golden"));
    }

    #[test]
    fn a_temporary_snapshot_of_a_clone_is_no_vdi() {
        let temporary = format!("snap-clone-temp-{UUID}");
        assert_eq!(OlderNames::new("").snapshot(&temporary), None);
        assert!(!is_older_snapshot(&temporary) && !is_older_snapshot(UUID));
        assert!(is_older_snapshot(&format!("lab-snap-{UUID}")));
    }
}
