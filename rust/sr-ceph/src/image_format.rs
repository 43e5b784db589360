//! How new images are made: their features, and how their data is split into objects.

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
