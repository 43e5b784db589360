//! Defaults for new images that the cluster, its configuration file or the environment sets.

use librbd::Cluster;
use sr::check::Outcome;

use crate::usage::PoolSummary;

/// Options for new images, with Ceph's own defaults. smblock sets all of them for each image.
const DEFAULTS: [(&str, &str); 5] = [
    ("rbd_default_data_pool", ""),
    ("rbd_default_order", "22"),
    ("rbd_default_stripe_unit", "0"),
    ("rbd_default_stripe_count", "0"),
    ("rbd_default_clone_format", "auto"),
];

/// Reports the pool, and the defaults that smblock's disks do not use.
pub(super) fn pool(
    cluster: &Cluster,
    (pool, namespace): (&PoolSummary, &str),
    data: Option<&PoolSummary>,
) -> Outcome {
    let mut there = format!("{} exists, id {}", pool.name, pool.id);
    if !namespace.is_empty() {
        there += &format!("; it has the namespace {namespace}");
    }
    if let Some(data) = data {
        let kind = if data.erasure {
            "erasure coded"
        } else {
            "replicated"
        };
        there += &format!("; the data of new disks is in {} ({kind})", data.name);
    }
    let value = |option| cluster.conf_get(option).ok().flatten().unwrap_or_default();
    let set: Vec<_> = DEFAULTS
        .iter()
        .map(|(option, usual)| (*option, value(option), *usual))
        .filter(|(_, found, usual)| found != usual)
        .collect();
    if set.is_empty() {
        return Outcome::Ok(there);
    }
    let texts: Vec<_> = set
        .iter()
        .map(|(option, found, _)| format!("{option}={found}"))
        .collect();
    let texts = texts.join(", ");
    let commands: Vec<_> = set
        .iter()
        .map(|(option, ..)| format!("ceph config rm client {option}"))
        .collect();
    let commands = commands.join("; ");
    Outcome::warning(
        format!(
            "{there}; {texts} is set for new images: smblock's disks do not use it, and keep \
             their data in {}",
            data.unwrap_or(pool).name
        ),
        format!("if nothing else needs it, run: {commands}; or remove it from ceph.conf"),
    )
}
