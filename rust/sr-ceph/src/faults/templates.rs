//! Fault injection for the calls about images outside an SR.

use librbd::Monitor;
use sr::faults::{change, read};

use super::pool::FaultyPool;
use crate::image_format::ImageFormat;
use crate::pool::{Result, Template, Templates};

impl Templates for FaultyPool<'_, '_> {
    fn template(&self, pool: &str, image: &str, snapshot: Option<&str>) -> Result<Template> {
        let owned = (pool.to_owned(), image.to_owned());
        let snapshot = snapshot.map(str::to_owned);
        self.call(&read("template", image), move |c| {
            c.template(&owned.0, &owned.1, snapshot.as_deref())
        })
    }

    fn first_bytes(&self, pool: &str, id: &str, snapshot: u64) -> Result<Vec<u8>> {
        let owned = (pool.to_owned(), id.to_owned());
        self.call(&read("first_bytes", id), move |c| {
            c.first_bytes(&owned.0, &owned.1, snapshot)
        })
    }

    fn clone_template(
        &self,
        source: (&str, &str, u64),
        name: &str,
        format: &ImageFormat,
        meta: &str,
    ) -> Result<String> {
        let inner = self.inner;
        let owned = (source.0.to_owned(), source.1.to_owned());
        let (new, text) = (name.to_owned(), meta.to_owned());
        let (snapshot, format) = (source.2, *format);
        self.faults.pass(
            &change("clone_template", name),
            move || inner.clone_template((&owned.0, &owned.1, snapshot), &new, &format, &text),
            || inner.clone_template(source, name, &format, "").map(drop),
        )
    }

    fn monitors(&self) -> Result<Vec<Monitor>> {
        self.call(&read("monitors", ""), |c| c.monitors())
    }
}
