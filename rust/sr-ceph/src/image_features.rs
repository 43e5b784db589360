//! RBD image features: those that an SR may request. The crate `hostdev` has their names.

use std::fmt;

use thiserror::Error;

/// A set of RBD image features, as the bits that librbd, image headers and
/// `/sys/bus/rbd/supported_features` use.
///
/// It can hold any bits, also those of features newer than this driver: the features of an existing image are
/// reported, not judged. Only [`ImageFeatures::parse`] validates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ImageFeatures(u64);

/// What `image_features` may name. Other features cannot be requested at creation: they follow from other
/// options (striping, data-pool) or from an image's state (operations, migrating, ...).
const SELECTABLE: [ImageFeatures; 6] = [
    ImageFeatures::LAYERING,
    ImageFeatures::EXCLUSIVE_LOCK,
    ImageFeatures::OBJECT_MAP,
    ImageFeatures::FAST_DIFF,
    ImageFeatures::DEEP_FLATTEN,
    ImageFeatures::JOURNALING,
];

/// Features that need another one. librbd would only return EINVAL.
const REQUIRES: [(ImageFeatures, ImageFeatures); 3] = [
    (ImageFeatures::OBJECT_MAP, ImageFeatures::EXCLUSIVE_LOCK),
    (ImageFeatures::FAST_DIFF, ImageFeatures::OBJECT_MAP),
    (ImageFeatures::JOURNALING, ImageFeatures::EXCLUSIVE_LOCK),
];

/// Why a list of feature names cannot be used for an SR's images.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FeatureError {
    /// An unknown name, or a feature that cannot be requested.
    #[error(
        "it names a feature that cannot be chosen; choose from: {}",
        selectable()
    )]
    NotSelectable,
    /// `layering` is absent, so that no disk could be cloned.
    #[error("it lacks 'layering', without which no disk can be cloned; add it")]
    NoLayering,
    /// A feature without the one that it needs.
    #[error("'{feature}' needs '{needs}'; add it, or leave '{feature}' out")]
    Requires {
        /// The feature that was named.
        feature: ImageFeatures,
        /// The feature that is lacking.
        needs: ImageFeatures,
    },
}

impl ImageFeatures {
    /// Clones: an image can have a parent.
    pub const LAYERING: Self = Self(1 << 0);
    /// The data is striped over several objects. It follows from the options of an image.
    pub const STRIPING: Self = Self(1 << 1);
    /// One writer at a time holds the image's lock, and releases it on request.
    pub const EXCLUSIVE_LOCK: Self = Self(1 << 2);
    /// A bitmap has which objects exist: faster deletion, resize and diff.
    pub const OBJECT_MAP: Self = Self(1 << 3);
    /// The bitmap also has which objects changed since the last snapshot.
    pub const FAST_DIFF: Self = Self(1 << 4);
    /// Flattening includes the snapshots, not only the head.
    pub const DEEP_FLATTEN: Self = Self(1 << 5);
    /// Every write goes to a journal first. No kernel can map such an image.
    pub const JOURNALING: Self = Self(1 << 6);

    /// The image was demoted, or rbd-mirror keeps it as a copy: it can be read, not changed.
    pub const NON_PRIMARY: Self = Self(1 << 10);

    /// The features of new images by default: every kernel from 4.9 on maps them, and the lock makes a
    /// snapshot of a disk in use consistent.
    pub const DEFAULT: Self = Self(Self::LAYERING.0 | Self::EXCLUSIVE_LOCK.0);

    /// The set with exactly these bits.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits, as librbd takes them.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The features of both sets.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether every feature of `other` is in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The features of this set that are not in `other`. Empty: a kernel that supports `other` can map an
    /// image with these.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether no feature is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Parses names that are separated by commas: `layering,exclusive-lock`.
    ///
    /// # Errors
    /// A name that cannot be chosen, no `layering`, or a feature without the one it needs.
    pub fn parse(names: &str) -> Result<Self, FeatureError> {
        let chosen = names
            .parse::<hostdev::ImageFeatures>()
            .map_or(Self(0), |found| Self(found.bits()));
        if chosen.is_empty() || !chosen.minus(selectable()).is_empty() {
            return Err(FeatureError::NotSelectable);
        }
        if !chosen.contains(Self::LAYERING) {
            return Err(FeatureError::NoLayering);
        }
        for (feature, needs) in REQUIRES {
            if chosen.contains(feature) && !chosen.contains(needs) {
                return Err(FeatureError::Requires { feature, needs });
            }
        }
        Ok(chosen)
    }
}

/// Names separated by commas, as `image_features` takes them. Bits without a name follow in hexadecimal.
impl fmt::Display for ImageFeatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hostdev::ImageFeatures::from_bits_retain(self.0).fmt(f)
    }
}

fn selectable() -> ImageFeatures {
    ImageFeatures(SELECTABLE.into_iter().fold(0, |set, one| set | one.0))
}
