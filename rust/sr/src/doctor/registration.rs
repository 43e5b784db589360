//! Whether xapi serves the SR types: the effective `sm-plugins`, and the drivers in the effective `sm-dir`.
//!
//! xapi reads /etc/xapi.conf, then each file of /etc/xapi.conf.d by the bytes of its name. The last line
//! that sets an option wins. Text after `#` is a comment. One pair of quotes around a value is removed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::finding::{table, Finding};

const MAIN: &str = "etc/xapi.conf";
const FOLDER: &str = "etc/xapi.conf.d";
const SM_DIR: &str = "/opt/xensource/sm";

/// The files of the drivers, by SR type.
const DRIVERS: [(&str, &str); 2] = [("cephrbd", "CephRBDSR"), ("crucible", "CrucibleSR")];

pub(super) fn findings(root: &Path, sr_types: &[&str]) -> Vec<Finding> {
    let Ok(main) = fs::read_to_string(root.join(MAIN)) else {
        return Vec::new(); // no dom0
    };
    let mut files = vec![(PathBuf::from("/").join(MAIN), main)];
    files.extend(fragments(root));
    let mut found = types(&files, sr_types);
    let sm_dir = option(&files, "sm-dir").map_or(SM_DIR, |(value, _)| value);
    for sr_type in sr_types {
        found.extend(driver(root, sm_dir, sr_type));
    }
    found
}

fn types(files: &[(PathBuf, String)], sr_types: &[&str]) -> Vec<Finding> {
    let Some((plugins, set_by)) = option(files, "sm-plugins") else {
        return Vec::new(); // xapi's own default is not known here
    };
    let allowed: Vec<String> = plugins.split_whitespace().map(str::to_lowercase).collect();
    let allows = |sr_type: &str| allowed.iter().any(|item| item == "*" || item == sr_type);
    let mut found = Vec::new();
    for sr_type in sr_types.iter().filter(|sr_type| !allows(sr_type)) {
        let text = format!("sm-plugins in {} lacks it: {plugins}", set_by.display());
        let fix = "/opt/xensource/libexec/smblock-setup register, then: xe-toolstack-restart";
        found.push(table::NOT_REGISTERED.found(format!("SR type {sr_type}"), text, fix));
    }
    // What the file of the release allows, and a later file does not.
    if let Some((stock, _)) = option(&files[..1], "sm-plugins") {
        let lost: Vec<_> = stock.split_whitespace().map(str::to_lowercase).collect();
        let lost: Vec<_> = lost.iter().filter(|sr_type| !allows(sr_type)).collect();
        if !lost.is_empty() {
            let lost: Vec<_> = lost.into_iter().map(String::as_str).collect();
            let text = format!("it lacks {}, which /etc/xapi.conf allows", lost.join(", "));
            let fix = "remove that file's line sm-plugins, or add these types to it, then: xe-toolstack-restart";
            found.push(table::STOCK_TYPES_LOST.found(set_by.display().to_string(), text, fix));
        }
    }
    found
}

fn driver(root: &Path, sm_dir: &str, sr_type: &str) -> Option<Finding> {
    let (_, file) = DRIVERS.iter().find(|(name, _)| *name == sr_type)?;
    let path = Path::new(sm_dir).join(file);
    let status = fs::metadata(root.join(path.strip_prefix("/").unwrap_or(&path)));
    let text = match status {
        Ok(status) if status.permissions().mode() & 0o111 != 0 => return None,
        Ok(_) => format!("{} cannot be executed", path.display()),
        Err(error) => format!("{}: {}", path.display(), hostos::errno::describe_io(&error)),
    };
    let fix = "install smblock again, as docs/user/install.md describes";
    Some(table::DRIVER_MISSING.found(format!("SR type {sr_type}"), text, fix))
}

/// The files of the directory, in xapi's order.
fn fragments(root: &Path) -> Vec<(PathBuf, String)> {
    let Ok(listed) = fs::read_dir(root.join(FOLDER)) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = listed.filter_map(Result::ok).map(|e| e.path()).collect();
    paths.sort_by_key(|path| path.file_name().map(ToOwned::to_owned));
    let read = paths.into_iter().filter_map(|path| {
        let text = fs::read(&path).ok()?;
        let shown = path.strip_prefix(root).unwrap_or(&path);
        let shown = Path::new("/").join(shown);
        Some((shown, String::from_utf8_lossy(&text).into_owned()))
    });
    read.collect()
}

/// The value of an option, and the file that sets it.
fn option<'f>(files: &'f [(PathBuf, String)], key: &str) -> Option<(&'f str, &'f Path)> {
    let lines = files
        .iter()
        .flat_map(|(path, text)| text.lines().map(move |line| (path.as_path(), line)));
    let mut set = lines.filter_map(|(path, line)| Some((assigned(line, key)?, path)));
    set.next_back()
}

fn assigned<'l>(line: &'l str, key: &str) -> Option<&'l str> {
    let blank = |c: char| matches!(c, ' ' | '\t' | '\\' | '\r');
    let (name, value) = line.split('#').next()?.split_once('=')?;
    if name.trim_matches(blank) != key {
        return None;
    }
    let value = value.trim_matches(blank);
    let quoted = ['"', '\''].into_iter().find_map(|quote| {
        let inner = value.strip_prefix(quote)?.strip_suffix(quote)?;
        Some(inner)
    });
    Some(quoted.unwrap_or(value))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;
    use crate::finding::Kind;

    const STOCK: &str = "# xapi\nsm-plugins=ext nfs largeblock\nsm-dir = /usr/libexec/sm\n";

    fn kinds(files: &[(&str, &str)], sr_types: &[&str]) -> Vec<&'static Kind> {
        let files = files.iter();
        let files = files.map(|(path, text)| (PathBuf::from(path), (*text).to_owned()));
        let found = types(&files.collect::<Vec<_>>(), sr_types);
        found.iter().map(|finding| finding.kind).collect()
    }

    #[test]
    fn a_type_that_no_file_allows_is_found() {
        let stock = ("/etc/xapi.conf", STOCK);
        assert_eq!(kinds(&[stock], &["cephrbd"]), [&table::NOT_REGISTERED]);
        let ours = (
            "/etc/xapi.conf.d/zz",
            "sm-plugins='ext nfs largeblock CephRBD' # x",
        );
        assert_eq!(kinds(&[stock, ours], &["cephrbd"]), [] as [&Kind; 0]);
        let all = ("/etc/xapi.conf.d/zz", "\tsm-plugins =\t\"*\"");
        assert_eq!(kinds(&[stock, all], &["cephrbd"]), [] as [&Kind; 0]);
    }

    #[test]
    fn a_later_file_that_hides_stock_types_is_found() {
        let stock = ("/etc/xapi.conf", STOCK);
        let frozen = ("/etc/xapi.conf.d/99", "sm-plugins=ext nfs cephrbd");
        let found = kinds(&[stock, frozen], &["cephrbd"]);
        assert_eq!(found, [&table::STOCK_TYPES_LOST]);
    }

    #[test]
    fn the_effective_sm_dir_is_where_a_driver_is_looked_for() {
        let files = [(PathBuf::from("/etc/xapi.conf"), STOCK.to_owned())];
        let (sm_dir, _) = option(&files, "sm-dir").unwrap();
        assert_eq!(sm_dir, "/usr/libexec/sm");
        let missing = driver(Path::new("/nonexistent"), sm_dir, "cephrbd").unwrap();
        assert_eq!(missing.kind, &table::DRIVER_MISSING);
        let text = missing.found;
        assert!(
            text.starts_with("/usr/libexec/sm/CephRBDSR: ENOENT (2)"),
            "{text}"
        );
    }
}
