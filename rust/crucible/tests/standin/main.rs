//! What the tests start: `serve FOLDER` is a runner, anything else a stand-in of
//! crucible-nbd-server.
//!
//! The stand-in takes the real one's options, prints them as that does (with the key), answers
//! `/info` and listens, but speaks no NBD. The name it is called by says how it misbehaves:
//!
//! | name contains | |
//! |---|---|
//! | `refused` | its generation is too low: it says so and exits with 1 |
//! | `waiting` | one downstairs is missing: it never listens |
//! | `stubborn` | it ignores SIGTERM |
//! | `upstream` | it has no `--address` |
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::Arc;
use std::{env, process, thread};

const ACTIVE: &str = include_str!("active.json");
const WAITING: &str = include_str!("waiting.json");

fn main() {
    let arguments: Vec<String> = env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("serve") => run(Path::new(&arguments[2])),
        Some("--help") => help(&arguments[0]),
        _ => serve(&arguments),
    }
}

fn run(folder: &Path) {
    let ended = crucible::server::serve(folder, &mut |line| eprintln!("{line}"));
    if let Err(error) = ended {
        eprintln!("{error}");
        process::exit(1);
    }
}

fn help(name: &str) {
    println!(
        "volume-side storage component\n\nOptions:\n  -t, --target <TARGET>\n  -k, --key <KEY>"
    );
    println!("  -g, --gen <GENERATION>\n      --control <CONTROL>");
    if !name.contains("upstream") {
        println!("      --address <ADDRESS>");
    }
}

fn serve(arguments: &[String]) {
    let name = &arguments[0];
    let option = |wanted: &str| {
        let at = arguments.iter().position(|argument| argument == wanted)?;
        arguments.get(at + 1)
    };
    let address = |wanted: &str| option(wanted).unwrap().parse::<SocketAddr>().unwrap();
    println!(
        "raw options: Opt {{ key: {:?}, generation: {:?} }}",
        option("--key"),
        option("--gen")
    );
    if name.contains("stubborn") {
        signal_hook::flag::register(
            signal_hook::consts::SIGTERM,
            Arc::new(AtomicBool::new(false)),
        )
        .unwrap();
    }
    if name.contains("refused") {
        eprintln!("Error: Generation number is too low: requested 1, found 2");
        process::exit(1);
    }
    let waiting = name.contains("waiting");
    let control = TcpListener::bind(address("--control")).unwrap();
    let answers = thread::spawn(move || answer(&control, if waiting { WAITING } else { ACTIVE }));
    // As long as it lives, whether or not anything can be bound to it.
    let _nbd = (!waiting).then(|| TcpListener::bind(address("--address")).unwrap());
    answers.join().unwrap();
}

fn answer(control: &TcpListener, body: &str) {
    for stream in control.incoming() {
        let mut stream = stream.unwrap();
        let head = BufReader::new(&stream).lines();
        let request = head
            .map_while(Result::ok)
            .take_while(|line| !line.is_empty());
        let status = match request.collect::<Vec<_>>().first() {
            Some(line) if line.starts_with("GET /info ") => "200 OK",
            _ => "404 Not Found",
        };
        let length = body.len();
        // A client that does not wait for the answer is its own affair.
        let _ = write!(
            stream,
            "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}"
        );
    }
}
