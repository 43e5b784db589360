//! A simulator of the upstream `crucible-nbd-server`; see [`crucible_sim`].

#![allow(clippy::print_stderr, reason = "a program prints its errors there")]

use std::process::ExitCode;

use crucible_sim::nbd_server::Upstream;

fn main() -> ExitCode {
    match Upstream::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("Error: {why}");
            ExitCode::FAILURE
        }
    }
}
