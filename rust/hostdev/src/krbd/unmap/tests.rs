#![allow(clippy::unwrap_used)]

use std::time::Instant;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::super::sim::RbdSysfs;
use super::*;

const LIMIT: Duration = Duration::from_millis(300);

fn mapped(sysfs: &RbdSysfs) -> Mapping {
    sysfs.map(7, &[]);
    sysfs.krbd().mappings().unwrap().remove(0)
}

#[test]
fn unmap_writes_the_device_number() {
    let sysfs = RbdSysfs::new();
    let mapping = mapped(&sysfs);
    sysfs.krbd().unmap(&mapping, LIMIT).unwrap();
    assert_eq!(sysfs.read("bus/rbd/remove_single_major"), "7");
    assert_eq!(sysfs.read("bus/rbd/remove"), "");
}

#[test]
fn unmap_uses_the_plain_command_without_single_major() {
    let sysfs = RbdSysfs::new();
    let mapping = mapped(&sysfs);
    sysfs.remove("bus/rbd/remove_single_major");
    sysfs.krbd().unmap(&mapping, LIMIT).unwrap();
    assert_eq!(sysfs.read("bus/rbd/remove"), "7");
}

#[test]
fn unmap_of_a_gone_mapping_succeeds_and_unmaps_no_other_image() {
    let sysfs = RbdSysfs::new();
    let mapping = mapped(&sysfs);
    sysfs.map(7, &[("image_id", "fedcba987654")]);
    sysfs.krbd().unmap(&mapping, LIMIT).unwrap();
    sysfs.remove("bus/rbd/devices/7");
    sysfs.krbd().unmap(&mapping, LIMIT).unwrap();
    assert_eq!(sysfs.read("bus/rbd/remove_single_major"), "");
}

#[test]
fn unmap_fails_at_the_deadline_if_the_kernel_hangs() {
    let sysfs = RbdSysfs::new();
    let mapping = mapped(&sysfs);
    sysfs.remove("bus/rbd/remove_single_major");
    // No process reads from it: open for writing blocks without end.
    let silent = sysfs.path("sys/bus/rbd/remove_single_major");
    mkfifo(&silent, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let started = Instant::now();
    let error = sysfs.krbd().unmap(&mapping, LIMIT).unwrap_err();
    assert!(started.elapsed() >= LIMIT && started.elapsed() < LIMIT * 10);
    assert_eq!(error.errno(), Errno::ETIMEDOUT as i32);
    assert!(error.to_string().contains("pool/disk"), "{error}");
}

#[test]
fn the_error_of_a_refused_unmap_names_the_file() {
    let sysfs = RbdSysfs::new();
    let mapping = mapped(&sysfs);
    for file in ["remove", "remove_single_major"] {
        sysfs.remove(&format!("bus/rbd/{file}"));
    }
    let error = sysfs.krbd().unmap(&mapping, LIMIT).unwrap_err();
    assert!(error.to_string().contains("bus/rbd/remove"), "{error}");
}

#[test]
fn openers_lists_holders_and_processes() {
    let sysfs = RbdSysfs::new();
    let mapping = mapped(&sysfs);
    sysfs.write("block/rbd7/holders/dm-3/dev", "253:3\n");
    std::fs::write(&mapping.device, "").unwrap();
    let _open = std::fs::File::open(&mapping.device).unwrap();
    let found = sysfs.krbd().openers(&mapping);
    assert_eq!(found[0], "device dm-3");
    let me = format!("(pid {})", std::process::id());
    assert!(found.iter().any(|name| name.ends_with(&me)), "{found:?}");
}
