//! The kernel's log during a map: the errno alone rarely shows the cause.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;

/// The most messages that an error quotes.
const MOST: usize = 8;

/// The kernel's log since it was opened; `None` if it cannot be read: some hosts require a privilege.
pub(super) struct KernelLog(Option<File>);

impl KernelLog {
    pub(super) fn open_at_end(kmsg: &Path) -> Self {
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

    /// Returns the messages of rbd and libceph since the opening, in order. They include messages about
    /// other maps at the same time. Each message names its image, or a parent of it.
    pub(super) fn new_messages(mut self) -> Vec<String> {
        let Some(file) = self.0.as_mut() else {
            return Vec::new();
        };
        let mut text = String::new();
        let mut record = vec![0; 8192];
        loop {
            match file.read(&mut record) {
                Ok(0) => break,
                Ok(length) => text.push_str(&String::from_utf8_lossy(&record[..length])),
                // Records were overwritten before they were read. The next read returns later ones.
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

/// Returns the messages of rbd and libceph in records of `/dev/kmsg`:
/// `priority,sequence,time,flags;message`.
pub(crate) fn relevant(records: &str) -> Vec<String> {
    let mut messages: Vec<String> = Vec::new();
    for record in records.lines() {
        let Some((_, message)) = record.split_once(';') else {
            continue;
        };
        let ours = ["rbd: ", "libceph: ", "ceph: "]
            .iter()
            .any(|origin| message.starts_with(origin));
        // A message about a success is no cause.
        let noise = [
            "session established",
            "session lost",
            " fsid ",
            ": capacity ",
        ]
        .iter()
        .any(|chatter| message.contains(chatter));
        // A client that searches for a monitor repeats the same few messages for 25 s.
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
    fn the_log_has_each_new_message_of_rbd_and_libceph_once() {
        let mut kmsg = tempfile::NamedTempFile::new().unwrap();
        kmsg.write_all(b"6,1,10,-;rbd: image disk: old news\n")
            .unwrap();
        let log = KernelLog::open_at_end(kmsg.path());
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
            log.new_messages(),
            [
                "libceph: auth method 'x' error -1",
                "rbd: image disk: image uses unsupported features: 0x40",
            ]
        );
    }

    #[test]
    fn an_error_quotes_a_few_messages_only() {
        let line = |n: usize| format!("4,{n},{n},-;libceph: mon{n} socket closed\n");
        let records: String = (0..100).map(line).collect();
        assert_eq!(relevant(&records).len(), MOST);
    }

    #[test]
    fn a_log_that_cannot_be_read_is_empty() {
        let log = KernelLog::open_at_end(Path::new("/nonexistent/kmsg"));
        assert!(log.new_messages().is_empty());
    }
}
