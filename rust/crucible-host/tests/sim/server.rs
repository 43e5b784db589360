//! The program that the tests start. `serve DIRECTORY` is a supervisor. `serve-and-report DIRECTORY` is one
//! that runs for a minute after the end of its server. `quick-ack` sets the route. `measure` prints the
//! latency of replies. With other arguments, it is a simulator of crucible-nbd-server.
//!
//! The simulator has the options of the real server, prints them as that does (with the key), replies to
//! `/info` and listens, but speaks no NBD. Its name selects a fault:
//!
//! | name contains | |
//! |---|---|
//! | `refused` | its generation is too low: it prints that, and exits with 1 |
//! | `waiting` | one downstairs is missing: it never listens |
//! | `deaf` | it is active, but does not listen |
//! | `stubborn` | it ignores SIGTERM |
//! | `upstream` | it has no `--address` |
//!
//! SIGUSR1 fences it: as a fenced server of Crucible, it keeps running and is not active.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, process, thread};

const ACTIVE: &str = include_str!("active.json");
const WAITING: &str = include_str!("waiting.json");

fn main() {
    let arguments: Vec<String> = env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("serve") => run(Path::new(&arguments[2])),
        Some("serve-and-report") => {
            run(Path::new(&arguments[2]));
            thread::sleep(Duration::from_secs(60));
        }
        Some("quick-ack") => {
            log::set_logger(&Warnings).unwrap();
            log::set_max_level(log::LevelFilter::Warn);
            crucible_host::route::quick_ack();
        }
        Some("measure") => println!("{}", measure().as_micros()),
        Some("--help") => help(&arguments[0]),
        _ => serve(&arguments),
    }
}

/// Prints the log.
struct Warnings;

impl log::Log for Warnings {
    fn enabled(&self, _: &log::Metadata) -> bool {
        true
    }

    fn log(&self, record: &log::Record) {
        println!("{}: {}", record.level(), record.args());
    }

    fn flush(&self) {}
}

fn run(directory: &Path) {
    let ended = crucible_host::server::serve(directory, &mut |line| eprintln!("{line}"));
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

/// The median time of a request whose reply has three writes, as that of a Crucible server. TCP may delay
/// each of them.
fn measure() -> Duration {
    let server = TcpListener::bind((crucible_host::port::ADDRESS, 20_000)).unwrap();
    let address = server.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        while stream.read_exact(&mut [0; 28]).is_ok() {
            for part in [&[0; 4][..], &[0; 4], &[0; 8]] {
                stream.write_all(part).unwrap();
            }
        }
    });
    let mut client = TcpStream::connect(address).unwrap();
    client.set_nodelay(true).unwrap();
    let mut times: Vec<Duration> = (0..15)
        .map(|_| {
            let begin = Instant::now();
            client.write_all(&[0; 28]).unwrap();
            client.read_exact(&mut [0; 16]).unwrap();
            begin.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
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
    let inactive = Arc::new(AtomicBool::new(waiting));
    signal_hook::flag::register(signal_hook::consts::SIGUSR1, Arc::clone(&inactive)).unwrap();
    let replies = thread::spawn(move || reply(&control, &inactive));
    // The socket stays open until the process ends.
    let deaf = waiting || name.contains("deaf");
    let _nbd = (!deaf).then(|| TcpListener::bind(address("--address")).unwrap());
    replies.join().unwrap();
}

fn reply(control: &TcpListener, inactive: &AtomicBool) {
    for stream in control.incoming() {
        let body = if inactive.load(Ordering::SeqCst) {
            WAITING
        } else {
            ACTIVE
        };
        let mut stream = stream.unwrap();
        let head = BufReader::new(&stream).lines();
        let request = head
            .map_while(Result::ok)
            .take_while(|line| !line.is_empty());
        let status = match request.collect::<Vec<_>>().first() {
            Some(line) if line.starts_with("GET /info ") => "200 OK",
            _ => "404 Not Found",
        };
        println!(r#"{{"msg":"request completed","level":30,"task":"control"}}"#);
        let length = body.len();
        // It fails if the client does not wait for the reply.
        let _ = write!(
            stream,
            "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}"
        );
    }
}
