//! Each sample is checked here, and read by the real librados in a process of its own.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::grammar::{parse, Stop};
use super::{judge_conf, judge_keyring, lines, Dialect};
use crate::connect::tests::read_by_librados;

mod configurations;
mod keyrings;

const ENTITY: &str = "client.xcp";

/// What librados did with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Read {
    /// With this `mon_host`.
    Accepted(String),
    Refused,
    Aborted,
}

/// A directory that is removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("smblock-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, number: usize) -> PathBuf {
        self.0.join(number.to_string())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

const DIRECTORY: &str = "SMBLOCK_TEST_FILES";

#[test]
#[ignore = "it is the child process of the other tests"]
fn librados_reads_the_files_of_a_directory() {
    let directory = PathBuf::from(std::env::var(DIRECTORY).unwrap());
    for number in 0.. {
        let path = directory.join(number.to_string());
        let verdict = directory.join(format!("{number}.read"));
        if !path.exists() {
            return;
        }
        if !verdict.exists() {
            fs::write(&verdict, "aborted").unwrap();
            fs::write(&verdict, read_by_librados(&path, "xcp")).unwrap();
        }
    }
}

/// What librados does with each text.
fn read_all(name: &str, texts: &[Vec<u8>]) -> Vec<Read> {
    let directory = Directory::new(name);
    for (number, text) in texts.iter().enumerate() {
        fs::write(directory.file(number), text).unwrap();
    }
    loop {
        let child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--ignored",
                "--exact",
                "files::tests::librados_reads_the_files_of_a_directory",
            ])
            .env(DIRECTORY, &directory.0)
            .output()
            .unwrap();
        if child.status.signal() != Some(nix::libc::SIGABRT) {
            let text = String::from_utf8_lossy(&child.stdout);
            assert!(child.status.success(), "{text}");
            break;
        }
    }
    let read = |number| {
        let text = fs::read_to_string(directory.file(number).with_extension("read")).unwrap();
        match text.split_once(' ') {
            Some(("accepted", mon_host)) => Read::Accepted(mon_host.to_owned()),
            None if text == "aborted" => Read::Aborted,
            _ => Read::Refused,
        }
    };
    (0..texts.len()).map(read).collect()
}

/// The result of this crate's parser.
fn parsed(text: &[u8]) -> Read {
    match parse(text) {
        Ok(contents) => {
            let of = |section: &str| {
                let mut settings = contents.settings.iter().rev();
                let found = settings.find(|s| s.section == section && s.key == "mon_host");
                found.map(|setting| setting.value.clone())
            };
            let value = of(ENTITY).or_else(|| of("client")).or_else(|| of("global"));
            Read::Accepted(value.unwrap_or_default())
        }
        Err(Stop::Abort(_)) => Read::Aborted,
        Err(_) => Read::Refused,
    }
}

/// Whether this librados ends with SIGABRT at a character that is not ASCII. librados of Debian 13 is built
/// without assertions: it refuses such a file, or accepts it with a wrong value.
fn asserts(name: &str) -> bool {
    let name = format!("{name}-asserts");
    read_all(&name, &["[global]\nmon_host =\u{a0}a\n".into()]) == [Read::Aborted]
}

fn compare(name: &str, texts: &[Vec<u8>]) {
    let asserts = asserts(name);
    for (text, read) in texts.iter().zip(read_all(name, texts)) {
        let parsed = parsed(text);
        if asserts || parsed != Read::Aborted {
            assert_eq!(parsed, read, "{:?}", String::from_utf8_lossy(text));
        }
    }
}

#[test]
fn a_text_that_is_not_utf_8_is_accepted_if_librados_accepts_it() {
    let utf16: Vec<u8> = "[global]\nmon_host = a\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let utf16 = [vec![0xff, 0xfe], utf16].concat();
    let latin1 = b"[global]\nlog_file = /var/f\xfcr\n".to_vec();
    let comment = b"# f\xfcr\n[global]\n".to_vec();
    let texts = [utf16, latin1, comment];
    compare("not-utf-8", &texts);
    let judge = |text| {
        judge_conf(text, Path::new("c"), ENTITY, Dialect::Grammar)
            .refusal
            .unwrap()
    };
    assert!(judge(&texts[0]).fix.contains("iconv -f UTF-16 -t UTF-8 c"));
    assert!(judge(&texts[1])
        .to_string()
        .contains("line 2: byte 18 (0xfc) is not UTF-8"));
}

/// Random texts of pieces that are special in the grammar.
fn texts(count: usize) -> Vec<Vec<u8>> {
    let pieces = [
        "[",
        "]",
        "=",
        "#",
        ";",
        "\\",
        "\"",
        "'",
        "\n",
        "\n",
        "\n",
        "\r",
        " ",
        "\t",
        "a",
        "mon_host",
        "mon host",
        "global",
        "client",
        "client.xcp",
        "[global]\n",
        "[client]\n",
        "\n[client.xcp]\n",
        "mon_host = a",
        "\u{fc}",
        "\u{a0}",
        "\u{feff}",
        "[global]\nmon_host = 192.0.2.1\n",
        "log_file = x\n",
        "-",
        "1.2.3.4,",
        "# \u{ffff}\n",
        "\"\u{1f600}\"",
    ];
    let strategy = prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..14);
    let mut runner = TestRunner::deterministic();
    let text = |_| {
        strategy
            .new_tree(&mut runner)
            .unwrap()
            .current()
            .concat()
            .into_bytes()
    };
    (0..count).map(text).collect()
}

#[test]
fn a_generated_configuration_is_accepted_if_librados_accepts_it() {
    let count = std::env::var("SMBLOCK_TEST_TEXTS").map_or(300, |count| count.parse().unwrap());
    let texts = texts(count);
    let accepted = Read::Accepted("a".to_owned());
    for expected in [Read::Refused, Read::Aborted, accepted] {
        let mut results = texts.iter().map(|text| parsed(text));
        assert!(results.any(|found| found == expected), "{expected:?}");
    }
    compare("generated", &texts);
}

#[test]
fn a_generated_text_causes_no_panic() {
    for mut text in texts(5000) {
        for dialect in [Dialect::Grammar, Dialect::Lines] {
            judge_conf(&text, Path::new("c"), ENTITY, dialect);
            judge_keyring(&text, Path::new("k"), ENTITY, dialect);
        }
        // The same without its last byte: not UTF-8, or a line without a newline.
        text.pop();
        judge_conf(&text, Path::new("c"), ENTITY, Dialect::Grammar);
        judge_keyring(&text, Path::new("k"), ENTITY, Dialect::Grammar);
    }
}

#[test]
fn the_parser_of_an_old_librados_ignores_invalid_lines() {
    let text = " [global]\nmon host = \"a\" # b\ngarbage\nx = 1\\\n2\n[ client.xcp ]\ny = \u{fc}\nlast = 1";
    let (contents, left_out) = lines::parse(text.as_bytes());
    let settings: Vec<_> = contents
        .settings
        .iter()
        .map(|s| (s.section.as_str(), s.key.as_str(), s.value.as_str()))
        .collect();
    let expected = [
        ("global", "mon_host", "a"),
        ("global", "x", "12"),
        (ENTITY, "y", "\u{fc}"),
    ];
    assert_eq!(settings, expected);
    let verdict = judge_conf(text.as_bytes(), Path::new("c"), ENTITY, Dialect::Lines);
    assert_eq!(verdict.refusal, None);
    let lines: Vec<_> = verdict
        .warnings
        .iter()
        .filter_map(|fault| fault.line)
        .collect();
    assert_eq!(lines, [3, 8], "{left_out:?}");
}

#[test]
fn a_mon_host_that_librados_ignores_is_a_warning() {
    for (text, warning) in [
        (
            "[global]\nmon-host = a\n",
            "line 2: librados has no option mon-host",
        ),
        (
            "[global]\nMON_HOST = a\n",
            "line 2: librados has no option MON_HOST",
        ),
        (
            "[mon.x]\nmon_host = a\n",
            "line 2: mon_host is in section [mon.x]",
        ),
        (
            "[client.other]\nmon_host = a\n",
            "line 2: mon_host is in section [client.other]",
        ),
        (
            "[global]\nmon_host = 192.0.2.1;192.0.2.2\n",
            "line 2: a ; begins a comment, so mon_host does not have 192.0.2.2",
        ),
    ] {
        let verdict = judge_conf(text.as_bytes(), Path::new("c"), ENTITY, Dialect::Grammar);
        assert_eq!(verdict.refusal, None, "{text:?}");
        let warnings: Vec<_> = verdict.warnings.iter().map(ToString::to_string).collect();
        assert!(
            warnings.len() == 1 && warnings[0].contains(warning),
            "{warnings:?}"
        );
    }
    for text in [
        "[client]\nmon_host = a\n",
        "[global]\nmon_host = a ; the first\n",
        "[mon.x]\nmon_addr = a\n",
    ] {
        let verdict = judge_conf(text.as_bytes(), Path::new("c"), ENTITY, Dialect::Grammar);
        assert_eq!(verdict.warnings, [], "{text:?}");
    }
}
