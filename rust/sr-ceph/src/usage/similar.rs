//! How to fix the name of a pool that does not exist.

/// From this similarity on, of 1, a name is taken for a mistyped one.
const SIMILAR: f64 = 0.6;

/// Returns the pool that was probably meant, of those that can hold an SR.
pub(crate) fn meant<'c>(name: &str, candidates: &'c [String]) -> Option<&'c String> {
    let similarity = |other: &str| strsim::normalized_damerau_levenshtein(name, other);
    let best = candidates
        .iter()
        .max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
    best.filter(|other| similarity(other) >= SIMILAR)
}

/// Returns what to do if a pool does not exist. Making one is proposed only if no other pool was meant.
pub(crate) fn instead_of(name: &str, candidates: &[String]) -> String {
    match meant(name, candidates) {
        Some(meant) => format!("did you mean device-config:pool={meant}?"),
        None => format!(
            "name one of them in device-config:pool; or, for a new pool: ceph osd pool create {name} 32 \
             && ceph osd pool application enable {name} rbd"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_pool_is_corrected_and_not_proposed() {
        let candidates = ["rbd", "vms", "vms-old"].map(ToOwned::to_owned);
        for mistyped in ["vsm", "vm", "Vms"] {
            let text = instead_of(mistyped, &candidates);
            assert_eq!(text, "did you mean device-config:pool=vms?", "{mistyped}");
        }
        let text = instead_of("backup", &candidates);
        assert!(text.contains("ceph osd pool create backup 32"), "{text}");
    }
}
