//! The program `crucible-nbd-server`: its options, and the disk it serves.

use std::env;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process;
use std::sync::Arc;
use std::time::Duration;

use base64::engine::{general_purpose::STANDARD, Engine};
use clap::{Args, Parser};

use crate::http;
use crate::upstairs::{Options, Upstairs};

const UPSTREAM_ADDRESS: &str = "127.0.0.1:10809";

/// The options of Crucible's server.  TLS is not simulated.
#[derive(Args, Debug)]
pub struct UpstreamOptions {
    #[arg(short, long, default_value = "127.0.0.1:9000")]
    target: Vec<SocketAddr>,

    #[arg(short, long)]
    key: Option<String>,

    #[arg(short, long = "gen", default_value = "0")]
    generation: u64,

    // Start upstairs control http server
    #[arg(long)]
    control: Option<SocketAddr>,
}

/// The upstream server, for one volume on a host.
#[derive(Debug, Parser)]
#[command(about = "volume-side storage component")]
pub struct Upstream {
    #[command(flatten)]
    options: UpstreamOptions,
}

/// A server with the option that a host with several volumes needs.
#[derive(Debug, Parser)]
#[command(about = "volume-side storage component")]
pub struct WithAddress {
    #[command(flatten)]
    options: UpstreamOptions,

    /// Where to listen for NBD clients
    #[arg(long, default_value = UPSTREAM_ADDRESS)]
    address: SocketAddr,
}

impl Upstream {
    /// Run the program; an error ends it with status 1.
    pub fn main() -> Result<(), String> {
        let options = Self::parse();
        log(&format!("raw options: {options:?}"));
        let address = UPSTREAM_ADDRESS
            .parse()
            .map_err(|error| format!("{error}"))?;
        serve(&options.options, address)
    }
}

impl WithAddress {
    /// Run the program; an error ends it with status 1.
    pub fn main() -> Result<(), String> {
        let options = Self::parse();
        // The key is among them: Crucible's server prints it as well.
        log(&format!("raw options: {options:?}"));
        serve(&options.options, options.address)
    }
}

fn serve(options: &UpstreamOptions, address: SocketAddr) -> Result<(), String> {
    let upstairs = Upstairs::new(Options {
        targets: options.target.clone(),
        generation: options.generation,
        key: options.key.as_deref().map(key_mark).transpose()?,
        reconnect: reconnect_delay()?,
    });
    if let Some(control) = options.control {
        let upstairs = Arc::clone(&upstairs);
        let listener = TcpListener::bind(control)
            .map_err(|error| format!("failed to create server: {control}: {error}"))?;
        http::serve(listener, move |path| match path {
            "/info" => {
                serde_json::to_vec(&upstairs.info()).map_err(|error| (500, error.to_string()))
            }
            "/work" => Ok(br#"{"jobs":[],"completed":[]}"#.to_vec()),
            _ => Err((404, "Not Found".to_owned())),
        });
    }
    log("Crucible runtime is spawned");
    upstairs.activate()?;
    // Only now, as in Crucible: a server that finds the port in use has already fenced its owner.
    let listener = TcpListener::bind(address).unwrap_or_else(|error| {
        eprintln!("{address}: {error}");
        process::abort()
    });
    log(&format!("NBD advertised size as {} bytes", upstairs.size()));
    // One client at a time: the next one gets no greeting before.
    for stream in listener.incoming() {
        log("waiting on nbd traffic");
        if let Err(error) = stream.and_then(|stream| serve_client(&upstairs, stream)) {
            eprintln!("handle_nbd_client error: {error}");
        }
    }
    Ok(())
}

fn serve_client(upstairs: &Arc<Upstairs>, mut stream: TcpStream) -> io::Result<()> {
    nbd::server::handshake(&mut stream, |_name| {
        Ok(nbd::Export::<()> {
            size: upstairs.size(),
            ..Default::default()
        })
    })?;
    nbd::server::transmission(
        &mut stream,
        Disk {
            upstairs: Arc::clone(upstairs),
            position: 0,
        },
    )
}

struct Disk {
    upstairs: Arc<Upstairs>,
    position: u64,
}

impl Read for Disk {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.upstairs.read(self.position, bytes)?;
        self.position += bytes.len() as u64;
        Ok(bytes.len())
    }
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.upstairs.write(self.position, bytes)?;
        self.position += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.upstairs.flush()
    }
}

impl Seek for Disk {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let SeekFrom::Start(position) = to else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        self.position = position;
        Ok(position)
    }
}

/// Distinguishes keys; the simulator does not encrypt its data.
fn key_mark(key: &str) -> Result<u64, String> {
    let bytes = STANDARD
        .decode(key)
        .map_err(|_| "could not base64 decode key!")?;
    if bytes.len() != 32 {
        return Err("Key length must be 32 bytes!".to_owned());
    }
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    Ok(hasher.finish())
}

/// Ten seconds, as in Crucible, or a shorter time from the environment, for tests.
fn reconnect_delay() -> Result<Duration, String> {
    const NAME: &str = "CRUCIBLE_SIM_RECONNECT_SECONDS";
    let seconds = env::var(NAME).unwrap_or_else(|_| "10".to_owned());
    let delay = seconds.parse().ok().map(Duration::try_from_secs_f64);
    match delay {
        Some(Ok(delay)) => Ok(delay),
        _ => Err(format!("{NAME}={seconds}: must be a number of seconds")),
    }
}

fn log(line: &str) {
    // The server continues if the reader of its log has ended.
    writeln!(io::stdout(), "{line}").ok();
}
