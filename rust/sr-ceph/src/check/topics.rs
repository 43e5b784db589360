//! The parts of a check, in the order of the report.

use sr::check::{CheckLine, Outcome};

pub(super) const CONF: &str = "ceph.conf";
pub(super) const KEYRING: &str = "keyring";
pub(super) const MONITORS: &str = "monitors";
pub(super) const USER: &str = "user";
pub(super) const MON_CAPS: &str = "mon caps";
pub(super) const CLOCK: &str = "clock";
pub(super) const CUT_OFF: &str = "blocklist";
pub(super) const LOCK: &str = "exclusive lock";
pub(super) const POOL: &str = "pool";
pub(super) const APPLICATION: &str = "pool application";
pub(super) const USAGE: &str = "pool usage";
pub(super) const OSD_CAPS: &str = "osd caps";
pub(super) const MGR_CAPS: &str = "mgr caps";

/// Every part, in the order of the report.
pub(super) const TOPICS: [&str; 11] = [
    MONITORS,
    USER,
    MON_CAPS,
    CLOCK,
    CUT_OFF,
    LOCK,
    POOL,
    APPLICATION,
    USAGE,
    OSD_CAPS,
    MGR_CAPS,
];

/// Lines for parts that are not checked, with the reason.
pub(super) fn not_run(topics: &[&'static str], because: &str) -> Vec<CheckLine> {
    let line = |&topic| {
        let because = because.to_owned();
        Outcome::NotRun { because }.on(topic)
    };
    topics.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use sr::finding::table::{of_topic, OTHER_PART};

    #[test]
    fn each_part_of_a_check_is_a_kind_of_finding() {
        for topic in super::TOPICS
            .into_iter()
            .chain([super::CONF, super::KEYRING])
        {
            assert_ne!(of_topic(topic), &OTHER_PART, "{topic}");
        }
    }
}
