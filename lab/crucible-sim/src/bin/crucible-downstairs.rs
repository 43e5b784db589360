//! A simulator of `crucible-downstairs`; see [`crucible_sim`].

#![allow(clippy::print_stderr, reason = "a program prints its errors there")]

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, ValueEnum};
use crucible_sim::downstairs::Downstairs;
use crucible_sim::region::{Blocks, Definition, Region};
use crucible_sim::{http, repair};
use uuid::Uuid;

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Mode {
    Ro,
    Rw,
}

/// The commands and options of Crucible that smblock and its tests use.
#[derive(Debug, Parser)]
#[command(about = "disk-side storage component")]
enum Command {
    Create {
        /// Block size.
        #[arg(long, default_value = "512")]
        block_size: u64,

        /// Directory where the region files we be located.
        #[arg(short, long, value_name = "DIRECTORY")]
        data: PathBuf,

        /// Number of blocks per extent file.
        #[arg(long, default_value = "100")]
        extent_size: u64,

        /// Number of extent files.
        #[arg(long, default_value = "15")]
        extent_count: u32,

        /// Import data for the extent from this file.
        #[arg(short, long, value_name = "FILE", conflicts_with = "clone_source")]
        import_path: Option<PathBuf>,

        /// UUID for the region.
        #[arg(short, long, value_name = "UUID")]
        uuid: Uuid,

        /// Will the region be encrypted.
        #[arg(long)]
        encrypted: bool,

        /// Clone another downstairs after creating.
        ///
        /// IP:Port where the extent files will come from.
        #[arg(long, value_name = "SOURCE")]
        clone_source: Option<SocketAddr>,
    },
    Run {
        /// Address the downstairs will listen for the upstairs on.
        #[arg(short, long, default_value = "0.0.0.0", value_name = "ADDRESS")]
        address: IpAddr,

        /// Directory where the region is located.
        #[arg(short, long, value_name = "DIRECTORY")]
        data: PathBuf,

        /// Listen on this port for the upstairs to connect to us.
        #[arg(short, long, default_value = "9000")]
        port: u16,

        #[arg(long, default_value = "rw", ignore_case = true)]
        mode: Mode,
    },
}

fn main() -> ExitCode {
    match run(Command::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> io::Result<()> {
    match command {
        Command::Create {
            block_size,
            data,
            extent_size,
            extent_count,
            import_path,
            uuid,
            encrypted,
            clone_source,
        } => {
            let definition = Definition {
                block_size,
                extent_size: Blocks {
                    value: extent_size,
                    shift: block_size.trailing_zeros(),
                },
                extent_count,
                uuid,
                encrypted,
                database_read_version: 1,
                database_write_version: 1,
            };
            let mut region = Region::create(&data, definition)?;
            match (import_path, clone_source) {
                (Some(file), _) => region.import(&file),
                (None, Some(source)) => repair::clone_region(&mut region, source),
                (None, None) => Ok(()),
            }
        }
        Command::Run {
            address,
            data,
            port,
            mode,
        } => {
            let repair_port = port
                .checked_add(repair::PORT_OFFSET)
                .ok_or_else(|| io::Error::other(format!("port {port}: too high")))?;
            let downstairs = Arc::new(Downstairs::new(Region::open(&data)?, mode == Mode::Ro));
            let listener = TcpListener::bind((address, port))?;
            let answering = Arc::clone(&downstairs);
            http::serve(TcpListener::bind((address, repair_port))?, move |path| {
                repair::reply(&answering, path)
            });
            downstairs.serve(&listener)
        }
    }
}
