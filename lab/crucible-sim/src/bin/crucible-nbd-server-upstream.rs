//! A simulator of `crucible-nbd-server` as it is upstream; see [`crucible_sim`].

#![allow(clippy::print_stderr, reason = "where a program says why it failed")]

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
