//! One copy of a volume on disk: `region.json` as Crucible has it, and files of the simulator's own:
//! `data` (sparse), `written` (a byte for each block, not 0 once that was written), `keys` (sparse; eight
//! bytes for each block, which identify the key that it was written with), `version.json`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Largest file of an extent that Crucible makes, in bytes.
const MAX_EXTENT_BYTES: u64 = 512 << 20;
const IMPORT_PIECE: u64 = 4 << 20;
/// The error for a block that was written with another key than the server's.
pub const DECRYPTION_FAILED: &str = "decryption failed";

/// A number of blocks, and the size of one as a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocks {
    /// How many.
    pub value: u64,
    /// 9 for 512 bytes, 12 for 4096.
    pub shift: u32,
}

/// The definition of a region: the content of `region.json` and the reply to `/region-info`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// In bytes.
    pub block_size: u64,
    /// Of each extent.
    pub extent_size: Blocks,
    /// How many extents.
    pub extent_count: u32,
    /// Of this copy.
    pub uuid: Uuid,
    /// Whether servers need a key.
    pub encrypted: bool,
    /// Always 1.
    pub database_read_version: usize,
    /// Always 1.
    pub database_write_version: usize,
}

impl Definition {
    /// Of the whole region, in bytes.
    pub fn size(&self) -> u64 {
        self.block_size * self.extent_size.value * u64::from(self.extent_count)
    }
}

/// The last flush of a region.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Version {
    /// The generation of the last flush of something.
    pub generation: u64,
    /// The number of that flush.
    pub flush: u64,
    /// Whether something was written since.
    pub dirty: bool,
    /// Identifies the key of the written blocks.
    pub key: Option<u64>,
}

/// An open region.
#[derive(Debug)]
pub struct Region {
    directory: PathBuf,
    definition: Definition,
    version: Version,
    data: File,
    written: File,
    keys: File,
}

/// Size on disk of the identification of a block's key, in bytes.
const MARK: u64 = 8;

impl Region {
    /// Create a region; it must not exist yet.
    pub fn create(directory: &Path, definition: Definition) -> io::Result<Self> {
        let block = definition.block_size;
        if !block.is_power_of_two() || !(512..=32768).contains(&block) {
            return Err(io::Error::other(format!("{block} is not a block size")));
        }
        let extent = block.saturating_mul(definition.extent_size.value);
        if extent == 0 || extent > MAX_EXTENT_BYTES {
            return Err(io::Error::other(format!(
                "extents of {extent} bytes: from {block} to {MAX_EXTENT_BYTES} can be"
            )));
        }
        let file = directory.join("region.json");
        if file.exists() {
            return Err(io::Error::new(
                ErrorKind::AlreadyExists,
                format!("Config file already exists {file:?}"),
            ));
        }
        fs::create_dir_all(directory)?;
        File::create(directory.join("data"))?.set_len(definition.size())?;
        File::create(directory.join("written"))?.set_len(definition.size() / block)?;
        File::create(directory.join("keys"))?.set_len(definition.size() / block * MARK)?;
        replace(&directory.join("version.json"), &Version::default())?;
        replace(&file, &definition)?;
        Self::open(directory)
    }

    /// Open an existing region.
    pub fn open(directory: &Path) -> io::Result<Self> {
        Ok(Self {
            definition: parse(&directory.join("region.json"))?,
            version: parse(&directory.join("version.json"))?,
            data: open(&directory.join("data"))?,
            written: open(&directory.join("written"))?,
            keys: open(&directory.join("keys"))?,
            directory: directory.to_owned(),
        })
    }

    /// Its definition.
    pub fn definition(&self) -> &Definition {
        &self.definition
    }

    /// Its last flush.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// Reads `length` bytes at `offset`.  An error if one of their blocks was written with another key.
    /// Blocks that were never written have no key, as measured on Crucible.
    pub fn read(&self, offset: u64, length: usize, key: Option<u64>) -> io::Result<Vec<u8>> {
        if let Some(own) = key {
            let written = self.written(offset, length)?;
            let marks = self.marks(offset, written.len())?;
            let mut blocks = written.into_iter().zip(marks);
            if blocks.any(|(written, mark)| written && mark != own) {
                return Err(io::Error::other(DECRYPTION_FAILED));
            }
        }
        let mut bytes = vec![0; length];
        self.data.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// The key of each written block, for a number of blocks from an offset.
    fn marks(&self, offset: u64, blocks: usize) -> io::Result<Vec<u64>> {
        let mut marks = vec![0; blocks * MARK as usize];
        let start = offset / self.definition.block_size * MARK;
        self.keys.read_exact_at(&mut marks, start)?;
        let marks = marks.chunks_exact(MARK as usize);
        Ok(marks
            .map(|mark| mark.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
            .collect())
    }

    /// For each of these blocks whether it was ever written; offset and length in bytes.
    pub fn written(&self, offset: u64, length: usize) -> io::Result<Vec<bool>> {
        let block = self.definition.block_size;
        let mut flags = vec![0; (length as u64).div_ceil(block) as usize];
        self.written.read_exact_at(&mut flags, offset / block)?;
        Ok(flags.into_iter().map(|flag| flag != 0).collect())
    }

    /// Fill a new region with a file's content, and the rest of its last block with zeros.
    pub fn import(&mut self, file: &Path) -> io::Result<()> {
        let mut file = File::open(file)?;
        let mut offset = 0;
        loop {
            let mut piece = Vec::new();
            Read::by_ref(&mut file)
                .take(IMPORT_PIECE)
                .read_to_end(&mut piece)?;
            if piece.is_empty() {
                return self.flush(0, 1);
            }
            piece.resize(
                piece
                    .len()
                    .next_multiple_of(self.definition.block_size as usize),
                0,
            );
            self.write(offset, &piece, None)?;
            offset += piece.len() as u64;
        }
    }

    /// Write; after a flush it also survives a crash of the host.
    pub fn write(&mut self, offset: u64, bytes: &[u8], key: Option<u64>) -> io::Result<()> {
        if offset.saturating_add(bytes.len() as u64) > self.definition.size() {
            return Err(io::Error::other("beyond the region's end"));
        }
        if !self.version.dirty || self.version.key != key {
            self.version.dirty = true;
            self.version.key = key;
            self.save_version()?;
        }
        let block = self.definition.block_size;
        let blocks = (bytes.len() as u64).div_ceil(block) as usize;
        let old = self.written(offset, bytes.len())?;
        // Zeros that are written first need no space.
        if old.contains(&true) || bytes.iter().any(|byte| *byte != 0) {
            self.data.write_all_at(bytes, offset)?;
        }
        if let Some(key) = key {
            let marks = key.to_be_bytes().repeat(blocks);
            self.keys.write_all_at(&marks, offset / block * MARK)?;
        }
        self.written.write_all_at(&vec![1; blocks], offset / block)
    }

    /// Flush; stores the generation only if anything was written before.
    pub fn flush(&mut self, generation: u64, flush: u64) -> io::Result<()> {
        if !self.version.dirty {
            return Ok(());
        }
        self.data.sync_data()?;
        self.written.sync_data()?;
        self.version.generation = generation;
        self.version.flush = flush;
        self.version.dirty = false;
        self.save_version()
    }

    /// The written ranges: (offset, length), in bytes.
    pub fn allocated(&self) -> io::Result<Vec<(u64, u64)>> {
        let block = self.definition.block_size;
        let flags = self.written(0, self.definition.size() as usize)?;
        let mut at = 0;
        let runs = flags.chunk_by(|one, next| one == next).map(|run| {
            let (start, length) = (at, run.len() as u64 * block);
            at += length;
            (run[0], start, length)
        });
        Ok(runs
            .filter(|(written, ..)| *written)
            .map(|(_, start, length)| (start, length))
            .collect())
    }

    /// Set the flush number to that of the region that was copied.
    pub fn adopt(&mut self, version: Version) -> io::Result<()> {
        self.data.sync_data()?;
        self.version = version;
        self.save_version()
    }

    fn save_version(&self) -> io::Result<()> {
        replace(&self.directory.join("version.json"), &self.version)
    }
}

fn open(file: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(file)
}

fn parse<T: serde::de::DeserializeOwned>(file: &Path) -> io::Result<T> {
    let text =
        fs::read(file).map_err(|error| io::Error::other(format!("{}: {error}", file.display())))?;
    serde_json::from_slice(&text)
        .map_err(|error| io::Error::other(format!("{}: {error}", file.display())))
}

fn replace(file: &Path, content: &impl Serialize) -> io::Result<()> {
    let new = file.with_extension("new");
    fs::write(&new, serde_json::to_vec_pretty(content)?)?;
    fs::rename(new, file)
}
