//! Creates images, each with an image-meta that names its VDI.

use sr::xapi::XapiFields;
use uuid::Uuid;

use super::Images;
use crate::error::{Context, Error, Result};
use crate::ha::is_for_ha;
use crate::image_format::ImageFormat;
use crate::record::{ImageMeta, ImageRef, VERSION};

impl Images<'_> {
    /// Fails if an image has that name. So an image of that name that is found later was made by this driver.
    pub(crate) fn require_free_name(&self, vdi: &Uuid, image_name: &str) -> Result<()> {
        match self.pool.image_by_name(image_name) {
            Err(e) if e.is_not_found() => Ok(()),
            Err(e) => Err(e).doing("looking for an image of the same name"),
            Ok(_) => Err(Error::ForeignImage {
                vdi: *vdi,
                image: image_name.to_owned(),
                pool: self.pool.spec(),
            }),
        }
    }

    /// Creates an image of that size. Returns its id.
    pub(crate) fn make(&self, name: &str, size: u64, meta: &ImageMeta) -> Result<String> {
        let doing = format!("creating image {name} of {size} bytes");
        let text = meta.to_text(&doing)?;
        let format = match is_for_ha(&meta.xapi) {
            true => ImageFormat::FOR_HA,
            false => self.format,
        };
        self.pool
            .create_image(name, size, &format, &text)
            .doing(&doing)
    }

    /// Clones a snapshot to an image for the VDI `vdi`.
    pub(crate) fn make_clone(
        &self,
        (parent, snapshot): (&ImageRef, u64),
        name: &str,
        vdi: &Uuid,
        xapi: &XapiFields,
    ) -> Result<ImageRef> {
        let doing = format!("cloning image {} to {name}", parent.name);
        let meta = ImageMeta {
            version: VERSION,
            sr: self.sr,
            vdi: *vdi,
            xapi: xapi.clone(),
            adopted_from: None,
        };
        let text = meta.to_text(&doing)?;
        let from = (parent.id.as_str(), snapshot);
        let id = self.pool.clone_image(from, name, &self.format, &text);
        Ok(ImageRef {
            name: name.to_owned(),
            id: id.doing(&doing)?,
        })
    }
}

impl ImageMeta {
    /// Returns the text of the image-meta.
    pub(crate) fn to_text(&self, doing: &str) -> Result<String> {
        serde_json::to_string(self).map_err(|source| Error::Encoding {
            doing: doing.to_owned(),
            source,
        })
    }
}
