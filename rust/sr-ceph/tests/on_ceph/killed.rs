//! A process is killed inside a call of librbd. Its watch on the image and its lock stay, and no process releases
//! them.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sr_ceph::faults::{Calls, Faults, Mode, Plan};
use uuid::Uuid;

use super::crashes::RECOVERED;
use super::lab::{Lab, A, B, BLOCKS};

/// The variable with the victim's orders: the SR, the disk, and the snapshot to take.
const ORDERS: &str = "SMBLOCK_TEST_VICTIM";
const LOCKED: &str = "the image is locked";

#[test]
#[ignore = "is the process that the other test kills"]
fn victim() {
    let Ok(orders) = std::env::var(ORDERS) else {
        return;
    };
    let uuids: Vec<Uuid> = orders
        .split(' ')
        .map(|text| text.parse().unwrap())
        .collect();
    let lab = Lab::of(uuids[0]).unwrap();
    let process = lab.process(A);
    let faults = Faults::plan(Plan {
        calls: Calls::Changes,
        nth: 1,
        mode: Mode::KilledBefore,
    });
    let snapshot = |sr: &sr_ceph::CephSr<'_>| sr.snapshot_vdi(&uuids[1], &uuids[2]);
    lab.as_process(&process, &faults, snapshot).unwrap_err();
    assert_eq!(faults.hit(), Some("create_snapshot"));
    // What librbd does for a snapshot before it asks the monitors for one.
    let image = lab.open_image_as(&process.pool, &uuids[1], false);
    image.write_at(0, &[0; 512]).unwrap();
    writeln!(std::io::stdout(), "{LOCKED}").unwrap();
    std::thread::sleep(Duration::from_secs(120));
}

#[test]
fn the_lock_of_a_killed_process_delays_no_other_host() {
    let Some(lab) = Lab::connect() else {
        return;
    };
    let (disk, snapshot) = (lab.disk("disk", &[0; BLOCKS]), Uuid::new_v4());
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::victim", "--ignored", "--nocapture"])
        .env(ORDERS, format!("{} {disk} {snapshot}", lab.sr))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let locked = lines.any(|line| line.unwrap().contains(LOCKED));
    victim.kill().unwrap();
    victim.wait().unwrap();
    assert!(locked, "it did not get that far");

    lab.let_leases_end();
    let began = Instant::now();
    lab.run(B, |sr| sr.scan(&[])).unwrap();
    lab.run(B, |sr| sr.snapshot_vdi(&disk, &snapshot)).unwrap();
    let took = began.elapsed();
    assert!(took < RECOVERED, "it took {took:?}");
    eprintln!("the snapshot was there {took:?} after the lease was over");
    lab.check_clean();
    for vdi in [disk, snapshot] {
        lab.run(B, |sr| sr.delete_vdi(&vdi)).unwrap();
    }
    lab.end();
}
