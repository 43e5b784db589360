//! The names of RBD image features, as `rbd info` prints them and `rbd feature disable` takes them.

use crate::Error;

const NAMES: [(u64, &str); 12] = [
    (1, "layering"),
    (2, "striping"),
    (4, "exclusive-lock"),
    (8, "object-map"),
    (16, "fast-diff"),
    (32, "deep-flatten"),
    (64, "journaling"),
    (128, "data-pool"),
    (256, "operations"),
    (512, "migrating"),
    (1024, "non-primary"),
    (2048, "dirty-cache"),
];

/// The features that `rbd feature disable` can take from an existing image.
pub const DROPPABLE: u64 = 4 | 8 | 16 | 32 | 64;

/// The names of the known features in `mask`, lowest bit first. Bits without a name are left out:
/// [`describe`] shows those too.
pub fn names(mask: u64) -> Vec<&'static str> {
    NAMES
        .iter()
        .filter(|(bit, _)| mask & bit != 0)
        .map(|(_, name)| *name)
        .collect()
}

/// `mask` for a reader: the names separated by commas, then in hex whatever has no name.
pub fn describe(mask: u64) -> String {
    let mut words: Vec<String> = names(mask).into_iter().map(str::to_owned).collect();
    let unnamed = mask & !NAMES.iter().fold(0, |all, (bit, _)| all | bit);
    if unnamed != 0 {
        words.push(format!("{unnamed:#x}"));
    }
    if words.is_empty() {
        "none".to_owned()
    } else {
        words.join(", ")
    }
}

/// The mask that a list such as `layering,exclusive-lock` stands for. Spaces around names are
/// ignored.
///
/// # Errors
/// [`Error::Invalid`] for a name that is not a feature, and for an empty one.
pub fn parse(list: &str) -> Result<u64, Error> {
    list.split(',').map(str::trim).try_fold(0, |mask, word| {
        NAMES
            .iter()
            .find(|(_, name)| *name == word)
            .map(|(bit, _)| mask | bit)
            .ok_or_else(|| Error::Invalid {
                what: "image feature",
                value: word.to_owned(),
                expected: format!("one of {}", describe(u64::MAX >> 52)),
            })
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_set_of_known_features_survives_being_written_and_read(mask in 1u64..4096) {
            prop_assert_eq!(parse(&names(mask).join(",")).unwrap(), mask);
        }
    }

    #[test]
    fn a_bit_without_a_name_is_shown_in_hex_and_never_dropped_from_a_message() {
        assert_eq!(describe(0x40 | 0x1000), "journaling, 0x1000");
        assert_eq!(describe(0), "none");
    }

    #[test]
    fn a_misspelt_feature_is_refused_by_name_with_the_choices() {
        let message = parse("layering, exclusive_lock").unwrap_err().to_string();
        assert!(message.contains("exclusive_lock"), "{message}");
        assert!(message.contains("exclusive-lock"), "{message}");
    }
}
