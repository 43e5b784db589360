//! What the programs of libnbd and qemu can do with an export.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::{json, Value};

use crate::lab::{content, nbdsh, random, refused, run, Lab, MIB};

#[test]
fn nbdinfo_shows_size_and_what_the_export_supports() {
    let lab = Lab::new();
    lab.export("vm/0", 8 * MIB);
    let shown: Value =
        serde_json::from_str(&run("nbdinfo", &["--json", &lab.uri("vm/0")])).unwrap();
    assert_eq!(shown["protocol"], "newstyle-fixed");
    assert_eq!(shown["structured"], true);
    let export = &shown["exports"][0];
    assert_eq!(export["export-name"], "vm/0");
    assert_eq!(export["export-size"], 8 * MIB);
    assert_eq!(export["is_read_only"], false);
    for can in [
        "can_flush",
        "can_fua",
        "can_trim",
        "can_zero",
        "can_fast_zero",
        "can_df",
    ] {
        assert_eq!(export[can], true, "{can}");
    }
    assert_eq!(export["can_multi_conn"], false);
    assert_eq!(export["contexts"], json!(["base:allocation"]));
    assert_eq!(export["block_size_minimum"], 4096);
    assert_eq!(export["block_size_maximum"], 32 * MIB);
}

#[test]
fn a_list_has_every_export_by_name() {
    let lab = Lab::new();
    assert_eq!(
        run("nbdinfo", &["--list", "--json", &lab.uri("")])
            .matches("export-name")
            .count(),
        0
    );
    for name in ["vm/1", "vm/0", "other"] {
        lab.export(name, MIB);
    }
    let shown: Value =
        serde_json::from_str(&run("nbdinfo", &["--list", "--json", &lab.uri("")])).unwrap();
    let names = shown["exports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|of| of["export-name"].clone());
    assert_eq!(names.collect::<Vec<_>>(), ["other", "vm/0", "vm/1"]);
}

#[test]
fn an_unknown_name_is_refused_with_a_reason() {
    let lab = Lab::new();
    lab.export("vm/0", MIB);
    for name in ["vm", "vm/", "vm/00", ""] {
        let text = refused("nbdinfo", &[&lab.uri(name)]);
        assert!(
            text.contains(&format!("this host has no export {name:?}")),
            "{text}"
        );
    }
    let text = refused("qemu-img", &["info", &lab.uri("vm/1")]);
    assert!(text.contains("vm/1"), "{text}");
}

#[test]
fn nbdcopy_copies_into_an_export_and_out_of_it() {
    let lab = Lab::new();
    let export = lab.export("vm/0", 16 * MIB);
    let source = lab.path("source");
    let data = [random(5 * MIB), vec![0; 6 * MIB], random(5 * MIB)].concat();
    fs::write(&source, &data).unwrap();
    let (source, uri) = (source.to_str().unwrap(), lab.uri("vm/0"));
    run("nbdcopy", &["--flush", source, &uri]);
    lab.wait_for_no_client();
    assert!(content(&export) == data);
    let copy = lab.path("copy");
    run("nbdcopy", &[&uri, copy.to_str().unwrap()]);
    assert!(fs::read(&copy).unwrap() == data);
    // The holes of the export became holes.
    assert!(fs::metadata(&copy).unwrap().blocks() * 512 <= 11 * MIB as u64);
}

#[test]
fn qemu_img_converts_into_an_export_compares_and_maps_it() {
    let lab = Lab::new();
    let export = lab.export("vm/0", 8 * MIB);
    let source = lab.path("source");
    let data = [random(MIB), vec![0; 6 * MIB], random(MIB)].concat();
    fs::write(&source, &data).unwrap();
    let (source, uri) = (source.to_str().unwrap(), lab.uri("vm/0"));
    run(
        "qemu-img",
        &["convert", "-n", "-f", "raw", "-O", "raw", source, &uri],
    );
    lab.wait_for_no_client();
    assert!(content(&export) == data);
    run(
        "qemu-img",
        &["compare", "-f", "raw", "-F", "raw", source, &uri],
    );
    lab.wait_for_no_client();
    let map: Value = serde_json::from_str(&run(
        "qemu-img",
        &["map", "--output=json", "-f", "raw", &uri],
    ))
    .unwrap();
    let parts = map
        .as_array()
        .unwrap()
        .iter()
        .map(|of| (of["start"].clone(), of["zero"].clone()));
    let wanted = [
        (json!(0), json!(false)),
        (json!(MIB), json!(true)),
        (json!(7 * MIB), json!(false)),
    ];
    assert_eq!(parts.collect::<Vec<_>>(), wanted);
    lab.wait_for_no_client();
    run(
        "qemu-io",
        &[
            "-f",
            "raw",
            "-c",
            "write -P 7 1000 3000",
            "-c",
            "read -P 7 1000 3000",
            "-c",
            "flush",
            &uri,
        ],
    );
    assert_eq!(content(&export)[1000..4000], [7; 3000]);
    assert_eq!(content(&export)[..1000], data[..1000]);
    assert_eq!(content(&export)[4000..8000], data[4000..8000]);
}

#[test]
fn each_command_of_nbd_does_what_it_states() {
    let lab = Lab::new();
    let export = lab.export("vm/0", 4 * MIB);
    let commands = format!(
        r#"
import errno
h.connect_uri({:?})
size = h.get_size()
h.set_strict_mode(0)  # send also what is no multiple of the block size
h.pwrite(b"a" * 65536, 0, nbd.CMD_FLAG_FUA)
h.pwrite(b"b" * 3, 70001)
# libnbd: length, then offset
h.zero(100, 1000)
h.zero(8192, 4096, nbd.CMD_FLAG_NO_HOLE)
h.zero(16384, 4096, nbd.CMD_FLAG_FAST_ZERO)
h.trim(32768, 4096, nbd.CMD_FLAG_FUA)
h.trim(40000, 100)
h.flush()
assert h.pread(3, 70001) == b"bbb"
assert h.pread(4, 70000) == b"\0bbb"
assert h.pread(102, 999) == b"a" + bytes(100) + b"a"
assert h.pread(size, 0)[:1000] == b"a" * 1000
def fails(number, call):
    try:
        call()
    except nbd.Error as error:
        assert error.errnum == number, error
    else:
        raise AssertionError("no error")
fails(errno.EINVAL, lambda: h.pread(2, size - 1))
fails(errno.ENOSPC, lambda: h.pwrite(b"cc", size - 1))
fails(errno.ENOSPC, lambda: h.zero(2, size - 1))
fails(errno.EINVAL, lambda: h.trim(2, size - 1))
fails(errno.EINVAL, lambda: h.pread(33 * 1024 * 1024, 0))
fails(errno.EINVAL, lambda: h.flush(nbd.CMD_FLAG_DF))
assert h.pread(1, 0) == b"a"
h.shutdown()
"#,
        lab.uri("vm/0")
    );
    nbdsh(&commands);
    assert!(content(&export).starts_with(&[b'a'; 1000]));
}

#[test]
fn block_status_has_holes_only_if_the_storage_has_them() {
    let lab = Lab::new();
    let sparse = lab.export("sparse", 4 * MIB);
    lab.export_as("unknown", 4 * MIB, false, json!("no holes"));
    let file = fs::OpenOptions::new()
        .write(true)
        .open(&sparse.device)
        .unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[1; 65536], MIB as u64).unwrap();
    let map = |name| -> Vec<(u64, u64)> {
        let shown: Value =
            serde_json::from_str(&run("nbdinfo", &["--map", "--json", &lab.uri(name)])).unwrap();
        let parts = shown.as_array().unwrap().iter();
        parts
            .map(|of| (of["length"].as_u64().unwrap(), of["type"].as_u64().unwrap()))
            .collect()
    };
    let (mib, rest) = (MIB as u64, 3 * MIB as u64 - 65536);
    assert_eq!(map("sparse"), [(mib, 3), (65536, 0), (rest, 3)]);
    assert_eq!(map("unknown"), [(4 * mib, 0)]);
}

#[test]
fn a_read_only_export_has_several_clients_and_refuses_writes() {
    let lab = Lab::new();
    lab.export_as("snapshot", 8 * MIB, true, Value::Null);
    let uri = lab.uri("snapshot");
    let commands = format!(
        "
h.connect_uri({uri:?})
other = nbd.NBD()
other.connect_uri({uri:?})
assert h.is_read_only() and h.can_multi_conn()
assert h.pread(4096, 0) == other.pread(4096, 0) == bytes(4096)
h.set_strict_mode(0)
try:
    h.pwrite(b'a', 0)
except nbd.Error as error:
    assert error.errno == 'EPERM', error
else:
    raise AssertionError('written')
"
    );
    nbdsh(&commands);
    run("nbdcopy", &["--connections=4", &uri, "null:"]);
}

#[test]
fn a_client_without_structured_replies_is_served() {
    let lab = Lab::new();
    lab.export("vm/0", MIB);
    let uri = lab.uri("vm/0");
    let commands = format!(
        "
h.set_request_structured_replies(False)
h.connect_uri({uri:?})
assert not h.get_structured_replies_negotiated()
h.set_strict_mode(0)
h.pwrite(b'abc', 5)
assert h.pread(3, 5) == b'abc'
"
    );
    nbdsh(&commands);
}

#[test]
fn a_client_of_the_old_way_is_served() {
    let lab = Lab::new();
    lab.export("vm/0", MIB);
    let (host, port) = (lab.address.ip().to_string(), lab.address.port());
    for flags in ["nbd.HANDSHAKE_FLAG_FIXED_NEWSTYLE", "0"] {
        lab.wait_for_no_client();
        let commands = format!(
            "
h.set_handshake_flags({flags})
h.set_export_name('vm/0')
h.connect_tcp({host:?}, '{port}')
h.set_strict_mode(0)
h.pwrite(b'abc', 5)
assert h.pread(3, 5) == b'abc'
h.shutdown()
"
        );
        nbdsh(&commands);
    }
}
