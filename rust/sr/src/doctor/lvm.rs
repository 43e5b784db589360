//! Whether dom0's LVM looks into the disks of guests.

use std::fs;
use std::path::Path;

use crate::finding::{table, Finding};

const FILES: [&str; 2] = ["etc/lvm/lvm.conf", "etc/lvm/lvmlocal.conf"];

pub(super) fn findings(root: &Path) -> Vec<Finding> {
    let texts = FILES.map(|file| fs::read_to_string(root.join(file)).unwrap_or_default());
    if texts[0].is_empty() {
        return Vec::new(); // no LVM
    }
    judge(&texts.concat()).into_iter().collect()
}

/// By default LVM scans neither `rbd` nor `nbd` devices on a dom0: only a line of its configuration makes it do so.
fn judge(text: &str) -> Option<Finding> {
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or(""));
    let settings: String = lines.collect::<Vec<_>>().join("\n");
    let of = |key: &str| value(&settings, key).unwrap_or_default();
    let scanned = ["rbd", "nbd"].into_iter().find(|kind| {
        let scans = of("types").contains(&format!("\"{kind}\"")) || of("scan").contains(kind);
        // A later line of lvm.conf wins; a filter that rejects the devices protects the disks.
        let rejects = ["global_filter", "filter"].into_iter().any(|key| {
            let items = of(key);
            let mut items = items.split(',').filter(|item| item.contains("\"r"));
            items.any(|item| item.contains(kind) || item.contains(".*"))
        });
        scans && !rejects
    })?;
    let text = format!("lvm.conf has LVM scan /dev/{scanned}*, and no global_filter rejects them");
    let fix = "add to the section devices of /etc/lvm/lvmlocal.conf: \
               global_filter = [ \"r|^/dev/rbd.*|\", \"r|^/dev/nbd.*|\" ]";
    Some(table::LVM_SEES_GUESTS.found("this host", text, fix))
}

/// The value of a setting: what is between brackets, or to the end of the line.
fn value(settings: &str, key: &str) -> Option<String> {
    let mut found = None;
    for (at, _) in settings.match_indices(key) {
        let before = settings[..at].chars().next_back();
        let rest = settings[at + key.len()..].trim_start();
        let starts = before.is_none_or(|c| c.is_whitespace() || c == '/' || c == '{');
        let Some(rest) = rest.strip_prefix('=').filter(|_| starts) else {
            continue;
        };
        let rest = rest.trim_start();
        let end = match rest.strip_prefix('[') {
            Some(list) => list.find(']').map_or(rest.len(), |end| end + 2),
            None => rest.find('\n').unwrap_or(rest.len()),
        };
        found = Some(rest[..end].to_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lvm_that_scans_rbd_without_a_filter_is_found() {
        let scans = "devices {\n    types = [ \"rbd\", 1024 ]\n    scan = [ \"/dev\" ]\n}\n";
        assert!(judge(scans).is_some());
        let filtered =
            format!("{scans}devices/global_filter = [ \"r|^/dev/rbd.*|\",\n \"a|.*|\" ]\n");
        assert!(judge(&filtered).is_none());
    }

    #[test]
    fn stock_settings_and_comments_are_no_finding() {
        let stock = "devices {\n # types = [ \"rbd\", 1024 ]\n scan = [ \"/dev\" ]\n}\n";
        assert!(judge(stock).is_none());
        assert!(judge("devices { scan = [\"/dev/rbd\"] }").is_some());
    }
}
