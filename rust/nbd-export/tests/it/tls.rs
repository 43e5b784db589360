//! Encrypted connections, and clients without a certificate.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nbd_export::TlsFiles;

use crate::lab::{content, random, refused, run, Lab, MIB};

/// Makes a CA, and certificates of it: of the server and of a client.
fn certificates(directory: &Path) -> TlsFiles {
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let key = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ];
    let make = |name: &str, more: &[&str]| {
        let (key_file, certificate) = (
            path(&format!("{name}-key.pem")),
            path(&format!("{name}-cert.pem")),
        );
        let subject = format!("/CN={name}");
        let files = [
            "-keyout",
            &key_file,
            "-out",
            &certificate,
            "-subj",
            &subject,
        ];
        run(
            "openssl",
            &[&["req", "-x509"], &key[..], &files, more].concat(),
        );
    };
    make("ca", &[]);
    let (ca, ca_key) = (path("ca-cert.pem"), path("ca-key.pem"));
    let signed = [
        "-CA",
        &ca,
        "-CAkey",
        &ca_key,
        "-addext",
        "basicConstraints=critical,CA:FALSE",
    ];
    make(
        "server",
        &[&signed[..], &["-addext", "subjectAltName=IP:127.0.0.1"]].concat(),
    );
    make("client", &signed);
    TlsFiles {
        certificate: directory.join("server-cert.pem"),
        key: directory.join("server-key.pem"),
        client_ca: directory.join("ca-cert.pem"),
    }
}

struct TlsLab {
    lab: Lab,
    files: tempfile::TempDir,
}

impl TlsLab {
    fn new() -> Self {
        let files = tempfile::tempdir().unwrap();
        let lab = Lab::with(Some(certificates(files.path())));
        Self { lab, files }
    }

    fn uri(&self, name: &str) -> String {
        let directory = self.files.path().display();
        format!(
            "nbds://{}/{name}?tls-certificates={directory}",
            self.lab.address
        )
    }
}

#[test]
fn a_client_with_a_certificate_of_the_ca_reads_and_writes() {
    let tls = TlsLab::new();
    let export = tls.lab.export("vm/0", 16 * MIB);
    let data = random(16 * MIB);
    let source = tls.lab.path("source");
    fs::write(&source, &data).unwrap();
    run("nbdcopy", &[source.to_str().unwrap(), &tls.uri("vm/0")]);
    tls.lab.wait_for_no_client();
    assert!(content(&export) == data);
    let copy = tls.lab.path("copy");
    run("nbdcopy", &[&tls.uri("vm/0"), copy.to_str().unwrap()]);
    assert!(fs::read(copy).unwrap() == data);
    tls.lab.wait_for_no_client();
    assert!(run("nbdinfo", &["--list", &tls.uri("")]).contains("vm/0"));
}

#[test]
fn qemu_img_reads_an_encrypted_export() {
    let tls = TlsLab::new();
    tls.lab.export("vm/0", MIB);
    let directory = tls.files.path().display();
    let address = tls.lab.address;
    let credentials = format!("tls-creds-x509,id=tls,dir={directory},endpoint=client");
    let image = format!(
        "driver=nbd,host={},port={},export=vm/0,tls-creds=tls",
        address.ip(),
        address.port()
    );
    let shown = run(
        "qemu-img",
        &["info", "--object", &credentials, "--image-opts", &image],
    );
    assert!(shown.contains("virtual size: 1 MiB"), "{shown}");
}

#[test]
fn a_client_without_a_certificate_of_the_ca_is_refused() {
    let tls = TlsLab::new();
    tls.lab.export("vm/0", MIB);
    let text = refused("nbdinfo", &[&tls.lab.uri("vm/0")]);
    assert!(text.contains("TLS"), "{text}");
    let other = tempfile::tempdir().unwrap();
    certificates(other.path());
    // The other client trusts this server, and this server does not trust it.
    fs::copy(
        tls.files.path().join("ca-cert.pem"),
        other.path().join("ca-cert.pem"),
    )
    .unwrap();
    let directory = other.path().display();
    refused(
        "nbdinfo",
        &[&format!(
            "nbds://{}/vm/0?tls-certificates={directory}",
            tls.lab.address
        )],
    );
    fs::remove_file(other.path().join("client-cert.pem")).unwrap();
    fs::remove_file(other.path().join("client-key.pem")).unwrap();
    refused(
        "nbdinfo",
        &[&format!(
            "nbds://{}/vm/0?tls-certificates={directory}",
            tls.lab.address
        )],
    );
    run("nbdinfo", &[&tls.uri("vm/0")]);
}

#[test]
fn connections_without_a_certificate_lock_no_client_out() {
    let tls = TlsLab::new();
    tls.lab.export("vm/0", MIB);
    let silent: Vec<_> = (0..64).map(|_| tls.lab.connect()).collect();
    let greeted: Vec<_> = (0..64).map(|_| tls.lab.greeted()).collect();
    run("nbdinfo", &[&tls.uri("vm/0")]);
    let ended = silent.into_iter().chain(greeted).filter(|client| {
        client.set_nonblocking(true).unwrap();
        let read = (&mut &*client)
            .read(&mut [0; 64])
            .and_then(|_| (&mut &*client).read(&mut [0]));
        !read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    });
    assert!(ended.count() >= 128 - 16);
}

#[test]
fn encrypted_connections_above_the_limit_are_refused() {
    let tls = TlsLab::new();
    for number in 0..5 {
        let name = format!("vm/{number}");
        tls.lab.export_as(&name, MIB, true, serde_json::Value::Null);
    }
    let connect = format!(
        "
handles = [nbd.NBD() for _ in range(65)]
def use(handle, name):
    handle.set_uri_allow_local_file(True)
    handle.connect_uri('{}'.replace('vm/0', name))
for number, handle in enumerate(handles[:64]):
    use(handle, f'vm/{{number % 4}}')
try:
    use(handles[64], 'vm/4')
except nbd.Error:
    pass
else:
    raise SystemExit('connected')
",
        tls.uri("vm/0")
    );
    crate::lab::nbdsh(&connect);
}

#[test]
fn a_client_that_does_not_read_holds_up_no_thread_when_its_export_ends() {
    let tls = TlsLab::new();
    let export = tls.lab.export("vm/0", 32 * MIB);
    let asks = format!(
        "h.set_uri_allow_local_file(True); h.connect_uri('{}'); h.aio_pread(nbd.Buffer(32 << 20), 0); print('asked', flush=True); input()",
        tls.uri("vm/0")
    );
    let mut client = Command::new("/usr/bin/nbdsh")
        .args(["-c", &asks])
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut asked = [0; 5];
    client
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut asked)
        .unwrap();
    std::thread::sleep(Duration::from_secs(1)); // the reply fills all buffers
    assert_eq!(tls.lab.remove(&export, true)["removed"], true);
    // Those of other tests end, too.
    crate::lab::wait_for("the encrypting threads end", || {
        let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
        let names = tasks.map(|task| fs::read_to_string(task.path().join("comm")));
        !names.flatten().any(|name| name == "nbd-tls\n")
    });
    client.kill().unwrap();
    client.wait().unwrap();
}

#[test]
fn a_file_that_is_no_certificate_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let mut files = certificates(directory.path());
    files.certificate = directory.path().join("server-key.pem");
    let settings = nbd_export::Settings {
        address: ([127, 0, 0, 1], 1).into(),
        tls: Some(files),
        timeout: crate::lab::TIMEOUT,
    };
    let paths = nbd_export::Paths::new(directory.path());
    let started = nbd_export::Server::start(&settings, &paths, std::sync::Arc::new(Nothing));
    let text = started.err().unwrap().to_string();
    assert!(
        text.contains("server-key.pem cannot be used as the certificate"),
        "{text}"
    );
}

struct Nothing;

impl nbd_export::Opener for Nothing {
    fn open(&self, _: &nbd_export::Export) -> std::io::Result<nbd_export::Opened> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}
