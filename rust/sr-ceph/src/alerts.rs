//! Alerts of XAPI about hosts that were declared dead.
//!
//! A host that was declared dead by mistake still runs, but cannot write: its VMs get I/O errors. It raises
//! an alert when one of its commands detects this: the command begins a new life of the host, or finds a
//! device whose kernel client is on the blocklist. The host that recorded the declaration raises another
//! alert. If an alert cannot be raised, that is logged and the command goes on.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::blocklist::is_cut_off;
use crate::catalogue::{host_key, records, Catalogue, Stored, VDI_PREFIX};
use crate::devices::Devices;
use crate::error::{Context, Result};
use crate::host::{Alert, Host, Mapped, Subject};
use crate::image::Images;
use crate::pool::{Entries, Pool};
use crate::record::{Death, HostRecord, VdiRecord};
use crate::CephSr;

const CUT_OFF: &str = "SMBLOCK_HOST_CUT_OFF";
const FENCED: &str = "SMBLOCK_HOST_FENCED";
/// XAPI's priorities.
const MAJOR: u8 = 2;
const WARNING: u8 = 3;

/// What raises the alerts of one SR on this host.
#[derive(Clone, Copy)]
pub(crate) struct Alerts<'a> {
    pub catalogue: Catalogue<'a>,
    pub pool: &'a dyn Pool,
    pub host: &'a dyn Host,
    pub images: Images<'a>,
    pub devices: Devices<'a>,
    pub sr: Uuid,
}

impl Alerts<'_> {
    /// Raises an alert if a device of this host was cut off from the cluster. Sends a request to the cluster
    /// only if this host has a device of the SR.
    pub fn alert_if_cut_off(&self) {
        self.alert_cut_off(None);
    }

    /// Raises an alert if this host was declared dead in this boot, by its record in the catalogue.
    pub(crate) fn alert_own_death(&self, own: Option<&HostRecord>) {
        // Without a boot in the record, the declaration may be of an earlier boot.
        let own = own.filter(|own| own.boot_id.is_some());
        let death = own.and_then(|own| self.death_in(own));
        if death.is_some() {
            self.alert_cut_off(death);
        }
    }

    /// Returns the life that this host has lost, by its own record.
    fn death_in<'r>(&self, own: &'r HostRecord) -> Option<(u32, &'r Death)> {
        let death = own.death_of(&self.host.owner().boot_id, own.life);
        death.map(|death| (own.life, death))
    }

    /// Raises an alert if a device of this host was cut off. `ended`: the life that the declaration has
    /// ended.
    fn alert_cut_off(&self, ended: Option<(u32, &Death)>) {
        if let Err(e) = self.try_alert_cut_off(ended) {
            log::warn!(
                "SR {}: the alert {CUT_OFF} was not raised: {e}; the next command tries again",
                self.sr
            );
        }
    }

    fn try_alert_cut_off(&self, ended: Option<(u32, &Death)>) -> Result<()> {
        let devices = self.cut_off_devices()?;
        if devices.is_empty() && ended.is_none() {
            return Ok(());
        }
        let entries = self.catalogue.read()?;
        let me = &self.host.owner().host;
        let own = self.host_in(&entries, me);
        let ended = ended.or(own.as_ref().and_then(|own| self.death_in(own)));
        let addresses: BTreeSet<_> = devices.iter().map(|d| d.client_address.clone()).collect();
        let mut facts: Vec<String> = addresses.iter().cloned().collect();
        facts.extend(ended.map(|(life, _)| format!("life {life}")));
        let names = names(&entries);
        let disks = devices.iter().map(|device| {
            let label = device.label.as_ref().and_then(|label| label.parse().ok());
            let vdi = label.or_else(|| self.images.vdi_of_name(&device.image_name));
            let vdi = vdi.map_or(device.image_name.clone(), |vdi| named(&names, &vdi));
            format!("{vdi} at {}", device.device.display())
        });
        let disks: Vec<_> = disks.collect();
        let why = match ended {
            Some((_, death)) => format!("Host {me} was declared dead ({})", death.reason),
            None => format!("Host {me} was treated as dead"),
        };
        let text = if disks.is_empty() {
            format!(
                "{why}, and works again. No device of SR {} on it is cut off: no action is needed.",
                self.sr
            )
        } else {
            format!(
                "{why}. Its kernel clients {} are on the blocklist of the Ceph cluster of SR {}: all I/O on these disks fails, and unwritten data is lost: {}. Shut down the VMs that use them on this host (xe vm-shutdown force=true) and start them again, or reboot this host.",
                join(&addresses),
                self.sr,
                disks.join("; ")
            )
        };
        self.raise(CUT_OFF, MAJOR, Subject::Host, &facts, text)
    }

    /// This host's devices of the SR whose kernel client is on the blocklist.
    fn cut_off_devices(&self) -> Result<Vec<Mapped>> {
        let doing = "looking for devices of this host that are cut off";
        let mappings = self.host.mappings().doing(doing)?;
        if mappings.is_empty() {
            return Ok(Vec::new());
        }
        let mut devices = self.devices.of_sr(doing)?;
        devices.retain(|device| self.images.vdi_of_name(&device.image_name).is_some());
        if devices.is_empty() {
            return Ok(devices);
        }
        let blocklist = self.pool.blocklisted().doing("reading the blocklist")?;
        devices.retain(|device| is_cut_off(&blocklist, &device.client_address));
        Ok(devices)
    }

    /// Raises an alert that this host has recorded the death of another host, once for each death.
    pub(crate) fn alert_fenced(&self, host: &str) {
        if let Err(e) = self.try_alert_fenced(host) {
            log::warn!("SR {}: the alert {FENCED} was not raised: {e}", self.sr);
        }
    }

    fn try_alert_fenced(&self, host: &str) -> Result<()> {
        let entries = self.catalogue.read()?;
        let Some(record) = self.host_in(&entries, host) else {
            return Ok(());
        };
        let Some(death) = &record.dead else {
            return Ok(()); // it has begun a new life
        };
        let names = names(&entries);
        let (mut disks, mut addresses) = (Vec::new(), BTreeSet::new());
        for stored in records::<VdiRecord>(&entries, VDI_PREFIX) {
            if let Some(claim) = stored.record.claim.filter(|c| c.owner.host == host) {
                disks.push(named(&names, &stored.record.uuid));
                addresses.extend(claim.addresses);
            }
        }
        let taken = match disks.as_slice() {
            [] => "It had no disk of the SR in use.".to_owned(),
            disks => format!(
                "Its kernel clients are cut off from the Ceph cluster before other hosts use its disks: {} on the blocklist; {}. If that host still runs, its VMs get I/O errors: shut them down there, or reboot it.",
                join(&addresses),
                disks.join("; ")
            ),
        };
        let text = format!(
            "Host {host} was declared dead ({}), and host {} has recorded that in SR {}. {taken}",
            death.reason,
            self.host.owner().host,
            self.sr
        );
        let boot = record.boot_id.as_deref().unwrap_or_default();
        let facts = [format!("{host} {boot} life {}", record.life)];
        self.raise(FENCED, WARNING, Subject::Sr, &facts, text)
    }

    fn raise(
        &self,
        name: &'static str,
        priority: u8,
        subject: Subject,
        facts: &[String],
        text: String,
    ) -> Result<()> {
        let alert = Alert {
            name,
            priority,
            subject,
            sr: self.sr,
            text,
        };
        let raised = self.host.alert(facts, &alert);
        raised.doing(&format!("creating a message of XAPI: {}", alert.text))
    }

    pub(crate) fn host_in(&self, entries: &Entries, host: &str) -> Option<HostRecord> {
        let bytes = entries.get(&host_key(host))?.clone();
        let stored = Stored::<HostRecord>::parse(bytes);
        stored
            .map(|stored| stored.record)
            .inspect_err(|e| log::warn!("SR {}: the record of host {host}: {e}", self.sr))
            .ok()
    }
}

impl CephSr<'_> {
    /// Raises an alert if a device of this host was cut off from the cluster. Sends a request to the
    /// cluster only if this host has a device of the SR.
    pub fn alert_if_cut_off(&self) {
        self.alerts.alert_if_cut_off();
    }
}

fn names(entries: &Entries) -> BTreeMap<Uuid, String> {
    let vdis = records::<VdiRecord>(entries, VDI_PREFIX).map(|stored| stored.record);
    vdis.map(|vdi| (vdi.uuid, vdi.xapi.name_label)).collect()
}

fn named(names: &BTreeMap<Uuid, String>, vdi: &Uuid) -> String {
    match names.get(vdi).filter(|name| !name.is_empty()) {
        Some(name) => format!("VDI {vdi} ({name})"),
        None => format!("VDI {vdi}"),
    }
}

fn join(addresses: &BTreeSet<String>) -> String {
    let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
    addresses.join(", ")
}
