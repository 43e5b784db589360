//! Keyrings, compared with the result of `ceph-authtool`.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use super::{asserts, Directory, ENTITY};
use crate::files::{judge_keyring, Dialect, Key};

const KEY: &str = "AQDcyUFl8V0bBxAAh0dOYfrUyrCbPZZJ6A0jTQ==";
const KEY_256: &str = "AgCJZYhqAAAAACAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// Common keyrings: whether librados loads the file, the user's key, the reason, the fix.
const KEYRINGS: &[(&str, bool, Option<Key>, &str, &str)] = &[
    ("[client.xcp]\n\tkey = KEY\n", true, Some(Key::Aes), "", ""),
    ("[client.xcp]\nkey=\"KEY\"\n", true, Some(Key::Aes), "", ""),
    (
        "[client.xcp]\r\n\tkey = KEY\r\n",
        true,
        Some(Key::Aes),
        "",
        "",
    ),
    (
        "# f\u{fc}r\n[client.xcp]\nkey = KEY # f\u{fc}r\n",
        true,
        Some(Key::Aes),
        "",
        "",
    ),
    (
        "[client.xcp]\nkey = KEY\ncaps mon = \"profile rbd\"\nauid = 0\n",
        true,
        Some(Key::Aes),
        "",
        "",
    ),
    (
        "[client.xcp]\nkey = KEZ\n[client.xcp]\nkey = KEY\n",
        true,
        Some(Key::Aes),
        "",
        "",
    ),
    (
        "",
        true,
        None,
        "the file has no section [client.xcp]",
        "ceph auth get client.xcp",
    ),
    (
        "[client.other]\n\tkey = KEY\n",
        true,
        None,
        "it has client.other",
        "ceph auth get client.xcp",
    ),
    (
        "[client.xcp]\n",
        true,
        None,
        "section [client.xcp] has no key",
        "ceph auth get client.xcp",
    ),
    (
        "key = KEY\n",
        true,
        None,
        "the file has no section [client.xcp]",
        "ceph auth get",
    ),
    (
        "[client.xcp]\n\tkey = KEY",
        false,
        None,
        "line 2: the last line does not end",
        "echo >>k",
    ),
    (
        " [client.xcp]\n\tkey = KEY\n",
        false,
        None,
        "line 1: the section heading is indented",
        "sed -i",
    ),
    (
        "[ client.xcp ]\n\tkey = KEY\n",
        false,
        None,
        "line 1: [ client.xcp ] is no user",
        "write [client.xcp]",
    ),
    (
        "[xcp]\n\tkey = KEY\n",
        false,
        None,
        "line 1: [xcp] is no user",
        "write [client.xcp]",
    ),
    (
        "exported keyring for client.xcp\n[client.xcp]\n\tkey = KEY\n",
        false,
        None,
        "line 1: the line is a message",
        "sed -i '1d' k",
    ),
    (
        "[{\"entity\":\"client.xcp\",\"key\":\"KEY\",\"caps\":{}}]",
        false,
        None,
        "the file is JSON",
        "ceph auth get client.xcp",
    ),
    (
        "[{\"entity\":\"client.xcp\",\"key\":\"KEY\"}]\n",
        false,
        None,
        "the file is JSON",
        "ceph auth get client.xcp",
    ),
    (
        "[KEY]\n",
        false,
        None,
        "line 1: the section heading is no user",
        "write [client.xcp]",
    ),
    (
        "{\n\"key\":\"KEY\"}\n",
        false,
        None,
        "the file is JSON",
        "ceph auth get client.xcp",
    ),
    (
        "KEY",
        false,
        None,
        "line 1: the file has only a key",
        "sed -i -e '1s/^/[client.xcp]",
    ),
    (
        "KEY\n",
        true,
        None,
        "line 1: the file has only a key",
        "sed -i -e '1s/^/[client.xcp]",
    ),
    (
        "[client.xcp]\n\tkey = AQDcyUFl8V0bBxAA\n",
        false,
        None,
        "line 2: the key is too short",
        "ceph auth get",
    ),
    (
        "[client.xcp]\n\tkey = AQDc!\n",
        false,
        None,
        "line 2: the key is not base64",
        "ceph auth get",
    ),
    (
        "[client.xcp]\n\tkey =\n",
        false,
        None,
        "line 2: the key is too short",
        "ceph auth get",
    ),
    (
        "[client.xcp]\n\tsecret = KEY\n",
        false,
        None,
        "line 2: a keyring contains only lines",
        "ceph auth get",
    ),
    (
        "\u{feff}[client.xcp]\n\tkey = KEY\n",
        false,
        None,
        "line 1: the file begins with a UTF-8 byte-order mark",
        "sed -i",
    ),
    (
        "[client.xcp]\n\tkey =\u{a0}KEY\n",
        false,
        None,
        "line 2: byte 7 (0xc2 0xa0)",
        "sed -i",
    ),
];

#[test]
fn a_keyring_is_accepted_if_ceph_loads_it() {
    let directory = Directory::new("keyrings");
    let path = directory.file(0);
    let asserts = asserts("keyrings");
    for (text, loads, key, reason, fix) in KEYRINGS {
        let text = text.replace("KEY", KEY).replace("KEZ", KEY_256);
        fs::write(&path, &text).unwrap();
        let judged = judge_keyring(text.as_bytes(), Path::new("k"), ENTITY, Dialect::Grammar);
        let list = Command::new("ceph-authtool")
            .arg("--list")
            .arg(&path)
            .output()
            .unwrap();
        assert_eq!(judged.verdict.refusal.is_none(), *loads, "{text:?}");
        if asserts || !judged.verdict.aborts {
            assert_eq!(list.status.success(), *loads, "{text:?}: {list:?}");
        }
        assert_eq!(
            list.status.signal().is_some(),
            judged.verdict.aborts && asserts,
            "{text:?}"
        );
        let fault = judged.verdict.refusal.or(judged.verdict.missing);
        assert_eq!(fault.is_some(), !reason.is_empty(), "{text:?}");
        if *loads {
            assert_eq!(judged.key.map(|(_, key)| key), *key, "{text:?}");
        }
        let Some(fault) = fault else { continue };
        assert!(fault.to_string().contains(reason), "{text:?}: {fault}");
        assert!(fault.fix.contains(fix), "{text:?}: {}", fault.fix);
        assert!(!format!("{fault:?}").contains(&KEY[..8]), "{fault:?}");
    }
}
