//! The health of the cluster, as far as it matters to kernel clients.

use serde_json::Value;
use sr::finding::{table, Finding, Kind};

use super::look::Doctor;

/// Ceph's health checks, with the kinds of findings that they are, and where to look.
const CHECKS: [(&str, &Kind, &str); 17] = [
    (
        "PG_AVAILABILITY",
        &table::PGS_INACTIVE,
        "ceph pg dump_stuck inactive",
    ),
    ("OSD_FULL", &table::FULL, "ceph osd df"),
    ("POOL_FULL", &table::FULL, "ceph df detail"),
    ("OSD_NEARFULL", &table::NEAR_FULL, "ceph osd df"),
    ("OSD_BACKFILLFULL", &table::NEAR_FULL, "ceph osd df"),
    ("POOL_NEARFULL", &table::NEAR_FULL, "ceph df detail"),
    ("POOL_BACKFILLFULL", &table::NEAR_FULL, "ceph df detail"),
    ("OSD_OUT_OF_ORDER_FULL", &table::NEAR_FULL, "ceph osd dump"),
    (
        "MON_CLOCK_SKEW",
        &table::MON_CLOCKS,
        "ceph time-sync-status",
    ),
    ("MON_DOWN", &table::DAEMONS_DOWN, "ceph mon stat"),
    ("OSD_DOWN", &table::DAEMONS_DOWN, "ceph osd tree down"),
    ("OSD_HOST_DOWN", &table::DAEMONS_DOWN, "ceph osd tree down"),
    ("MGR_DOWN", &table::DAEMONS_DOWN, "ceph mgr stat"),
    ("PG_DEGRADED", &table::DAEMONS_DOWN, "ceph health detail"),
    ("PG_DAMAGED", &table::PGS_INACTIVE, "ceph health detail"),
    ("SLOW_OPS", &table::SLOW_OPS, "ceph health detail"),
    ("OSDMAP_FLAGS", &table::OSDMAP_FLAGS, "ceph osd dump"),
];

impl Doctor<'_, '_> {
    pub(super) fn look_at_cluster(&mut self) {
        let pool = self.sr.pool;
        let found = match pool.health() {
            Ok(health) => of_health(&health),
            Err(error) => vec![unknown(&error.to_string())],
        };
        self.found.extend(found);
        let found = match (pool.osd_dump(), pool.crush_rules()) {
            (Ok(dump), Ok(rules)) => of_osdmap(&dump, &rules, pool.pool_name()),
            (Err(error), _) | (_, Err(error)) => vec![unknown(&error.to_string())],
        };
        self.found.extend(found);
    }
}

fn unknown(reason: &str) -> Finding {
    table::HEALTH_UNKNOWN.found("cluster", reason, "")
}

fn of_health(reply: &[u8]) -> Vec<Finding> {
    let reply: Value = match serde_json::from_slice(reply) {
        Ok(reply) => reply,
        Err(error) => return vec![unknown(&format!("the reply to ceph health: {error}"))],
    };
    let checks = CHECKS.iter().filter_map(|(name, kind, look)| {
        let check = reply.get("checks")?.get(name)?;
        if check["muted"] == true {
            return None;
        }
        let text = check["summary"]["message"].as_str().unwrap_or("no details");
        let fix = format!("see which, on a node of the cluster: {look}");
        Some(kind.found("cluster", format!("{name}: {text}"), fix))
    });
    checks.collect()
}

/// Types of CRUSH rules that kernel clients do not read: msr_firstn and msr_indep.
const MSR: [i64; 2] = [4, 5];

fn of_osdmap(dump: &[u8], rules: &[u8], pool: &str) -> Vec<Finding> {
    let parsed =
        serde_json::from_slice(dump).and_then(|dump| Ok((dump, serde_json::from_slice(rules)?)));
    let (dump, rules): (Value, Value) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return vec![unknown(&format!("the reply to ceph osd dump: {error}"))],
    };
    let mut found = of_upmap(&dump);
    found.extend(of_rule(&dump, &rules, pool));
    found
}

/// The pool's CRUSH rule, if kernel clients cannot use it.
fn of_rule(dump: &Value, rules: &Value, pool: &str) -> Option<Finding> {
    let mut pools = dump["pools"].as_array()?.iter();
    let id = &pools.find(|each| each["pool_name"] == pool)?["crush_rule"];
    let mut rules = rules.as_array()?.iter();
    let rule = rules.find(|rule| rule["rule_id"] == *id)?;
    if !MSR.contains(&rule["type"].as_i64()?) {
        return None;
    }
    let name = rule["rule_name"].as_str().unwrap_or_default();
    let text = format!("its CRUSH rule {name} is of a type msr");
    let fix = format!("ceph osd pool set {pool} crush_rule RULE, with a rule of type replicated");
    Some(table::MSR_RULE.found(format!("pool {pool}"), text, fix))
}

fn of_upmap(dump: &Value) -> Vec<Finding> {
    let entries = dump["pg_upmap_primaries"].as_array();
    let entries = entries.map_or(&[][..], Vec::as_slice);
    let Some(first) = entries.first() else {
        return Vec::new();
    };
    let min_compat = dump["require_min_compat_client"]
        .as_str()
        .unwrap_or("unknown");
    let text = format!(
        "the osdmap has {} pg-upmap-primary entries (require-min-compat-client: {min_compat})",
        entries.len()
    );
    let pg = first["pgid"].as_str().unwrap_or("PG");
    let fix = format!(
        "ceph balancer mode upmap; and for each placement group: ceph osd rm-pg-upmap-primary {pg}"
    );
    vec![table::UPMAP_PRIMARY.found("cluster", text, fix)]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_health_check_becomes_the_finding_that_it_is() {
        for (name, kind, _) in CHECKS {
            let reply = json!({"status": "HEALTH_ERR", "checks": {
                name: {"severity": "HEALTH_WARN", "summary": {"message": "two of them"}, "muted": false},
                "AUTH_INSECURE_GLOBAL_ID_RECLAIM": {"summary": {"message": "x"}, "muted": false},
            }});
            let found = of_health(reply.to_string().as_bytes());
            assert_eq!(found.len(), 1, "{name}");
            assert_eq!(found[0].kind, kind, "{name}");
            assert_eq!(found[0].found, format!("{name}: two of them"));
        }
    }

    #[test]
    fn a_muted_check_and_a_healthy_cluster_are_no_findings() {
        let muted = json!({"checks": {"OSD_DOWN": {"summary": {"message": "x"}, "muted": true}}});
        assert_eq!(of_health(muted.to_string().as_bytes()), []);
        assert_eq!(of_health(b"{\"checks\": {}}"), []);
        assert_eq!(of_osdmap(b"{\"pools\": []}", b"[]", "vms"), []);
    }

    #[test]
    fn upmap_primaries_are_a_failure() {
        let dump = json!({"require_min_compat_client": "reef",
            "pg_upmap_primaries": [{"pgid": "2.1f", "primary_osd": 3}]});
        let found = of_osdmap(dump.to_string().as_bytes(), b"[]", "vms");
        assert_eq!(found[0].kind, &table::UPMAP_PRIMARY);
        assert!(found[0].fix.ends_with("ceph osd rm-pg-upmap-primary 2.1f"));
    }

    #[test]
    fn a_reply_that_cannot_be_read_is_a_finding() {
        assert_eq!(of_health(b"?")[0].kind, &table::HEALTH_UNKNOWN);
        assert_eq!(
            of_osdmap(b"?", b"[]", "vms")[0].kind,
            &table::HEALTH_UNKNOWN
        );
    }
}
