//! This host's configuration, as far as it is no SR's: xapi's list of SR types, the drivers, LVM.

use std::path::Path;

use super::{lvm, registration};
use crate::finding::Finding;

/// Looks at the configuration of the host whose root is `root`. `sr_types` are those that the host is to
/// serve.
#[must_use]
pub fn findings(root: &Path, sr_types: &[&str]) -> Vec<Finding> {
    let mut found = registration::findings(root, sr_types);
    found.extend(lvm::findings(root));
    found
}
