//! Ownership: generations, fencing, and cases in which fencing fails, as measured on Crucible.

mod common;

use common::{until, Volume, KEY};

const ONE: &[u8] = &[1; 4096];
const TWO: &[u8] = &[2; 4096];

fn text(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn generation_zero_is_refused() {
    let output = Volume::new().refused(0, 0);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("Generation 0 is illegal"));
}

#[test]
fn only_a_flush_of_a_write_stores_the_generation() {
    let volume = Volume::new();
    let mut first = volume.serve(0, 1);
    first.connect().flush().unwrap();
    first.process.kill();
    let mut again = volume.serve(0, 1);
    let mut disk = again.connect();
    disk.write(0, ONE).unwrap();
    disk.flush().unwrap();
    again.process.kill();
    let output = volume.refused(0, 1);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("Generation number is too low: requested 1, found 2"));
}

#[test]
fn a_higher_generation_fences_the_live_one_which_then_fails_every_io() {
    let volume = Volume::new();
    let mut old = volume.serve(0, 500);
    let mut disk = old.connect();
    disk.write(0, ONE).unwrap();
    disk.flush().unwrap();
    let new = volume.serve(1, 501);
    until("the old one to notice", || {
        old.info()["state"] == "initializing"
    });
    assert!(disk.read(0, 4096).unwrap_err().to_string().contains("EIO"));
    assert!(disk.write(0, TWO).unwrap_err().to_string().contains("EIO"));
    assert!(
        !disk.flush().unwrap_err().to_string().contains("EIO"),
        "the connection is dropped"
    );
    assert_eq!(old.connect().size, common::SIZE);
    assert_eq!(old.process.has_ended(), None);
    assert_eq!(new.info()["state"], "active");
    assert!(new.connect().read(0, 4096).unwrap() == ONE);
}

#[test]
fn a_lower_generation_than_the_live_one_keeps_trying() {
    let volume = Volume::new();
    let live = volume.serve(0, 400);
    let mut lower = volume.refused_by_all(1, 399);
    assert_eq!(lower.process.has_ended(), None);
    assert!(!lower.is_listening());
    assert_eq!(lower.info()["state"], "initializing");
    assert_eq!(live.info()["state"], "active");
}

#[test]
fn after_a_refused_server_the_next_generation_fences_none_and_both_write() {
    let volume = Volume::new();
    let first = volume.serve(0, 400);
    let mut one = first.connect();
    volume.refused_by_all(1, 399).process.kill();
    let second = volume.serve(2, 401);
    let mut two = second.connect();
    one.write(0, ONE).unwrap();
    one.flush().unwrap();
    two.write(4096, TWO).unwrap();
    two.flush().unwrap();
    assert!(one.read(4096, 4096).unwrap() == TWO);
    assert!(two.read(0, 4096).unwrap() == ONE);
    assert_eq!(first.info()["state"], "active");
    assert_eq!(second.info()["state"], "active");
}

#[test]
fn a_port_in_use_is_an_error_only_after_the_owner_was_fenced() {
    use std::os::unix::process::ExitStatusExt;
    let volume = Volume::new();
    let owner = volume.serve(0, 10);
    let (_, taken, _) = volume.command(1, 11);
    let _taken = std::net::TcpListener::bind(taken).unwrap();
    let output = volume.refused(1, 11);
    assert_eq!(output.status.signal(), Some(6), "128 + 6 = 134 in a shell");
    until("the owner to notice", || {
        owner.info()["state"] == "initializing"
    });
}

#[test]
fn a_read_only_downstairs_refuses_a_server() {
    let output = Volume::with(&[], &["--mode", "ro"]).refused(0, 1);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("Incompatible read-only settings"));
}

#[test]
fn an_encrypted_region_needs_the_key_it_was_written_with() {
    let volume = Volume::with(&["--encrypted"], &[]);
    let mut server = volume.serve(0, 1);
    let mut disk = server.connect();
    disk.write(0, ONE).unwrap();
    disk.flush().unwrap();
    assert!(disk.read(0, 4096).unwrap() == ONE);
    server.process.kill();

    let (command, ..) = volume.command(0, 2);
    let words: Vec<_> = command.get_args().map(|word| word.to_owned()).collect();
    let run = |replacement: Option<&str>| {
        let mut words = words.clone();
        let key = words.iter().position(|word| word == "-k").unwrap();
        words.splice(
            key..key + 2,
            replacement
                .into_iter()
                .flat_map(|key| ["-k".into(), key.into()]),
        );
        std::process::Command::new(common::SERVER)
            .args(words)
            .output()
            .unwrap()
    };
    let without = run(None);
    assert_eq!(without.status.code(), Some(1));
    assert!(text(&without).contains("Incompatible encryption settings"));
    let short = run(Some("c2hvcnQ="));
    assert!(text(&short).contains("Key length must be 32 bytes"));
    assert!(!String::from_utf8_lossy(&without.stdout).contains(KEY));
}

#[test]
fn a_wrong_key_ends_the_server_at_the_first_written_block() {
    let other = "c2Vjb25kc2Vjb25kc2Vjb25kc2Vjb25kc2Vjb25kMTI=";
    let volume = Volume::with(&["--encrypted"], &[]);
    let mut server = volume.serve(0, 1);
    let mut disk = server.connect();
    disk.write(8 << 20, ONE).unwrap();
    disk.flush().unwrap();
    server.process.kill();
    let mut wrong = volume.serve_with_key(1, 2, other);
    let mut disk = wrong.connect();
    disk.read(0, 4096).unwrap();
    disk.write(0, ONE).unwrap();
    disk.flush().unwrap();
    disk.read(8 << 20, 4096).unwrap_err();
    assert!(ended(&mut wrong.process), "it panics at block 2048");
    // Block 0 has the other key now: the right one is refused from now on.
    let mut right = volume.serve(2, 3);
    let mut disk = right.connect();
    assert!(disk.read(8 << 20, 4096).unwrap() == ONE);
    disk.read(0, 4096).unwrap_err();
    assert!(ended(&mut right.process), "it panics at block 0");
}

fn ended(process: &mut common::Process) -> bool {
    let mut polls = 0..100;
    polls.any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        process.has_ended().is_some()
    })
}

#[test]
fn the_key_is_printed_as_in_crucible() {
    let volume = Volume::with(&["--encrypted"], &[]);
    let (mut command, ..) = volume.command(0, 0);
    let output = command
        .stdout(std::process::Stdio::piped())
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        printed.contains("raw options:") && printed.contains(KEY),
        "{printed}"
    );
}

#[test]
fn only_the_build_with_address_has_that_option() {
    let help = |program: &str| {
        let output = std::process::Command::new(program)
            .arg("--help")
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(help(common::SERVER).contains("--address"));
    assert!(!help(common::UPSTREAM).contains("--address"));
    assert!(help(common::UPSTREAM).contains("--control"));
}
