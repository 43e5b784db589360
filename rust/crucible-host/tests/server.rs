//! What an administrator may rely on about the servers of a host. The server is a stand-in
//! (`standin/main.rs`); its runner, its folder and its end are real.
#![allow(clippy::unwrap_used)]

mod host;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{symlink, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crucible_host::server::{all, Detached, How, Launcher, Server, Spec, State, Status};
use crucible_host::Error;
use hostos::Process;
use nix::sys::signal::Signal;
use uuid::Uuid;

use host::{runner, send, Host, KEY, SOON, STANDIN};

fn nobody_listens(host: &Host) -> bool {
    TcpListener::bind(host.ports.nbd).is_ok() && TcpListener::bind(host.ports.control).is_ok()
}

#[test]
fn a_started_server_is_ready_is_known_and_is_gone_when_stopped() {
    let host = Host::new(1, "nbd-server");
    assert_eq!(host.server.status().unwrap(), Status::Absent);
    let state = host.ready();
    assert_eq!((state.generation, state.nbd), (7, host.ports.nbd));
    let server = state.server.unwrap();
    assert!(server.is_alive().unwrap() && state.runner.is_alive().unwrap());
    // Nobody who signals the session of this process reaches it.
    let runner = procfs::process::Process::new(state.runner.pid.cast_signed()).unwrap();
    assert_eq!(runner.stat().unwrap().session, runner.pid());
    assert_eq!(all(host.root.path()).unwrap(), [host.volume]);

    host.server.stop(SOON).unwrap();
    assert!(!server.is_alive().unwrap());
    wait_for_end(&state.runner);
    assert!(nobody_listens(&host));
    let ended = host.ended();
    assert!(ended.asked, "{ended:?}");
    assert_eq!(ended.how, How::Killed(15));
    host.server.remove().unwrap();
    assert!(all(host.root.path()).unwrap().is_empty());
    host.server.remove().unwrap();
}

#[test]
fn the_key_is_only_in_a_file_of_root_and_in_the_arguments_of_the_server() {
    let host = Host::new(2, "nbd-server");
    host.ready();
    host.server.stop(SOON).unwrap();
    let log = fs::read_to_string(host.file("runner.log")).unwrap();
    assert!(
        log.contains("raw options: Opt { key: Some(\"<key>\")"),
        "{log}"
    );
    let ended = host.ended();
    assert!(
        ended.last_lines.iter().any(|line| line.contains("<key>")),
        "{ended:?}"
    );
    for entry in fs::read_dir(host.server.folder()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(
            path.metadata().unwrap().permissions().mode() & 0o777,
            0o600,
            "{path:?}"
        );
        assert!(
            !fs::read_to_string(&path).unwrap().contains(KEY),
            "{path:?}"
        );
    }
    let folder = host.server.folder().metadata().unwrap();
    assert_eq!(folder.permissions().mode() & 0o777, 0o700);
    assert!(!format!("{:?}", host.spec()).contains(KEY));
}

#[test]
fn a_server_that_refuses_to_start_is_quoted_in_the_error() {
    let host = Host::new(3, "refused");
    host.start();
    let error = host.server.wait_ready(SOON).unwrap_err().to_string();
    assert!(error.contains(&host.volume.to_string()), "{error}");
    assert!(
        error.contains("Generation number is too low: requested 1, found 2"),
        "{error}"
    );
    assert!(
        error.contains("exited with code 1") && !error.contains(KEY),
        "{error}"
    );
}

#[test]
fn a_program_that_cannot_be_executed_is_reported_and_nothing_runs() {
    let mut host = Host::new(4, "nbd-server");
    host.program = PathBuf::from("/nonexistent/nbd-server");
    host.start();
    let error = host.server.wait_ready(SOON).unwrap_err().to_string();
    assert!(
        error.contains("/nonexistent/nbd-server") && error.contains("ENOENT (2)"),
        "{error}"
    );
    assert!(matches!(host.ended().how, How::NotStarted(_)));
}

#[test]
fn a_server_that_waits_for_a_downstairs_is_not_ready_and_the_error_says_for_which() {
    let host = Host::new(5, "waiting");
    host.start();
    let error = host
        .server
        .wait_ready(Duration::from_millis(300))
        .unwrap_err();
    assert!(matches!(error, Error::NotReady { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("initializing") && text.contains("connecting (start)"),
        "{text}"
    );
}

#[test]
fn a_port_that_another_process_listens_on_is_never_taken_for_the_servers() {
    let host = Host::new(6, "deaf");
    let _squatter = TcpListener::bind(host.ports.nbd).unwrap();
    host.start();
    let error = host
        .server
        .wait_ready(Duration::from_millis(300))
        .unwrap_err()
        .to_string();
    assert!(error.contains("does not listen on"), "{error}");
}

#[test]
fn a_generation_is_started_once_whoever_tries_again() {
    let host = Host::new(7, "nbd-server");
    host.ready();
    let prepare = host.server.prepare(&host.spec()).unwrap_err();
    assert!(matches!(prepare, Error::StillRunning { .. }), "{prepare}");
    send(&host.running().server.unwrap(), Signal::SIGKILL);
    let before = host.ended();
    let again = Command::new(STANDIN)
        .arg("serve")
        .arg(host.server.folder())
        .output()
        .unwrap();
    let text = String::from_utf8(again.stderr).unwrap();
    assert!(
        text.contains("generation 7") && text.contains("was used already"),
        "{text}"
    );
    assert!(!again.status.success() && nobody_listens(&host));
    assert_eq!(host.ended(), before);
}

#[test]
fn a_volume_can_be_started_again_with_a_new_generation() {
    let host = Host::new(8, "nbd-server");
    host.ready();
    host.server.stop(SOON).unwrap();
    let mut spec = host.spec();
    spec.generation = 8;
    host.server.prepare(&spec).unwrap();
    assert_eq!(host.server.status().unwrap(), Status::Absent);
    host.server.start(&runner()).unwrap();
    host.server.wait_ready(SOON).unwrap();
    assert_eq!(host.running().generation, 8);
}

#[test]
fn a_server_that_does_not_listen_to_sigterm_is_killed() {
    let host = Host::new(9, "stubborn");
    let server = host.ready().server.unwrap();
    host.server.stop(Duration::from_secs(1)).unwrap();
    assert!(!server.is_alive().unwrap());
    assert!(nobody_listens(&host));
}

#[test]
fn a_server_that_dies_is_told_from_one_that_was_stopped() {
    let host = Host::new(10, "nbd-server");
    let server = host.ready().server.unwrap();
    send(&server, Signal::SIGKILL);
    let ended = host.ended();
    assert_eq!((ended.how, ended.asked), (How::Killed(9), false));

    // As systemd does it at the shutdown of the host.
    let host = Host::new(11, "nbd-server");
    let state = host.ready();
    send(&state.server.unwrap(), Signal::SIGTERM);
    send(&state.runner, Signal::SIGTERM);
    let ended = host.ended();
    assert_eq!((ended.how, ended.asked), (How::Killed(15), true));
}

#[test]
fn a_server_whose_runner_was_killed_is_found_and_stopped() {
    let host = Host::new(12, "nbd-server");
    let state = host.ready();
    send(&state.runner, Signal::SIGKILL);
    let server = state.server.clone().unwrap();
    wait_for_end(&state.runner);
    assert_eq!(host.running(), state);
    let removal = host.server.remove().unwrap_err();
    assert!(matches!(removal, Error::StillRunning { .. }), "{removal}");
    host.server.stop(SOON).unwrap();
    assert!(!server.is_alive().unwrap());
    assert_eq!(host.ended().how, How::Unseen);
}

#[test]
fn a_server_whose_runner_was_killed_before_it_noted_the_server_is_found_and_stopped() {
    let host = Host::new(13, "nbd-server");
    let state = host.ready();
    let server = state.server.clone().unwrap();
    send(&state.runner, Signal::SIGKILL);
    wait_for_end(&state.runner);
    let unnoted = State {
        server: None,
        ..state.clone()
    };
    fs::write(
        host.file("state.json"),
        serde_json::to_vec(&unnoted).unwrap(),
    )
    .unwrap();
    assert_eq!(host.running(), state);
    host.server.stop(SOON).unwrap();
    assert!(!server.is_alive().unwrap());
    assert!(nobody_listens(&host));
}

/// Starts a runner, and kills it that much later.
struct Killed(Duration);

impl Launcher for Killed {
    fn launch(&self, folder: &Path, _volume: &Uuid) -> Result<(), Error> {
        let mut runner = Command::new(STANDIN)
            .arg("serve")
            .arg(folder)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(self.0);
        runner.kill().unwrap();
        runner.wait().unwrap();
        Ok(())
    }
}

#[test]
fn whenever_a_runner_is_killed_nothing_runs_after_the_stop() {
    let host = Host::new(18, "nbd-server");
    let address = host.ports.nbd.to_string();
    let servers = || {
        procfs::process::all_processes()
            .unwrap()
            .filter_map(|process| process.ok()?.cmdline().ok())
            .filter(|line| line.contains(&address))
            .count()
    };
    let mut left_alone = 0;
    for generation in 0..20 {
        host.server
            .prepare(&Spec {
                generation,
                ..host.spec()
            })
            .unwrap();
        let moment = Duration::from_micros(generation * 500);
        host.server.start(&Killed(moment)).unwrap();
        left_alone += servers();
        host.server.stop(SOON).unwrap();
        assert_eq!(servers(), 0, "after {moment:?}");
    }
    assert!(left_alone > 0, "no runner was killed late enough");
}

#[test]
fn a_runner_that_comes_after_the_stop_starts_nothing() {
    let host = Host::new(14, "nbd-server");
    host.server.prepare(&host.spec()).unwrap();
    host.server.stop(SOON).unwrap();
    let late = Command::new(STANDIN)
        .arg("serve")
        .arg(host.server.folder())
        .output()
        .unwrap();
    let text = String::from_utf8(late.stderr).unwrap();
    assert!(text.contains("nothing to serve"), "{text}");
    assert_eq!(host.server.status().unwrap(), Status::Absent);
    assert!(nobody_listens(&host));
}

#[test]
fn a_state_of_an_earlier_boot_is_no_running_server() {
    let host = Host::new(15, "nbd-server");
    let mut state = State {
        runner: Process {
            boot_id: "earlier".to_owned(),
            pid: 1,
            start_time: 0,
        },
        server: None,
        generation: 7,
        nbd: host.ports.nbd,
        control: host.ports.control,
    };
    state.server = Some(state.runner.clone());
    fs::write(host.file("state.json"), serde_json::to_vec(&state).unwrap()).unwrap();
    assert!(matches!(host.server.status().unwrap(), Status::Ended(_)));
    // It would be init that gets the signals.
    host.server.stop(SOON).unwrap();
}

#[test]
fn a_damaged_file_is_an_error_and_never_no_server() {
    let host = Host::new(16, "nbd-server");
    fs::write(host.file("state.json"), "{\"runner\":").unwrap();
    assert!(matches!(
        host.server.status(),
        Err(Error::Garbled { line: 1, .. })
    ));
    assert!(matches!(host.server.stop(SOON), Err(Error::Garbled { .. })));
    fs::remove_file(host.file("state.json")).unwrap();
}

#[test]
fn a_runner_that_tells_about_the_end_of_its_server_is_let_alone_and_can_be_ended() {
    let host = Host::new(19, "nbd-server");
    host.server.prepare(&host.spec()).unwrap();
    let talkative = Detached {
        command: [STANDIN, "serve-and-tell"].map(Into::into).to_vec(),
    };
    host.server.start(&talkative).unwrap();
    host.server.wait_ready(SOON).unwrap();
    let state = host.running();
    send(&state.server.unwrap(), Signal::SIGKILL);
    assert_eq!(host.ended().how, How::Killed(9));
    host.server.stop(SOON).unwrap();
    assert!(state.runner.is_alive().unwrap());
    host.server.remove().unwrap();
    send(&state.runner, Signal::SIGTERM);
    wait_for_end(&state.runner);
}

#[test]
fn only_a_program_with_an_address_option_is_accepted() {
    let host = Host::new(17, "nbd-server");
    Server::check_binary(&host.program).unwrap();

    let upstream = host.root.path().join("upstream");
    symlink(STANDIN, &upstream).unwrap();
    let text = Server::check_binary(&upstream).unwrap_err().to_string();
    assert!(
        text.contains("no --address") && text.contains("10809"),
        "{text}"
    );

    let missing = Server::check_binary(Path::new("/nonexistent"))
        .unwrap_err()
        .to_string();
    assert!(
        missing.contains("/nonexistent") && missing.contains("ENOENT (2)"),
        "{missing}"
    );
    let other = Server::check_binary(Path::new("/bin/true"))
        .unwrap_err()
        .to_string();
    assert!(
        other.contains("does not name --address, --control"),
        "{other}"
    );
}

fn wait_for_end(process: &Process) {
    for _ in 0..500 {
        if !process.is_alive().unwrap() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{process:?} does not end");
}
