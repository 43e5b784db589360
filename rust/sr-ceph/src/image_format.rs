//! How new images are made: their features, and how their data is split into objects.

use crate::bitmap::BLOCK;
use crate::image_features::ImageFeatures;

/// How the data of an image is split into objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// The size of an object in bytes, a power of two.
    pub object_size: u64,
    /// The stripes. `None`: one object after the other.
    pub stripes: Option<Stripes>,
}

/// Data that is written round robin to several objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stripes {
    /// How many bytes go to one object before the next one. It divides the size of an object.
    pub unit: u64,
    /// To how many objects, more than one.
    pub count: u64,
}

impl Layout {
    /// Ceph's own: objects of 4 MiB without stripes.
    pub const DEFAULT: Self = Layout {
        object_size: 4 << 20,
        stripes: None,
    };
}

/// How many objects of an image one call looks at. Each costs a request, and the call has a deadline.
const OBJECTS_OF_STEP: u64 = 4096;

/// How many bytes of an image with objects of that size one call looks at: a multiple of eight blocks of a
/// [`Bitmap`](crate::bitmap::Bitmap).
pub(crate) fn step_of(object_size: u64) -> u64 {
    object_size.saturating_mul(OBJECTS_OF_STEP).max(8 * BLOCK)
}

/// How an image is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageFormat {
    /// The features that were chosen.
    pub features: ImageFeatures,
    /// How the data is split.
    pub layout: Layout,
}

impl ImageFormat {
    /// A disk of high availability: every host maps it at once.
    pub(crate) const FOR_HA: Self = ImageFormat {
        features: ImageFeatures::LAYERING,
        layout: Layout::DEFAULT,
    };

    /// The features that a kernel needs to map such an image.
    #[must_use]
    pub fn needed_features(&self) -> ImageFeatures {
        match self.layout.stripes {
            None => self.features,
            Some(_) => self.features.with(ImageFeatures::STRIPING),
        }
    }
}

/// Images of the default layout.
impl From<ImageFeatures> for ImageFormat {
    fn from(features: ImageFeatures) -> Self {
        ImageFormat {
            features,
            layout: Layout::DEFAULT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_a_number_of_objects() {
        assert_eq!(step_of(4 << 10), 16 << 20);
        assert_eq!(step_of(4 << 20), 16 << 30);
        for order in 9..26 {
            assert!(step_of(1 << order).is_multiple_of(8 * BLOCK));
        }
    }
}
