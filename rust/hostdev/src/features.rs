//! RBD image features, with their names in `rbd info` and `rbd feature disable`.

use std::fmt;
use std::str::FromStr;

use crate::Error;

bitflags::bitflags! {
    /// A set of RBD image features, with the bits of librbd, image headers and
    /// `/sys/bus/rbd/supported_features`. It keeps bits that have no name here: they are of newer features.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct ImageFeatures: u64 {
        /// Clones: an image can have a parent.
        const LAYERING = 1 << 0;
        /// The data is striped over more objects than by default.
        const STRIPING = 1 << 1;
        /// One writer at a time holds the image's lock, and releases it on request.
        const EXCLUSIVE_LOCK = 1 << 2;
        /// A bitmap of the existing objects, for faster delete, resize and diff.
        const OBJECT_MAP = 1 << 3;
        /// The bitmap also has the objects that changed since the last snapshot.
        const FAST_DIFF = 1 << 4;
        /// Flattening covers the snapshots, not only the head.
        const DEEP_FLATTEN = 1 << 5;
        /// Every write goes to a journal first. No kernel can map such an image.
        const JOURNALING = 1 << 6;
        /// The data is in another pool than the header.
        const DATA_POOL = 1 << 7;
        /// The image has clones of format 2 or is in a group.
        const OPERATIONS = 1 << 8;
        /// A live migration is in progress.
        const MIGRATING = 1 << 9;
        /// The image was demoted, or rbd-mirror keeps it as a copy: it is read-only.
        const NON_PRIMARY = 1 << 10;
        /// A cache of a client may have data that the image lacks.
        const DIRTY_CACHE = 1 << 11;
        // All other bits, without a name.
        const _ = !0;
    }
}

/// The features that `rbd feature disable` can remove from an existing image.
pub const DROPPABLE: ImageFeatures = ImageFeatures::EXCLUSIVE_LOCK
    .union(ImageFeatures::OBJECT_MAP)
    .union(ImageFeatures::FAST_DIFF)
    .union(ImageFeatures::DEEP_FLATTEN)
    .union(ImageFeatures::JOURNALING);

impl ImageFeatures {
    /// Returns the names of the features, lowest bit first. Omits bits without a name: `to_string` has them.
    #[must_use]
    pub fn names(self) -> Vec<String> {
        self.iter_names().map(|(name, _)| rbd_name(name)).collect()
    }
}

impl ImageFeatures {
    /// Returns how to use an image, `POOL/IMAGE`, that has these features, on a kernel without them.
    #[must_use]
    pub fn advice(self, image: &str) -> String {
        let droppable = self.intersection(DROPPABLE).names();
        let fixed = self.difference(DROPPABLE);
        let mut advice = Vec::new();
        if !droppable.is_empty() {
            advice.push(format!(
                "drop them with `rbd feature disable {image} {}`",
                droppable.join(" ")
            ));
        }
        if !fixed.is_empty() {
            advice.push(format!(
                "{fixed} cannot be dropped: copy the image to one without, or use a newer kernel"
            ));
        }
        advice.join("; ")
    }
}

/// The name in `rbd`: `exclusive-lock` for `EXCLUSIVE_LOCK`.
fn rbd_name(constant: &str) -> String {
    constant.to_lowercase().replace('_', "-")
}

/// The names separated by commas, then in hexadecimal the bits without a name: `layering,0x1000`.
impl fmt::Display for ImageFeatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = self.names();
        let named = self.iter_names().map(|(_, flag)| flag.bits());
        let unnamed = self.bits() & !named.fold(0, |all, bit| all | bit);
        if unnamed != 0 {
            words.push(format!("{unnamed:#x}"));
        }
        if words.is_empty() {
            return f.write_str("none");
        }
        f.write_str(&words.join(","))
    }
}

/// Reads a list such as `layering,exclusive-lock`. Spaces around names are ignored.
///
/// # Errors
/// [`Error::Invalid`] for a name that is not a feature, and for an empty name.
impl FromStr for ImageFeatures {
    type Err = Error;

    fn from_str(list: &str) -> Result<Self, Error> {
        list.split(',')
            .map(str::trim)
            .try_fold(Self::empty(), |set, word| {
                Self::all()
                    .iter_names()
                    .find(|(name, _)| rbd_name(name) == word)
                    .map(|(_, flag)| set | flag)
                    .ok_or_else(|| Error::Invalid {
                        what: "image feature",
                        value: word.to_owned(),
                        expected: format!("one of {}", Self::all().names().join(", ")),
                    })
            })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_set_of_named_features_is_read_as_it_was_written(bits in 1u64..4096) {
            let set = ImageFeatures::from_bits_retain(bits);
            prop_assert_eq!(set.to_string().parse::<ImageFeatures>().unwrap(), set);
        }
    }

    #[test]
    fn a_bit_without_a_name_is_shown_in_hex() {
        let text = |bits| ImageFeatures::from_bits_retain(bits).to_string();
        assert_eq!(text(0x40 | 0x1000), "journaling,0x1000");
        assert_eq!(text(0x8000), "0x8000");
        assert_eq!(text(0), "none");
    }

    #[test]
    fn the_error_of_an_unknown_feature_names_the_choices() {
        let parsed: Result<ImageFeatures, Error> = "layering, exclusive_lock".parse();
        let message = parsed.unwrap_err().to_string();
        assert!(message.contains("exclusive_lock"), "{message}");
        assert!(message.contains("exclusive-lock"), "{message}");
    }
}
