//! The real host: its server processes, its kernel's NBD devices, its clock.

use std::any::Any;
use std::ffi::OsString;
use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crucible_host::control::{self, UpstairsState};
use crucible_host::port::Ports;
use crucible_host::server::{self, Detached, Launcher, Spec, Status, Systemd};
use crucible_host::target::{self, TargetState};
use crucible_host::{key, route, KeySource, SecretString, Volume};
use hostdev::nbd::{ConnectRequest, Nbd, NbdDevice};
use hostos::deadline::Call;
use hostos::{files, Deadline, LockFile};
use nix::libc;
use sr::host::{HostError, Result};
use uuid::Uuid;

use super::host::{Device, Host, HostId, Server};

/// The servers' runtime directories. A boot of the host empties it.
const RUN: &str = "/run/smblock/crucible";
/// How long a target may take to reply. The error that names the target must appear soon.
const TARGET_DEADLINE: Duration = Duration::from_secs(4);
const INFO_DEADLINE: Duration = Duration::from_secs(3);
const READY_DEADLINE: Duration = Duration::from_secs(30);
const STOP_DEADLINE: Duration = Duration::from_secs(20);
/// How long the kernel may take for a device.
pub(super) const DEVICE_DEADLINE: Duration = Duration::from_secs(30);
/// Longer than the other deadlines together: another command on the same volume may use all of them.
const LOCK_DEADLINE: Duration = Duration::from_secs(120);
/// Bytes of one read that tests a key. No volume has smaller blocks.
const BLOCK: usize = 512;
/// How many places of a volume are read to test its key, besides [`FIRST_PLACES`].
const PLACES: u64 = 64;
/// Offsets that are usually written first: the partition table, and the first partition.
const FIRST_PLACES: [u64; 2] = [0, 1 << 20];
const KEY_POLL: Duration = Duration::from_millis(50);

/// Reads a secret of XAPI. An error is XAPI's text.
pub type ReadSecret<'a> = dyn Fn(&Uuid) -> std::result::Result<String, String> + 'a;

/// This host.
pub struct Dom0<'a> {
    id: HostId,
    program: PathBuf,
    launcher: Box<dyn Launcher>,
    run: PathBuf,
    nbd: Nbd,
    read_secret: Box<ReadSecret<'a>>,
}

impl<'a> Dom0<'a> {
    /// The host that this process runs on. `uuid` is the host's in XAPI, `program` the server's program, and
    /// `supervisor` the command that supervises one server. The server's runtime directory is added to it.
    pub fn new(
        uuid: &str,
        program: &Path,
        supervisor: Vec<OsString>,
        read_secret: Box<ReadSecret<'a>>,
    ) -> Result<Self> {
        let launcher: Box<dyn Launcher> = if Systemd::runs() {
            Box::new(Systemd)
        } else {
            Box::new(Detached {
                command: supervisor,
            })
        };
        Ok(Dom0 {
            id: HostId {
                host: uuid.to_owned(),
                boot_id: hostos::boot_id()?,
            },
            program: program.to_owned(),
            launcher,
            run: RUN.into(),
            nbd: Nbd::new(),
            read_secret,
        })
    }

    fn at(&self, vdi: &Uuid) -> server::Server {
        server::Server::at(&self.run, vdi)
    }

    fn key(&self, volume: &Volume) -> Result<Option<SecretString>> {
        Ok(match &volume.key {
            None => None,
            Some(KeySource::File(path)) => Some(key::read(path)?),
            Some(KeySource::Secret(secret)) => {
                let read = (self.read_secret)(secret);
                let text =
                    read.map_err(|e| failure(format!("cannot read XAPI's secret {secret}: {e}")))?;
                Some(key::parse(&text, &format!("XAPI's secret {secret}"))?)
            }
        })
    }

    fn found(&self, vdi: &Uuid) -> Result<Option<NbdDevice>> {
        Ok(self.nbd.find(&vdi.to_string())?)
    }
}

pub(super) fn failure(message: String) -> HostError {
    HostError {
        message,
        errno: None,
        id: None,
    }
}

fn io_failure(doing: &str, path: &Path, error: &std::io::Error) -> HostError {
    HostError {
        message: format!(
            "cannot {doing} {}: {}",
            path.display(),
            hostos::errno::describe_io(error)
        ),
        errno: error.raw_os_error(),
        id: None,
    }
}

/// Locks a volume on this host until the lock is dropped.
pub(super) fn lock(run: &Path, vdi: &Uuid) -> Result<LockFile> {
    let path = lock_path(run, vdi)?;
    let lock = LockFile::acquire(&path, Deadline::after(LOCK_DEADLINE))?;
    lock.ok_or_else(|| HostError {
        message: format!(
            "{} is still locked after {} s. Run 'fuser -v {0}' to see by which process",
            path.display(),
            LOCK_DEADLINE.as_secs()
        ),
        errno: Some(libc::ETIMEDOUT),
        id: None,
    })
}

fn lock_path(run: &Path, vdi: &Uuid) -> Result<PathBuf> {
    files::create_directory(run)?;
    Ok(run.join(format!("{vdi}.lock")))
}

/// Reads some places of an encrypted volume, to test its key. A server accepts any key, and ends at the
/// first block that it cannot decrypt. `ended` returns how it ended, without waiting.
fn check_key(device: &Path, size: u64, ended: impl Fn() -> Result<Option<String>>) -> Result<()> {
    let path = device.to_owned();
    let doing = "read (the volume's key may be another than it was written with)";
    let failed = |e: &std::io::Error| io_failure(doing, device, e);
    // In a thread of its own: the kernel may wait without end for a server that is gone.
    let reading = Call::start(move || {
        let file = File::open(path)?;
        places(size).try_for_each(|place| file.read_exact_at(&mut [0; BLOCK], place))
    });
    let reading = reading.map_err(|e| failed(&e))?;
    let end = Deadline::after(DEVICE_DEADLINE);
    loop {
        if let Some(read) = reading
            .wait(end.at_most(KEY_POLL))
            .map_err(|e| failed(&e))?
        {
            return read.map_err(|e| failed(&e));
        }
        if let Some(how) = ended()? {
            return Err(failure(format!(
                "cannot {doing} {}: its server has ended: {how}",
                device.display()
            )));
        }
        if end.passed() {
            return Err(failed(&std::io::Error::from_raw_os_error(libc::ETIMEDOUT)));
        }
    }
}

/// Returns offsets over the whole volume. A whole block can be read at each.
fn places(size: u64) -> impl Iterator<Item = u64> {
    let last = size.saturating_sub(BLOCK as u64);
    let spread = (1..=PLACES).map(move |n| last / PLACES * n);
    let aligned = spread.map(|place| place - place % BLOCK as u64);
    FIRST_PLACES
        .into_iter()
        .chain(aligned)
        .filter(move |place| *place <= last)
        .chain([last])
}

impl From<NbdDevice> for Device {
    fn from(device: NbdDevice) -> Self {
        Device {
            path: device.device,
            size: device.size,
            read_only: device.read_only,
            connected: device.connected,
        }
    }
}

impl Host for Dom0<'_> {
    fn id(&self) -> &HostId {
        &self.id
    }

    fn now(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |since| since.as_secs())
    }

    fn lock(&self, vdi: &Uuid) -> Result<Box<dyn Any>> {
        Ok(Box::new(lock(&self.run, vdi)?))
    }

    fn try_lock(&self, vdi: &Uuid) -> Result<Option<Box<dyn Any>>> {
        let lock = LockFile::try_acquire(&lock_path(&self.run, vdi)?)?;
        Ok(lock.map(|lock| Box::new(lock) as Box<dyn Any>))
    }

    fn fingerprint(&self, volume: &Volume) -> Result<Option<String>> {
        let key = self.key(volume)?;
        let print = key.map(|key| key::fingerprint(&volume.uuid, &key));
        Ok(print.transpose()?)
    }

    fn check_program(&self) -> Result<()> {
        Ok(server::Server::check_binary(&self.program)?)
    }

    fn check_kernel(&self) -> Result<()> {
        Ok(self.nbd.load_module(DEVICE_DEADLINE)?)
    }

    fn probe(&self, targets: &[SocketAddr]) -> Vec<TargetState> {
        target::probe_all(targets, TARGET_DEADLINE)
    }

    fn server(&self, vdi: &Uuid) -> Result<Server> {
        let server = self.at(vdi);
        Ok(match server.status()? {
            Status::Absent if !server.directory().exists() => Server::Absent,
            Status::Absent => Server::Ended {
                how: "it was never started".to_owned(),
            },
            Status::Ended(ended) => Server::Ended {
                how: ended.to_string(),
            },
            Status::Running(state) => {
                let (serving, downstairs) = match control::info(state.control, INFO_DEADLINE) {
                    Ok(info) if info.state == UpstairsState::Active => (Ok(()), info.downstairs),
                    Ok(info) => (Err(info.to_string()), info.downstairs),
                    Err(e) => (Err(e.to_string()), Vec::new()),
                };
                Server::Running {
                    generation: state.generation,
                    serving,
                    downstairs,
                }
            }
        })
    }

    fn reserve(&self, volume: &Volume) -> Result<()> {
        self.key(volume)?;
        route::quick_ack();
        Ports::new(&self.run).reserve(&volume.uuid)?;
        Ok(())
    }

    fn start(&self, volume: &Volume, generation: u64, fingerprint: Option<&str>) -> Result<()> {
        let key = self.key(volume)?;
        let print = key.as_ref().map(|key| key::fingerprint(&volume.uuid, key));
        if print.transpose()?.as_deref() != fingerprint {
            return Err(failure(
                "the volume's key was replaced during this command".to_owned(),
            ));
        }
        // The ports that were reserved, unless another process has taken them since.
        let ports = Ports::new(&self.run).reserve(&volume.uuid)?;
        let server = self.at(&volume.uuid);
        server.prepare(&Spec {
            volume: volume.uuid,
            server: self.program.clone(),
            targets: volume.targets,
            generation,
            nbd: ports.nbd,
            control: ports.control,
            key,
        })?;
        server.start(self.launcher.as_ref())?;
        server.wait_ready(READY_DEADLINE)?;
        Ok(())
    }

    fn stop(&self, vdi: &Uuid) -> Result<()> {
        Ok(self.at(vdi).stop(STOP_DEADLINE)?)
    }

    fn remove(&self, vdi: &Uuid) -> Result<()> {
        Ok(self.at(vdi).remove()?)
    }

    fn device(&self, vdi: &Uuid) -> Result<Option<Device>> {
        Ok(self.found(vdi)?.map(Device::from))
    }

    fn connect(&self, volume: &Volume, read_only: bool) -> Result<Device> {
        let Status::Running(state) = self.at(&volume.uuid).status()? else {
            return Err(failure("its server is gone".to_owned()));
        };
        let device = self.nbd.connect(&ConnectRequest {
            address: state.nbd,
            export: String::new(),
            identifier: volume.uuid.to_string(),
            size: Some(volume.size),
            read_only,
            deadline: DEVICE_DEADLINE,
        })?;
        if volume.key.is_some() {
            check_key(&device.device, volume.size, || {
                Ok(match self.at(&volume.uuid).status()? {
                    Status::Running(_) => None,
                    Status::Absent => Some("it is gone".to_owned()),
                    Status::Ended(ended) => Some(ended.to_string()),
                })
            })?;
        }
        Ok(device.into())
    }

    fn disconnect(&self, vdi: &Uuid) -> Result<()> {
        if let Some(device) = self.found(vdi)? {
            self.nbd.disconnect(&device, DEVICE_DEADLINE)?;
        }
        Ok(())
    }
}
