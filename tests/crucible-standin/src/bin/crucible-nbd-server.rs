//! A stand-in for `crucible-nbd-server` with `--address`; see [`crucible_standin`].

#![allow(clippy::print_stderr, reason = "where a program says why it failed")]

use std::process::ExitCode;

use crucible_standin::nbd_server::WithAddress;

fn main() -> ExitCode {
    match WithAddress::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("Error: {why}");
            ExitCode::FAILURE
        }
    }
}
