//! Alarms of XAPI about hosts that were declared dead.
//!
//! A host that was declared dead by mistake still runs, but cannot write: its VMs get I/O errors. It raises
//! an alert when one of its commands detects this: the command begins a new life of the host, or finds a
//! device whose kernel client is on the blocklist. The host that recorded the declaration raises another
//! alert. If an alert cannot be raised, that is logged and the command goes on.

use std::collections::{BTreeMap, BTreeSet};

use sr::alarm::Report;
use sr::finding::{table, Finding};
use uuid::Uuid;

use crate::blocklist::is_cut_off;
use crate::catalogue::{host_key, records, Catalogue, Stored, VDI_PREFIX};
use crate::devices::Devices;
use crate::error::{Context, Result};
use crate::host::{Host, Mapped};
use crate::image::Images;
use crate::pool::{Entries, Pool};
use crate::record::{Death, HostRecord, VdiRecord};
use crate::CephSr;

const CUT_OFF: &str = "that this host is cut off";
const FENCED: &str = "that a host was declared dead";

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
    pub(crate) fn death_in<'r>(&self, own: &'r HostRecord) -> Option<(u32, &'r Death)> {
        let death = own.death_of(&self.host.owner().boot_id, own.life);
        death.map(|death| (own.life, death))
    }

    /// Raises an alert if a device of this host was cut off. `ended`: the life that the declaration has
    /// ended.
    fn alert_cut_off(&self, ended: Option<(u32, &Death)>) {
        if let Err(e) = self.try_alert_cut_off(ended) {
            log::warn!(
                "SR {}: no alarm was raised {CUT_OFF}: {e}; the next command tries again",
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
        let own = self.host_in(&entries, &self.host.owner().host);
        let ended = ended.or(own.as_ref().and_then(|own| self.death_in(own)));
        self.raise(self.cut_off(&entries, &devices, ended))
    }

    /// What is wrong with this host: the life that a declaration has ended, and the devices that are cut off.
    pub(crate) fn cut_off(
        &self,
        entries: &Entries,
        devices: &[Mapped],
        ended: Option<(u32, &Death)>,
    ) -> Vec<Finding> {
        let owner = self.host.owner();
        let (me, sr) = (&owner.host, self.sr);
        let names = names(entries);
        let mut found = Vec::new();
        if let Some((life, death)) = ended {
            let text = format!("it was declared dead ({}), and runs", death.reason);
            let fix = match devices {
                [] => format!("none: no device of SR {sr} on it is cut off"),
                _ => "shut down the VMs that use these disks, or reboot this host".to_owned(),
            };
            let finding = table::DECLARED_DEAD.found(format!("host {me}"), text, fix);
            let event = format!("{} life {life}", owner.boot_id);
            found.push(finding.event(event).since(death.at));
        }
        found.extend(devices.iter().map(|device| {
            let label = device.label.as_ref().and_then(|label| label.parse().ok());
            let vdi = label.or_else(|| self.images.vdi_of_name(&device.image_name));
            let vdi = vdi.map_or(device.image_name.clone(), |vdi| named(&names, &vdi));
            let text = format!(
                "its kernel client {} is on the blocklist of the Ceph cluster of SR {sr}: all I/O on {vdi} \
                 fails, and unwritten data is lost",
                device.client_address
            );
            let fix = "shut down the VM that uses it on this host (xe vm-shutdown force=true) and start it \
                       again, or reboot this host";
            let object = format!("device {}", device.device.display());
            let finding = table::FENCED_DEVICE.found(object, text, fix);
            finding.event(device.client_address.clone())
        }));
        found
    }

    /// This host's devices of the SR whose kernel client is on the blocklist.
    pub(crate) fn cut_off_devices(&self) -> Result<Vec<Mapped>> {
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
            log::warn!("SR {}: no alarm was raised {FENCED}: {e}", self.sr);
        }
    }

    fn try_alert_fenced(&self, host: &str) -> Result<()> {
        let entries = self.catalogue.read()?;
        let record = self.host_in(&entries, host);
        // Without a death, it has begun a new life.
        let found = record.and_then(|record| self.fenced(&entries, host, &record));
        found.map_or(Ok(()), |found| self.raise(vec![found]))
    }

    /// The finding that a host was declared dead, with the disks that other hosts may use.
    pub(crate) fn fenced(
        &self,
        entries: &Entries,
        host: &str,
        record: &HostRecord,
    ) -> Option<Finding> {
        let death = record.dead.as_ref()?;
        let names = names(entries);
        let (mut disks, mut addresses) = (Vec::new(), BTreeSet::new());
        for stored in records::<VdiRecord>(entries, VDI_PREFIX) {
            if let Some(claim) = stored.record.claim.filter(|c| c.owner.host == host) {
                disks.push(named(&names, &stored.record.uuid));
                addresses.extend(claim.addresses);
            }
        }
        let taken = match disks.as_slice() {
            [] => "it has no disk of the SR in use".to_owned(),
            disks => format!(
                "its kernel clients are cut off from the Ceph cluster before other hosts use its disks: {} on the \
                 blocklist; {}",
                join(&addresses),
                disks.join("; ")
            ),
        };
        let found = table::HOST_DECLARED_DEAD.found(
            format!("host {host}"),
            format!("it was declared dead ({}); {taken}", death.reason),
            "if that host still runs, its VMs get I/O errors: shut them down there, or reboot it",
        );
        let boot = record.boot_id.as_deref().unwrap_or_default();
        let event = format!("{host} {boot} life {}", record.life);
        Some(found.event(event).since(death.at))
    }

    fn raise(&self, findings: Vec<Finding>) -> Result<()> {
        let report = Report::event(self.sr, findings);
        self.host.alarm(&report).doing("raising an alarm in XAPI")
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
