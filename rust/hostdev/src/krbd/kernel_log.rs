//! What the kernel logged while it refused something: errnos alone say too little.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;

/// The most messages that are quoted.
const MOST: usize = 8;

/// The kernel's log from the moment of opening on. Reading it needs privilege on some hosts;
/// without, there is nothing to quote, and that is all.
pub(super) struct KernelLog(Option<File>);

impl KernelLog {
    pub(super) fn from_now(kmsg: &Path) -> Self {
        let open = || -> io::Result<File> {
            let mut file = OpenOptions::new()
                .read(true)
                .custom_flags(OFlag::O_NONBLOCK.bits())
                .open(kmsg)?;
            file.seek(SeekFrom::End(0))?;
            Ok(file)
        };
        Self(
            open()
                .inspect_err(|error| log::debug!("{} cannot be read: {error}", kmsg.display()))
                .ok(),
        )
    }

    /// The messages of rbd and libceph since then, in order. Each names its image (which may be a
    /// parent of the one that was mapped), so one about a map running beside is seen to be that.
    pub(super) fn since_then(mut self) -> Vec<String> {
        let Some(file) = self.0.as_mut() else {
            return Vec::new();
        };
        let mut text = String::new();
        let mut record = vec![0; 8192];
        loop {
            match file.read(&mut record) {
                Ok(0) => break,
                Ok(length) => text.push_str(&String::from_utf8_lossy(&record[..length])),
                // Records were overwritten before they were read: the next read goes on behind.
                Err(error) if error.raw_os_error() == Some(Errno::EPIPE as i32) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    log::debug!("the kernel log cannot be read further: {error}");
                    break;
                }
            }
        }
        relevant(&text)
    }
}

/// Picks from records as `/dev/kmsg` gives them: `priority,sequence,time,flags;message`.
pub(crate) fn relevant(records: &str) -> Vec<String> {
    let mut messages: Vec<String> = Vec::new();
    for record in records.lines() {
        let Some((_, message)) = record.split_once(';') else {
            continue;
        };
        let ours = ["rbd: ", "libceph: ", "ceph: "]
            .iter()
            .any(|origin| message.starts_with(origin));
        // What goes well explains nothing.
        let noise = [
            "session established",
            "session lost",
            " fsid ",
            ": capacity ",
        ]
        .iter()
        .any(|chatter| message.contains(chatter));
        // A client that hunts for a monitor repeats the same few messages for 25 s.
        if ours && !noise && messages.iter().all(|earlier| earlier != message) {
            messages.push(message.to_owned());
        }
    }
    messages.truncate(MOST);
    messages
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn only_what_rbd_and_libceph_said_since_then_is_quoted_and_each_message_once() {
        let mut kmsg = tempfile::NamedTempFile::new().unwrap();
        kmsg.write_all(b"6,1,10,-;rbd: image disk: old news\n")
            .unwrap();
        let log = KernelLog::from_now(kmsg.path());
        kmsg.write_all(
            b"6,2,20,-;libceph: mon0 (1)127.0.0.1:6789 session established\n\
              6,3,20,-;libceph: client4123 fsid 1c5e\n\
              6,4,20,-;rbd: rbd0: capacity 16777216 features 0x5\n\
              4,4,20,-;usb 1-1: rbd: not us\n SUBSYSTEM=usb\n\
              4,5,30,-;libceph: auth method 'x' error -1\n\
              4,6,40,-;rbd: image disk: image uses unsupported features: 0x40\n\
              4,7,40,-;libceph: auth method 'x' error -1\n\
              4,8,40,-;rbd: image disk: image uses unsupported features: 0x40\n",
        )
        .unwrap();
        assert_eq!(
            log.since_then(),
            [
                "libceph: auth method 'x' error -1",
                "rbd: image disk: image uses unsupported features: 0x40",
            ]
        );
    }

    #[test]
    fn a_long_hunt_for_monitors_is_quoted_in_a_few_lines() {
        let line = |n: usize| format!("4,{n},{n},-;libceph: mon{n} socket closed\n");
        let records: String = (0..100).map(line).collect();
        assert_eq!(relevant(&records).len(), MOST);
    }

    #[test]
    fn a_log_that_cannot_be_read_quotes_nothing() {
        let log = KernelLog::from_now(Path::new("/nonexistent/kmsg"));
        assert!(log.since_then().is_empty());
    }
}
