//! Pools in texts.

use std::collections::BTreeMap;

use crate::usage::meant;

pub(super) fn names(pools: &BTreeMap<i64, String>) -> String {
    let names: Vec<_> = pools.values().map(String::as_str).collect();
    names.join(", ")
}

pub(super) fn advise_on_pool(pool: &str, present: &BTreeMap<i64, String>) -> String {
    let names: Vec<_> = present.values().cloned().collect();
    match meant(pool, &names) {
        Some(meant) => format!("Did you mean device-config:pool={meant}?"),
        None => "Check device-config:pool".to_owned(),
    }
}
