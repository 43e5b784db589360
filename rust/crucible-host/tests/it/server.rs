//! The servers of a host. The server is a simulator (`tests/sim/server.rs`); its supervisor and its runtime
//! directory are real.

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

use crate::host::{send, supervisor, Host, KEY, SIM, SOON};

fn ports_are_free(host: &Host) -> bool {
    TcpListener::bind(host.ports.nbd).is_ok() && TcpListener::bind(host.ports.control).is_ok()
}

#[test]
fn a_server_runs_from_its_start_to_its_stop() {
    let host = Host::new(1, "nbd-server");
    assert_eq!(host.server.status().unwrap(), Status::Absent);
    let state = host.ready();
    assert_eq!((state.generation, state.nbd), (7, host.ports.nbd));
    let server = state.server.unwrap();
    assert!(server.is_alive().unwrap() && state.supervisor.is_alive().unwrap());
    // Signals to the session of this process do not reach it.
    let supervisor = procfs::process::Process::new(state.supervisor.pid.cast_signed()).unwrap();
    assert_eq!(supervisor.stat().unwrap().session, supervisor.pid());
    assert_eq!(all(host.root.path()).unwrap(), [host.volume]);

    host.server.stop(SOON).unwrap();
    assert!(!server.is_alive().unwrap());
    wait_for_end(&state.supervisor);
    assert!(ports_are_free(&host));
    let ended = host.ended();
    assert!(ended.asked, "{ended:?}");
    assert_eq!(ended.how, How::Killed(15));
    host.server.remove().unwrap();
    assert!(all(host.root.path()).unwrap().is_empty());
    host.server.remove().unwrap();
}

#[test]
fn no_file_has_the_key_after_the_stop() {
    let host = Host::new(2, "nbd-server");
    host.ready();
    host.server.stop(SOON).unwrap();
    let log = fs::read_to_string(host.file("supervisor.log")).unwrap();
    assert!(
        log.contains("raw options: Opt { key: Some(\"<key>\")"),
        "{log}"
    );
    let ended = host.ended();
    assert!(
        ended.last_lines.iter().any(|line| line.contains("<key>")),
        "{ended:?}"
    );
    for entry in fs::read_dir(host.server.directory()).unwrap() {
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
    let directory = host.server.directory().metadata().unwrap();
    assert_eq!(directory.permissions().mode() & 0o777, 0o700);
    assert!(!format!("{:?}", host.spec()).contains(KEY));
}

#[test]
fn the_error_of_a_failed_start_has_the_output_of_the_server() {
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
fn a_program_that_cannot_be_executed_is_an_error() {
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
fn the_error_of_a_waiting_server_has_the_state_of_each_downstairs() {
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
fn a_server_whose_port_another_process_uses_is_not_ready() {
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
fn a_generation_is_started_only_once() {
    let host = Host::new(7, "nbd-server");
    host.ready();
    let prepare = host.server.prepare(&host.spec()).unwrap_err();
    assert!(matches!(prepare, Error::StillRunning { .. }), "{prepare}");
    send(&host.running().server.unwrap(), Signal::SIGKILL);
    let before = host.ended();
    let again = Command::new(SIM)
        .arg("serve")
        .arg(host.server.directory())
        .output()
        .unwrap();
    let text = String::from_utf8(again.stderr).unwrap();
    assert!(
        text.contains("generation 7") && text.contains("was used already"),
        "{text}"
    );
    assert!(!again.status.success() && ports_are_free(&host));
    assert_eq!(host.ended(), before);
}

#[test]
fn a_stopped_server_starts_again_with_a_new_generation() {
    let host = Host::new(8, "nbd-server");
    host.ready();
    host.server.stop(SOON).unwrap();
    let mut spec = host.spec();
    spec.generation = 8;
    host.server.prepare(&spec).unwrap();
    assert_eq!(host.server.status().unwrap(), Status::Absent);
    host.server.start(&supervisor()).unwrap();
    host.server.wait_ready(SOON).unwrap();
    assert_eq!(host.running().generation, 8);
}

#[test]
fn a_server_that_ignores_sigterm_is_killed() {
    let host = Host::new(9, "stubborn");
    let server = host.ready().server.unwrap();
    host.server.stop(Duration::from_secs(1)).unwrap();
    assert!(!server.is_alive().unwrap());
    assert!(ports_are_free(&host));
}

#[test]
fn the_end_of_a_server_shows_whether_a_stop_was_requested() {
    let host = Host::new(10, "nbd-server");
    let server = host.ready().server.unwrap();
    send(&server, Signal::SIGKILL);
    let ended = host.ended();
    assert_eq!((ended.how, ended.asked), (How::Killed(9), false));

    // As systemd does when the host shuts down.
    let host = Host::new(11, "nbd-server");
    let state = host.ready();
    send(&state.server.unwrap(), Signal::SIGTERM);
    send(&state.supervisor, Signal::SIGTERM);
    let ended = host.ended();
    assert_eq!((ended.how, ended.asked), (How::Killed(15), true));
}

#[test]
fn a_server_whose_supervisor_was_killed_is_stopped() {
    let host = Host::new(12, "nbd-server");
    let state = host.ready();
    send(&state.supervisor, Signal::SIGKILL);
    let server = state.server.clone().unwrap();
    wait_for_end(&state.supervisor);
    assert_eq!(host.running(), state);
    let removal = host.server.remove().unwrap_err();
    assert!(matches!(removal, Error::StillRunning { .. }), "{removal}");
    host.server.stop(SOON).unwrap();
    assert!(!server.is_alive().unwrap());
    assert_eq!(host.ended().how, How::Unseen);
}

#[test]
fn a_server_whose_killed_supervisor_did_not_record_it_is_stopped() {
    let host = Host::new(13, "nbd-server");
    let state = host.ready();
    let server = state.server.clone().unwrap();
    send(&state.supervisor, Signal::SIGKILL);
    wait_for_end(&state.supervisor);
    let unrecorded = State {
        server: None,
        ..state.clone()
    };
    fs::write(
        host.file("state.json"),
        serde_json::to_vec(&unrecorded).unwrap(),
    )
    .unwrap();
    assert_eq!(host.running(), state);
    host.server.stop(SOON).unwrap();
    assert!(!server.is_alive().unwrap());
    assert!(ports_are_free(&host));
}

/// Starts a supervisor, and kills it after that time.
struct Killed(Duration);

impl Launcher for Killed {
    fn launch(&self, directory: &Path, _volume: &Uuid) -> Result<(), Error> {
        let mut supervisor = Command::new(SIM)
            .arg("serve")
            .arg(directory)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(self.0);
        supervisor.kill().unwrap();
        supervisor.wait().unwrap();
        Ok(())
    }
}

#[test]
fn nothing_runs_after_the_stop_at_any_time_of_a_supervisors_death() {
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
    assert!(left_alone > 0, "no supervisor was killed late enough");
}

#[test]
fn a_supervisor_that_starts_after_the_stop_starts_no_server() {
    let host = Host::new(14, "nbd-server");
    host.server.prepare(&host.spec()).unwrap();
    host.server.stop(SOON).unwrap();
    let late = Command::new(SIM)
        .arg("serve")
        .arg(host.server.directory())
        .output()
        .unwrap();
    let text = String::from_utf8(late.stderr).unwrap();
    assert!(text.contains("nothing to serve"), "{text}");
    assert_eq!(host.server.status().unwrap(), Status::Absent);
    assert!(ports_are_free(&host));
}

#[test]
fn a_server_of_an_earlier_boot_does_not_run() {
    let host = Host::new(15, "nbd-server");
    let mut state = State {
        supervisor: Process {
            boot_id: "earlier".to_owned(),
            pid: 1,
            start_time: 0,
        },
        server: None,
        generation: 7,
        nbd: host.ports.nbd,
        control: host.ports.control,
    };
    state.server = Some(state.supervisor.clone());
    fs::write(host.file("state.json"), serde_json::to_vec(&state).unwrap()).unwrap();
    assert!(matches!(host.server.status().unwrap(), Status::Ended(_)));
    // A stop that sent signals would send them to init.
    host.server.stop(SOON).unwrap();
}

#[test]
fn a_damaged_file_is_an_error() {
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
fn a_stop_does_not_end_a_supervisor_whose_server_had_ended() {
    let host = Host::new(19, "nbd-server");
    host.server.prepare(&host.spec()).unwrap();
    let reporting = Detached {
        command: [SIM, "serve-and-report"].map(Into::into).to_vec(),
    };
    host.server.start(&reporting).unwrap();
    host.server.wait_ready(SOON).unwrap();
    let state = host.running();
    send(&state.server.unwrap(), Signal::SIGKILL);
    assert_eq!(host.ended().how, How::Killed(9));
    host.server.stop(SOON).unwrap();
    assert!(state.supervisor.is_alive().unwrap());
    host.server.remove().unwrap();
    send(&state.supervisor, Signal::SIGTERM);
    wait_for_end(&state.supervisor);
}

#[test]
fn a_program_without_an_address_option_is_refused() {
    let host = Host::new(17, "nbd-server");
    Server::check_binary(&host.program).unwrap();

    let upstream = host.root.path().join("upstream");
    symlink(SIM, &upstream).unwrap();
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
