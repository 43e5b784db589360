//! A simulator of `crucible-nbd-server` with `--address`; see [`crucible_sim`].

#![allow(clippy::print_stderr, reason = "a program prints its errors there")]

use std::process::ExitCode;

use crucible_sim::nbd_server::WithAddress;

fn main() -> ExitCode {
    match WithAddress::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("Error: {why}");
            ExitCode::FAILURE
        }
    }
}
