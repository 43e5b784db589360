//! Which other clients have an image mapped: readers or writers.
//!
//! A kernel watches the header of an image that it maps for writing. Kernels before Linux 5.5 also watch it
//! if they map the image, or a snapshot of it, read-only. So a watch alone does not distinguish a backup,
//! which reads a snapshot, from a second writer. Two facts do:
//!
//! - a client that is on the blocklist cannot write;
//! - a host with such a kernel writes a note to the catalogue (key `reader.<image id>.<host>.<vdi>`) before
//!   it maps read-only, adds its kernel client's address after it, and erases the note after it has unmapped.
//!   Each note explains one watch.
//!
//! Any other watch of a kernel was made outside smblock, and may be a writer's. Watches of librbd (another
//! command, a backup tool, a monitoring tool) do not prove a second writer.

use crate::blocklist::is_cut_off;
use crate::catalogue::{reader_prefix, records_by_key, Catalogue, Stored};
use crate::error::{Context, ImageError, Result};
use crate::host::{Host, Mapped};
use crate::pool::{Entries, Pool, Transaction, Watcher};
use crate::record::{ReaderRecord, Record, VdiRecord};

/// This host's notes of what it reads, and the meaning of other hosts' notes.
#[derive(Clone, Copy)]
pub(crate) struct Readers<'a> {
    pub catalogue: Catalogue<'a>,
    pub pool: &'a dyn Pool,
    pub host: &'a dyn Host,
}

impl Readers<'_> {
    /// Refuses a disk that another kernel may write to.
    pub(crate) fn refuse_foreign_kernel(&self, record: &VdiRecord, mapped: &Mapped) -> Result<()> {
        let image = record.volume.image();
        let doing = format!("listing the watchers of image {}", image.name);
        let mut foreign = self.pool.watchers(&image.id).doing(&doing)?;
        foreign.retain(|w| w.is_kernel() && w.client_id != mapped.client_id);
        if foreign.is_empty() {
            return Ok(());
        }
        let own = self.host.mappings().doing("listing this host's devices")?;
        foreign.retain(|w| own.iter().all(|m| m.client_id != w.client_id));
        let cut_off = self.pool.blocklisted().doing("reading the blocklist")?;
        foreign.retain(|w| !is_cut_off(&cut_off, &w.address));
        let notes = self
            .pool
            .read(&self.catalogue.object(), &reader_prefix(&image.id));
        let notes = notes.doing(&format!(
            "reading the notes about readers of image {}",
            image.name
        ))?;
        match first_unexplained(&foreign, &notes, &image.id) {
            None => Ok(()),
            Some(watcher) => Err(ImageError::ForeignKernel {
                vdi: record.uuid,
                image: image.name.clone(),
                address: watcher.address.clone(),
            }
            .into()),
        }
    }

    fn note_key(&self, record: &VdiRecord) -> String {
        let prefix = reader_prefix(&record.volume.image().id);
        format!("{prefix}{}.{}", self.host.owner().host, record.uuid)
    }

    /// Notes that this host is about to map a VDI read-only, if its kernel watches what it reads.
    pub(crate) fn note_reader(&self, record: &VdiRecord) -> Result<Option<ReaderRecord>> {
        if !self.kernel_watches_readers()? {
            return Ok(None);
        }
        let mut note = ReaderRecord::new(self.host.owner().clone(), record.uuid);
        self.write_note(record, &mut note)?;
        Ok(Some(note))
    }

    /// Adds the address that the VDI was mapped with.
    pub(crate) fn complete_note(
        &self,
        record: &VdiRecord,
        note: &mut ReaderRecord,
        mapped: &Mapped,
    ) -> Result<()> {
        note.address = Some(mapped.client_address.clone());
        self.write_note(record, note)
    }

    fn write_note(&self, record: &VdiRecord, note: &mut ReaderRecord) -> Result<()> {
        let transaction = Transaction::default().put(self.note_key(record), note.seal());
        let doing = format!("noting that this host reads VDI {}", record.uuid);
        self.catalogue.commit(&doing, &transaction).map(drop)
    }

    /// Erases this host's note, after the VDI was unmapped.
    pub(crate) fn erase_note(&self, record: &VdiRecord) -> Result<()> {
        if !self.kernel_watches_readers()? {
            return Ok(());
        }
        let transaction = Transaction::default().erase(self.note_key(record));
        let doing = format!("noting that this host does not read VDI {}", record.uuid);
        self.catalogue.commit(&doing, &transaction).map(drop)
    }

    fn kernel_watches_readers(&self) -> Result<bool> {
        let watches = self.host.watches_readers();
        watches.doing("asking this host's kernel for its version")
    }

    /// Erases the notes of earlier boots of this host, and of commands that were killed, if what they name is
    /// not mapped here.
    pub(crate) fn erase_stale_notes(&self, entries: &Entries) -> Result<()> {
        let me = self.host.owner();
        let mappings = self.host.mappings().doing("listing this host's devices")?;
        let is_mapped = |key: &str, note: &ReaderRecord| {
            let label = note.vdi.to_string();
            let mut devices = mappings.iter().filter(|m| m.read_only);
            devices.any(|m| {
                key.starts_with(&reader_prefix(&m.key.image_id))
                    && m.label.as_ref().is_none_or(|own| *own == label)
            })
        };
        let mut transaction = Transaction::default();
        for (key, stored) in records_by_key::<ReaderRecord>(entries, "reader.") {
            let note = &stored.record;
            let earlier = note.owner.boot_id != me.boot_id;
            let killed = self.host.is_gone(&note.owner) && !is_mapped(key, note);
            if note.owner.host == me.host && (earlier || killed) {
                transaction = transaction
                    .expect(key.clone(), Some(&stored))
                    .erase(key.clone());
            }
        }
        if transaction.remove.is_empty() {
            return Ok(());
        }
        // If a note has changed meanwhile, a command of this host is running: the next one erases them.
        let doing = "erasing this host's notes of what it read before";
        self.catalogue.commit(doing, &transaction).map(drop)
    }
}

/// Returns the first watch that no note explains. A note without an address belongs to a map that is being
/// made: its address is not known yet.
fn first_unexplained<'w>(
    foreign: &'w [Watcher],
    notes: &Entries,
    image_id: &str,
) -> Option<&'w Watcher> {
    let prefix = reader_prefix(image_id);
    let notes = notes.iter().filter(|(key, _)| key.starts_with(&prefix));
    let mut addresses: Vec<Option<String>> = notes
        .filter_map(|(_, value)| Stored::<ReaderRecord>::parse(value.clone()).ok())
        .map(|note| note.record.address)
        .collect();
    let mut explain = |address: Option<&String>| {
        let found = addresses.iter().position(|noted| noted.as_ref() == address);
        found.map(|index| addresses.swap_remove(index)).is_some()
    };
    let left: Vec<&Watcher> = foreign
        .iter()
        .filter(|w| !explain(Some(&w.address)))
        .collect();
    left.into_iter().find(|_| !explain(None))
}
