//! Whether xapi serves the SR types: the effective `sm-plugins`, and the drivers in the effective `sm-dir`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::xapi_conf::{fields, Files, MAIN};
use crate::finding::{table, Finding};

/// The files of the drivers, by SR type.
const DRIVERS: [(&str, &str); 2] = [("cephrbd", "CephRBDSR"), ("crucible", "CrucibleSR")];

pub(super) fn findings(root: &Path, sr_types: &[&str]) -> Vec<Finding> {
    if !root.join(&MAIN[1..]).exists() {
        return Vec::new(); // no dom0
    }
    let files = Files::read(root);
    let mut found = types(&files, sr_types);
    let sm_dir = files.sm_dir();
    for sr_type in sr_types {
        found.extend(driver(root, &sm_dir, sr_type));
    }
    found
}

fn types(files: &Files, sr_types: &[&str]) -> Vec<Finding> {
    let Some(set) = files.option("sm-plugins") else {
        return Vec::new(); // xapi's own default is not known here
    };
    let plugins = fields(set.value);
    let allowed: Vec<String> = plugins.iter().map(|item| item.to_lowercase()).collect();
    let allows = |sr_type: &str| allowed.iter().any(|item| item == "*" || item == sr_type);
    let set_by = set.file.display().to_string();
    let mut found = Vec::new();
    for sr_type in sr_types.iter().filter(|sr_type| !allows(sr_type)) {
        let text = format!(
            "sm-plugins in {set_by}, line {}, lacks it: {}",
            set.line,
            plugins.join(" ")
        );
        let fix = "/opt/xensource/libexec/smblock-setup register, then: xe-toolstack-restart";
        found.push(table::NOT_REGISTERED.found(format!("SR type {sr_type}"), text, fix));
    }
    // What the file of the release allows, and a later file does not.
    if let Some(stock) = files.option_of_main("sm-plugins") {
        let stock = fields(stock.value);
        let lost = stock.iter().map(|sr_type| sr_type.to_lowercase());
        let lost: Vec<_> = lost.filter(|sr_type| !allows(sr_type)).collect();
        if !lost.is_empty() {
            let text = format!("it lacks {}, which /etc/xapi.conf allows", lost.join(", "));
            let fix = "remove that file's line sm-plugins, or add these types to it, then: xe-toolstack-restart";
            found.push(table::STOCK_TYPES_LOST.found(set_by, text, fix));
        }
    }
    found
}

fn driver(root: &Path, sm_dir: &Path, sr_type: &str) -> Option<Finding> {
    let (_, file) = DRIVERS.iter().find(|(name, _)| *name == sr_type)?;
    let path = sm_dir.join(file);
    let status = fs::metadata(root.join(path.strip_prefix("/").unwrap_or(&path)));
    let text = match status {
        Ok(status) if status.permissions().mode() & 0o111 != 0 => return None,
        Ok(_) => format!("{} cannot be executed", path.display()),
        Err(error) => format!("{}: {}", path.display(), hostos::errno::describe_io(&error)),
    };
    let fix = "install smblock again, as docs/user/install.md describes";
    Some(table::DRIVER_MISSING.found(format!("SR type {sr_type}"), text, fix))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;
    use crate::finding::Kind;

    const STOCK: &str = "# xapi\nsm-plugins=ext nfs largeblock\nsm-dir = /usr/libexec/sm\n";

    /// A root with xapi's file, and one of its directory.
    fn root(fragment: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("etc/xapi.conf.d")).unwrap();
        fs::write(root.path().join("etc/xapi.conf"), STOCK).unwrap();
        fs::write(root.path().join("etc/xapi.conf.d/zz"), fragment).unwrap();
        root
    }

    fn kinds(fragment: &str) -> Vec<&'static Kind> {
        let found = types(&Files::read(root(fragment).path()), &["cephrbd"]);
        found.iter().map(|finding| finding.kind).collect()
    }

    #[test]
    fn a_type_that_no_file_allows_is_found() {
        assert_eq!(kinds(""), [&table::NOT_REGISTERED]);
        let ours = "sm-plugins='ext nfs largeblock CephRBD' # x";
        assert_eq!(kinds(ours), [] as [&Kind; 0]);
        assert_eq!(kinds("\tsm-plugins =\t\"*\""), [] as [&Kind; 0]);
    }

    #[test]
    fn a_later_file_that_hides_stock_types_is_found() {
        let found = kinds("sm-plugins=ext nfs cephrbd");
        assert_eq!(found, [&table::STOCK_TYPES_LOST]);
    }

    #[test]
    fn a_main_file_that_is_no_text_is_read_too() {
        let root = root("");
        fs::write(root.path().join("etc/xapi.conf"), b"\xff\nsm-plugins=ext\n").unwrap();
        let found = findings(root.path(), &["cephrbd"]);
        let text = "sm-plugins in /etc/xapi.conf, line 2, lacks it: ext";
        assert_eq!(found[0].found, text);
    }

    #[test]
    fn the_effective_sm_dir_is_where_a_driver_is_looked_for() {
        let files = Files::read(root("").path());
        let missing = driver(Path::new("/nonexistent"), &files.sm_dir(), "cephrbd").unwrap();
        assert_eq!(missing.kind, &table::DRIVER_MISSING);
        let text = missing.found;
        assert!(
            text.starts_with("/usr/libexec/sm/CephRBDSR: ENOENT (2)"),
            "{text}"
        );
    }
}
