//! `oracle CONF USER pools`, and `oracle CONF USER omap POOL OBJECT`: prints the content of a cluster as JSON.
//!
//! The pools' names are a list; an omap is an object whose values are in hexadecimal, because they
//! can be any bytes.

use std::fmt::Write;
use std::process::ExitCode;

use oracle::{connect, Pool};
use serde_json::Value;

const USAGE: &str = "usage: oracle CONF USER pools\n       oracle CONF USER omap POOL OBJECT";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let reply = match arguments[..] {
        [conf, user, "pools"] => pools(conf, user),
        [conf, user, "omap", pool, object] => omap(conf, user, pool, object),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match reply {
        Ok(json) => {
            println!("{json}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("oracle: {}: {error}", arguments[2..].join(" "));
            ExitCode::FAILURE
        }
    }
}

fn pools(conf: &str, user: &str) -> Result<Value, ceph::error::RadosError> {
    Ok(connect(conf, user)?.rados_pools()?.into())
}

fn omap(
    conf: &str,
    user: &str,
    pool: &str,
    object: &str,
) -> Result<Value, ceph::error::RadosError> {
    let omap = Pool::open(connect(conf, user)?, pool)?.omap(object)?;
    Ok(omap
        .into_iter()
        .map(|(key, value)| (key, Value::from(hexadecimal(&value))))
        .collect())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
