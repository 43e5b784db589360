//! Replies of the monitors: `mon dump`, `osd blocklist ls`, and `df detail` with `osd dump`.
#![no_main]

use sr_ceph::usage::ClusterReport;

libfuzzer_sys::fuzz_target!(|reply: &[u8]| {
    librbd::fuzzing::mon_dump(reply);
    librbd::fuzzing::blocklist(reply);
    // Two replies, with a NUL between them.
    let mut parts = reply.splitn(2, |byte| *byte == 0);
    let (df, osd_dump) = (parts.next().unwrap_or(&[]), parts.next().unwrap_or(&[]));
    let Ok(report) = ClusterReport::parse(df, osd_dump) else {
        return;
    };
    for pool in report.pools() {
        let usage = pool.usage;
        if let (Some(total), Some(free)) = (usage.total(), usage.free()) {
            assert!(free <= total, "{free} bytes free of {total}");
        }
        if let Err(refusal) = usage.room_for_growth() {
            let _ = refusal.to_string();
        }
    }
});
