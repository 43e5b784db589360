//! What to do about a pool that does not exist.

/// From how much on a name is taken for another one with a mistake, of 1.
const SIMILAR: f64 = 0.6;

/// The pool that was meant, by the names of those that can hold an SR.
pub(crate) fn meant<'c>(name: &str, candidates: &'c [String]) -> Option<&'c String> {
    let similarity = |other: &str| strsim::normalized_damerau_levenshtein(name, other);
    let best = candidates
        .iter()
        .max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
    best.filter(|other| similarity(other) >= SIMILAR)
}

/// What to do instead of using that pool. A new one is only proposed if none was meant.
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
