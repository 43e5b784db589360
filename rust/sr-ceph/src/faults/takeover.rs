//! Fault injection for the calls that take over an image.

use sr::faults::{change, read};

use super::pool::FaultyPool;
use crate::pool::{Result, Takeover};

impl Takeover for FaultyPool<'_, '_> {
    fn rename_image(&self, id: &str, from: &str, to: &str) -> Result<()> {
        let owned = (id.to_owned(), from.to_owned(), to.to_owned());
        self.call(&change("rename_image", from), move |c| {
            c.rename_image(&owned.0, &owned.1, &owned.2)
        })
    }

    fn set_image_meta(&self, id: &str, meta: Option<&str>) -> Result<()> {
        let owned = (id.to_owned(), meta.map(str::to_owned));
        self.call(&change("set_image_meta", id), move |c| {
            c.set_image_meta(&owned.0, owned.1.as_deref())
        })
    }

    fn set_protected(&self, id: &str, snapshot_id: u64, protect: bool) -> Result<()> {
        let owned = id.to_owned();
        self.call(&change("set_protected", id), move |c| {
            c.set_protected(&owned, snapshot_id, protect)
        })
    }

    fn parent(&self, id: &str) -> Result<Option<(String, bool)>> {
        let owned = id.to_owned();
        self.call(&read("parent", id), move |c| c.parent(&owned))
    }
}
