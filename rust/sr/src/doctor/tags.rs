//! SM's keys in the `sm_config` of VDIs, and SM's links, compared with what the SR has on this host.

use std::collections::BTreeSet;
use std::path::Path;

use uuid::Uuid;

use super::{Facts, VdiFacts};
use crate::finding::{table, Finding, Remedy};

/// The key of a host that has the VDI active. XAPI's reference of the host follows.
const HOST_TAG: &str = "host_";
/// The value of that key if the host only reads.
const READ_ONLY: &str = "RO";
const PAUSED: &str = "paused";
const ACTIVATING: &str = "activating";
const REPAIR: &str = "smblock doctor --repair";
const ITSELF: &str = "start the VM that uses it: the next activation removes the key";

/// What an SR has, for the comparison.
#[derive(Debug, Clone, Default)]
pub struct OfSr {
    /// The SR's VDIs.
    pub vdis: BTreeSet<Uuid>,
    /// Those of which this host has a device.
    pub on_this_host: BTreeSet<Uuid>,
    /// Those with an operation under way.
    pub under_way: BTreeSet<Uuid>,
    /// Those that no host has claimed, as far as that is known here.
    pub unclaimed: BTreeSet<Uuid>,
}

/// Compares what XAPI and SM have with what the SR has.
#[must_use]
pub fn tags(facts: &Facts, sr: &Uuid, has: &OfSr) -> Vec<Finding> {
    let mut found = Vec::new();
    for vdi in &facts.vdis {
        found.extend(of_hosts(facts, vdi, has));
        found.extend(left_over(vdi, has));
    }
    for link in &facts.links {
        let vdi = link.vdi.parse().ok();
        let has_device = vdi.is_some_and(|vdi| has.on_this_host.contains(&vdi));
        if !has_device && !Path::new(&link.target).exists() {
            let text = format!(
                "{} points to {}, which does not exist",
                link.path, link.target
            );
            let (kind, object) = (&table::LINK_WITHOUT_DEVICE, format!("VDI {}", link.vdi));
            found.push(match vdi {
                Some(vdi) => kind
                    .found(object, text, REPAIR)
                    .with_remedy(Remedy::RemoveLink {
                        vdi,
                        path: link.path.clone(),
                    }),
                None => kind.found(object, text, format!("rm {}", link.path)),
            });
        }
    }
    found.extend(compared(facts, sr, has));
    found
}

fn of_hosts(facts: &Facts, vdi: &VdiFacts, has: &OfSr) -> Vec<Finding> {
    let mut found = Vec::new();
    for (key, mode) in &vdi.sm_config {
        let Some(reference) = key.strip_prefix(HOST_TAG) else {
            continue;
        };
        let object = object(vdi);
        let settle = || Remedy::SettleHost {
            vdi: vdi.uuid,
            host: reference.to_owned(),
        };
        match facts.host(reference) {
            None => {
                let text = format!("sm-config:{key} is of a host that this pool does not have");
                let (vdi, key) = (vdi.uuid, key.clone());
                let finding = table::TAG_OF_UNKNOWN.found(object, text, REPAIR);
                found.push(finding.with_remedy(Remedy::RemoveKey { vdi, key }));
            }
            Some(host) if host.declared_dead => {
                let text = format!(
                    "sm-config:{key} is of host {} ({}), which was declared dead",
                    host.name, host.uuid
                );
                let finding = table::TAG_OF_DEAD.found(object, text, ITSELF);
                found.push(finding.with_remedy(settle()));
            }
            Some(host) if reference == facts.here && !has.on_this_host.contains(&vdi.uuid) => {
                let text = format!(
                    "sm-config:{key} is of this host ({}), which has no device of the VDI",
                    host.name
                );
                let finding = table::TAG_WITHOUT_DEVICE.found(object, text, REPAIR);
                found.push(finding.with_remedy(settle()));
            }
            // A host that only reads has no claim.
            Some(host)
                if reference != facts.here
                    && mode != READ_ONLY
                    && has.unclaimed.contains(&vdi.uuid) =>
            {
                let text = format!(
                    "sm-config:{key} is of host {} ({}), which has not claimed the VDI",
                    host.name, host.uuid
                );
                let finding = table::TAG_WITHOUT_CLAIM.found(object, text, REPAIR);
                found.push(finding.with_remedy(settle()));
            }
            Some(_) => {}
        }
    }
    found
}

fn left_over(vdi: &VdiFacts, has: &OfSr) -> Vec<Finding> {
    let mut found = Vec::new();
    let idle = !has.under_way.contains(&vdi.uuid);
    if idle && vdi.sm_config.contains_key(PAUSED) {
        let text = "it has sm-config:paused, and no operation on it is under way";
        let kind = &table::PAUSED_WITHOUT_SNAPSHOT;
        found.push(kind.found(object(vdi), text, ITSELF));
    }
    let is_tagged = vdi.sm_config.keys().any(|key| key.starts_with(HOST_TAG));
    if idle && !is_tagged && vdi.sm_config.contains_key(ACTIVATING) {
        let text = "it has sm-config:activating, and no host has it active";
        found.push(table::ACTIVATING_LEFT.found(object(vdi), text, ITSELF));
    }
    found
}

/// The VDIs that only one side has.
fn compared(facts: &Facts, sr: &Uuid, has: &OfSr) -> Vec<Finding> {
    let fix = format!("xe sr-scan uuid={sr}");
    let known: BTreeSet<_> = facts.vdis.iter().map(|vdi| vdi.uuid).collect();
    let new = has.vdis.difference(&known).map(|vdi| {
        let text = "the SR has it, and XAPI does not";
        table::NOT_IN_XAPI.found(format!("VDI {vdi}"), text, fix.clone())
    });
    let gone = facts
        .vdis
        .iter()
        .filter(|vdi| !has.vdis.contains(&vdi.uuid) && !has.under_way.contains(&vdi.uuid));
    let gone = gone.map(|vdi| {
        let text = "XAPI has it, and the SR does not";
        table::ONLY_IN_XAPI.found(object(vdi), text, fix.clone())
    });
    new.chain(gone).collect()
}

fn object(vdi: &VdiFacts) -> String {
    match vdi.name.as_str() {
        "" => format!("VDI {}", vdi.uuid),
        name => format!("VDI {} ({name})", vdi.uuid),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;
    use crate::finding::Kind;

    const VDI: &str = "8f7d2c54-1f3f-4f9a-9f5a-0d9a6a3f2b11";

    fn facts(keys: &[&str]) -> Facts {
        let pairs: Vec<_> = keys.iter().map(|key| format!("\"{key}\": \"x\"")).collect();
        let text = format!(
            r#"{{"here": "OpaqueRef:1", "links": [], "hosts": [
                {{"reference": "OpaqueRef:1", "uuid": "one", "name": "one", "declared_dead": false}},
                {{"reference": "OpaqueRef:2", "uuid": "two", "name": "two", "declared_dead": true}},
                {{"reference": "OpaqueRef:3", "uuid": "three", "name": "three", "declared_dead": false}}],
                "vdis": [{{"uuid": "{VDI}", "name": "disk", "sm_config": {{{}}}}}]}}"#,
            pairs.join(", ")
        );
        serde_json::from_str(&text).unwrap()
    }

    fn has(on_this_host: bool, under_way: bool) -> OfSr {
        let vdi: Uuid = VDI.parse().unwrap();
        OfSr {
            vdis: BTreeSet::from([vdi]),
            on_this_host: on_this_host.then_some(vdi).into_iter().collect(),
            under_way: under_way.then_some(vdi).into_iter().collect(),
            unclaimed: (!on_this_host).then_some(vdi).into_iter().collect(),
        }
    }

    fn kinds(facts: &Facts, has: &OfSr) -> Vec<&'static Kind> {
        let found = tags(facts, &Uuid::nil(), has);
        found.iter().map(|finding| finding.kind).collect()
    }

    #[test]
    fn each_tag_that_is_left_over_is_found() {
        let cases: [(&[&str], &'static Kind); 6] = [
            (&["host_OpaqueRef:9"], &table::TAG_OF_UNKNOWN),
            (&["host_OpaqueRef:2"], &table::TAG_OF_DEAD),
            (&["host_OpaqueRef:1"], &table::TAG_WITHOUT_DEVICE),
            (&["host_OpaqueRef:3"], &table::TAG_WITHOUT_CLAIM),
            (&["paused"], &table::PAUSED_WITHOUT_SNAPSHOT),
            (&["activating"], &table::ACTIVATING_LEFT),
        ];
        for (keys, kind) in cases {
            assert_eq!(kinds(&facts(keys), &has(false, false)), [kind], "{keys:?}");
        }
    }

    #[test]
    fn a_disk_in_use_and_a_snapshot_under_way_are_no_findings() {
        let in_use = facts(&["host_OpaqueRef:1", "activating", "vhd-parent"]);
        assert_eq!(kinds(&in_use, &has(true, false)), [] as [&Kind; 0]);
        let mut elsewhere = facts(&["host_OpaqueRef:3"]);
        assert_eq!(kinds(&elsewhere, &has(true, false)), [] as [&Kind; 0]);
        let tags = &mut elsewhere.vdis[0].sm_config;
        tags.insert("host_OpaqueRef:3".to_owned(), READ_ONLY.to_owned());
        assert_eq!(kinds(&elsewhere, &has(false, false)), [] as [&Kind; 0]);
        assert_eq!(
            kinds(&facts(&["paused"]), &has(false, true)),
            [] as [&Kind; 0]
        );
    }

    #[test]
    fn a_repair_is_offered_only_for_what_no_host_can_be_using() {
        let remedy = |key: &str| {
            let found = tags(&facts(&[key]), &Uuid::nil(), &has(false, false));
            found[0].remedy.clone()
        };
        let vdi: Uuid = VDI.parse().unwrap();
        let settle = |host: &str| {
            let host = host.to_owned();
            Some(Remedy::SettleHost { vdi, host })
        };
        let key = "host_OpaqueRef:9".to_owned();
        assert_eq!(
            remedy(&key),
            Some(Remedy::RemoveKey {
                vdi,
                key: key.clone()
            })
        );
        assert_eq!(remedy("host_OpaqueRef:2"), settle("OpaqueRef:2"));
        assert_eq!(remedy("host_OpaqueRef:1"), settle("OpaqueRef:1"));
        assert_eq!(remedy("host_OpaqueRef:3"), settle("OpaqueRef:3"));
        assert_eq!(remedy("paused"), None);
        assert_eq!(remedy("activating"), None);
    }

    #[test]
    fn vdis_that_only_one_side_has_are_found() {
        assert_eq!(kinds(&facts(&[]), &OfSr::default()), [&table::ONLY_IN_XAPI]);
        let empty = Facts::default();
        assert_eq!(kinds(&empty, &has(false, false)), [&table::NOT_IN_XAPI]);
    }

    #[test]
    fn a_link_is_found_if_neither_its_target_nor_a_device_exists() {
        let mut facts = facts(&[]);
        facts.links.push(super::super::LinkFacts {
            vdi: VDI.to_owned(),
            path: "/dev/sm/phy/sr/vdi".to_owned(),
            target: "/dev/rbd99999".to_owned(),
        });
        let found = kinds(&facts, &has(false, false));
        assert_eq!(found, [&table::LINK_WITHOUT_DEVICE]);
        assert_eq!(kinds(&facts, &has(true, false)), [] as [&Kind; 0]);
    }
}
