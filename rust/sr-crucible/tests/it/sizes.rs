//! A size that no volume can have is refused before the provisioner is called.

use sr_crucible::Error;
use uuid::Uuid;

use crate::support::{on, sim};

const NEW: Uuid = Uuid::from_u128(0xc3);

#[test]
fn a_size_that_no_volume_can_have_is_refused_with_the_size() {
    let huge = i128::from(i64::MAX) + 1;
    for size in [i128::MIN, -1, 0, huge, i128::from(u64::MAX), i128::MAX] {
        let refused = on(&sim(), "a", |sr| sr.create(&NEW, "new", size)).unwrap_err();
        assert!(matches!(refused, Error::BadSize { .. }), "{refused}");
        assert!(refused.to_string().contains(&size.to_string()), "{refused}");
    }
}

#[test]
fn any_other_size_reaches_the_provisioner() {
    for size in [1, i128::from(i64::MAX)] {
        let asked = on(&sim(), "a", |sr| sr.create(&NEW, "new", size)).unwrap_err();
        assert!(matches!(asked, Error::NoProvisioner { .. }), "{asked}");
    }
}
