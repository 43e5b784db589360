//! The files of a control group, which have a line for each device.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use super::error::Result;
use crate::FileError;

/// The rest of a device's line in a file of the kernel. `None`: the file or the line does not exist.
pub(super) fn line(file: &Path, number: &str) -> Result<Option<String>> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FileError::new("read", file, error).into()),
    };
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    let found = lines.find(|(device, _)| *device == number);
    Ok(found.map(|(_, rest)| rest.to_owned()))
}

pub(super) fn entry(file: &Path, number: &str) -> Result<Option<u64>> {
    let rest = line(file, number)?;
    Ok(rest
        .and_then(|rest| rest.trim().parse().ok())
        .filter(|limit| *limit != 0))
}

pub(super) fn same([read, write]: [Result<Option<u64>>; 2]) -> Result<Option<u64>> {
    let (read, write) = (read?, write?);
    Ok(read.filter(|_| read == write))
}

/// Writes one line to a file of the kernel, in one call.
pub(super) fn write(file: &Path, text: &str) -> Result<()> {
    let opened = OpenOptions::new().write(true).truncate(true).open(file);
    let written = opened.and_then(|mut opened| opened.write_all(format!("{text}\n").as_bytes()));
    Ok(written.map_err(|e| FileError::new("write to", file, e))?)
}
