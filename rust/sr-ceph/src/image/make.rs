//! Creates images, each with an image-meta that names its VDI.

use sr::xapi::XapiFields;
use uuid::Uuid;

use super::Images;
use crate::error::{Context, Error, ImageError, Result};
use crate::ha::is_for_ha;
use crate::image_format::ImageFormat;
use crate::record::{ImageMeta, ImageRef, VERSION};

impl Images<'_> {
    /// Fails if an image has that name. So an image of that name that is found later was made by this driver.
    pub(crate) fn require_free_name(&self, vdi: &Uuid, image_name: &str) -> Result<()> {
        match self.pool.image_by_name(image_name) {
            Err(e) if e.is_not_found() => Ok(()),
            Err(e) => Err(e).doing("looking for an image of the same name"),
            Ok(_) => Err(ImageError::NameTaken {
                vdi: *vdi,
                image: image_name.to_owned(),
                pool: self.pool.spec(),
            }
            .into()),
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
        let text = self.meta_of(vdi, xapi).to_text(&doing)?;
        let from = (parent.id.as_str(), snapshot);
        let id = self.pool.clone_image(from, name, &self.format, &text);
        Ok(ImageRef {
            name: name.to_owned(),
            id: id.doing(&doing)?,
        })
    }

    /// Clones a snapshot of an image that does not belong to the SR, and gives the clone that size.
    pub(crate) fn make_of(
        &self,
        source: (&str, &str, u64),
        name: &str,
        (vdi, size): (&Uuid, u64),
        xapi: &XapiFields,
    ) -> Result<ImageRef> {
        let (pool, id, _) = source;
        let doing = format!("cloning the image with id {id} of pool {pool} to {name}");
        let text = self.meta_of(vdi, xapi).to_text(&doing)?;
        let cloned = self.pool.clone_template(source, name, &self.format, &text);
        let id = cloned.doing(&doing)?;
        let has = self.pool.size(&id).doing(&doing)?;
        if has < size {
            let grown = self.pool.grow_image(&id, size);
            grown.doing(&format!("growing image {name} to {size} bytes"))?;
        }
        let name = name.to_owned();
        Ok(ImageRef { name, id })
    }

    fn meta_of(&self, vdi: &Uuid, xapi: &XapiFields) -> ImageMeta {
        ImageMeta {
            version: VERSION,
            sr: self.sr,
            vdi: *vdi,
            xapi: xapi.clone(),
            adopted_from: None,
        }
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
