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
        let mut listed_now = None;
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
            let Some(vdi) = made_for.and_then(|vdi| known.get(&vdi)) else {
                warnings.push(format!(
                    "image {name} has this SR's prefix, but the SR's catalogue does not list it; it was not changed"
                ));
                continue;
            };
            // A deletion moves the image to the trash before it removes the record: only an image that is
            // listed after the catalogue was read has lost its record.
            let listed_now = match &listed_now {
                Some(listed) => listed,
                None => listed_now.insert(
                    self.pool
                        .images()
                        .doing("listing the pool's images again")?,
                ),
            };
            if listed_now.contains_key(id) {
                warnings.push(self.warn_of_lost_record(vdi.uuid, name));
                vdis.push(ScannedVdi {
                    uuid: vdi.uuid,
                    size: vdi.size,
                    xapi: vdi.fields.clone(),
                    cbt_enabled: false,
                    known_to_xapi: true,
                });
            }
        }
        Ok((vdis, warnings))
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
