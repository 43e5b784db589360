#![allow(clippy::unwrap_used)]

use super::super::handshake::{HAS_FLAGS, READ_ONLY, SEND_FLUSH};
use super::super::sim::{Connection, NbdSysfs};
use super::*;

const EXPORT: Export = Export {
    size: 1 << 20,
    flags: HAS_FLAGS | SEND_FLUSH,
    least_request: None,
};

fn request(address: SocketAddr) -> ConnectRequest {
    ConnectRequest {
        address,
        export: String::new(),
        identifier: "volume".to_owned(),
        size: Some(EXPORT.size),
        read_only: false,
        deadline: Duration::from_secs(1),
    }
}

fn some_request() -> ConnectRequest {
    request("127.0.0.1:20000".parse().unwrap())
}

#[test]
fn the_kernel_gets_the_flags_of_the_server_and_of_the_request() {
    let mut request = some_request();
    assert_eq!(request.check(&EXPORT).unwrap(), EXPORT.flags);
    request.read_only = true;
    assert_eq!(request.check(&EXPORT).unwrap(), EXPORT.flags | READ_ONLY);
    request.size = None;
    request.check(&EXPORT).unwrap();
}

#[test]
fn the_error_of_a_wrong_size_has_both_sizes() {
    let mut request = some_request();
    request.size = Some(EXPORT.size * 2);
    let message = request.check(&EXPORT).unwrap_err().to_string();
    assert!(message.contains("1048576"), "{message}");
    assert!(message.contains("2097152"), "{message}");
    assert!(message.contains("127.0.0.1:20000"), "{message}");
}

#[test]
fn an_export_with_an_unsupported_size_is_refused() {
    let mut request = some_request();
    request.size = None;
    let exports = [
        (0, None),
        (1000, None),
        (512 * 9, Some(4096)),
        (1 << 20, Some(1 << 16)),
        (3000, Some(1000)),
    ];
    for (size, least_request) in exports {
        let export = Export {
            size,
            least_request,
            ..EXPORT
        };
        assert_eq!(request.check(&export).unwrap_err().errno(), 22);
    }
}

#[test]
fn a_read_only_export_is_refused_for_a_writable_request() {
    let mut request = some_request();
    let export = Export {
        flags: EXPORT.flags | READ_ONLY,
        ..EXPORT
    };
    assert_eq!(request.check(&export).unwrap_err().errno(), 30);
    request.read_only = true;
    request.check(&export).unwrap();
}

#[test]
fn a_server_without_flush_is_refused_for_a_writable_request() {
    let mut request = some_request();
    let export = Export {
        flags: HAS_FLAGS,
        ..EXPORT
    };
    assert_eq!(request.check(&export).unwrap_err().errno(), 95);
    request.read_only = true;
    request.check(&export).unwrap();
}

#[test]
fn only_a_device_that_fulfils_the_request_serves_it() {
    let sysfs = NbdSysfs::new();
    let connection = Connection::new();
    let record = connection.record(64, Some(sysfs.connect(64, None)));
    sysfs.records().write(&record).unwrap();
    let serves = |request: &ConnectRequest| {
        let found = sysfs.nbd().lookup("volume").unwrap().unwrap();
        found.serves(request)
    };
    let request = request(connection.address);
    assert!(serves(&request));
    let others = [
        ConnectRequest {
            read_only: true,
            ..request.clone()
        },
        ConnectRequest {
            size: Some(7),
            ..request.clone()
        },
        ConnectRequest {
            export: "other".to_owned(),
            ..request.clone()
        },
        ConnectRequest {
            address: "127.0.0.1:9".parse().unwrap(),
            ..request.clone()
        },
    ];
    for other in others {
        assert!(!serves(&other), "{other:?}");
    }
    drop(connection);
    assert!(!serves(&request), "a dead device serves a request");
}

#[test]
fn connect_refuses_an_invalid_identifier() {
    let sysfs = NbdSysfs::new();
    let mut request = some_request();
    request.identifier = "../volume".to_owned();
    let error = sysfs.nbd().connect(&request).unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
    assert!(!sysfs.path("run").exists());
}

#[test]
fn a_free_index_is_not_connected_and_not_below_64() {
    let sysfs = NbdSysfs::new();
    let nbd = sysfs.nbd();
    assert_eq!(nbd.free_index(0).unwrap(), FIRST);
    sysfs.connect(0, None);
    sysfs.connect(FIRST, None);
    sysfs.connect(FIRST + 2, None);
    assert_eq!(nbd.free_index(0).unwrap(), FIRST + 1);
    assert_eq!(nbd.free_index(1).unwrap(), FIRST + 3);
}
