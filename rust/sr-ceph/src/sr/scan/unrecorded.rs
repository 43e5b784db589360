//! Images with this SR's prefix that are not in its catalogue.

use std::collections::{BTreeMap, HashMap};

use sr::xapi::{ScannedVdi, XapiVdi};
use uuid::Uuid;

use crate::catalogue::{hidden_key, image_prefix, intent_key, vdi_key};
use crate::error::{Context, Result};
use crate::pool::Entries;
use crate::CephSr;

impl CephSr<'_> {
    /// Returns a warning for each image that belongs to no VDI, no operation and no `hidden` key. If XAPI has
    /// the image's VDI, the record was removed by hand. Then the VDI is returned as XAPI has it, because XAPI
    /// forgets a VDI that a scan does not list.
    pub(super) fn scan_unrecorded(
        &self,
        entries: &Entries,
        images: &BTreeMap<String, String>,
        known: &HashMap<Uuid, &XapiVdi>,
    ) -> Result<(Vec<ScannedVdi>, Vec<String>)> {
        let (mut vdis, mut warnings) = (Vec::new(), Vec::new());
        let prefix = image_prefix(&self.sr);
        for (id, name) in images.iter().filter(|(_, name)| name.starts_with(&prefix)) {
            let made_for = self.images.vdi_of_name(name);
            let is_recorded = entries.contains_key(&hidden_key(id))
                || made_for.is_some_and(|vdi| {
                    entries.contains_key(&vdi_key(&vdi)) || entries.contains_key(&intent_key(&vdi))
                });
            if is_recorded {
                continue;
            }
            let known = made_for.and_then(|vdi| known.get(&vdi));
            match known {
                Some(vdi) if self.is_still_listed(id)? => {
                    warnings.push(self.warn_of_lost_record(vdi.uuid, name));
                    vdis.push(ScannedVdi {
                        uuid: vdi.uuid,
                        size: vdi.size,
                        xapi: vdi.fields.clone(),
                        known_to_xapi: true,
                    });
                }
                // A deletion has moved the image to the trash before it removed the record.
                Some(_) => {}
                None => warnings.push(format!(
                    "image {name} has this SR's prefix, but the SR's catalogue does not list it; it was not changed"
                )),
            }
        }
        Ok((vdis, warnings))
    }

    /// Whether the pool's directory has an image now, after the catalogue was read.
    fn is_still_listed(&self, id: &str) -> Result<bool> {
        let doing = "listing the pool's images again";
        Ok(self.pool.images().doing(doing)?.contains_key(id))
    }

    fn warn_of_lost_record(&self, vdi: Uuid, image: &str) -> String {
        let (pool, object, key) = (
            self.pool.pool_name(),
            self.catalogue.object(),
            vdi_key(&vdi),
        );
        format!(
            "the catalogue has no record of VDI {vdi}, but XAPI has the VDI and pool {pool} has its image {image}: key {key} was removed from object {object}. The VDI stays listed and cannot be used. Its data can be copied with 'rbd -p {pool} export {image} FILE'. To remove it: 'xe vdi-destroy uuid={vdi}', then 'rbd -p {pool} rm {image}'"
        )
    }
}
