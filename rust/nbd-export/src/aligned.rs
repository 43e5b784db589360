//! Buffers for I/O past the page cache.

/// The most that a kernel wants of a buffer's address, in bytes. A buffer takes as much besides its data.
pub const ALIGNMENT: usize = 4096;

/// Bytes whose address is a multiple of 4096.
#[derive(Debug)]
pub struct Aligned {
    bytes: Vec<u8>,
    start: usize,
    length: usize,
}

impl Aligned {
    /// Returns that many zeros.
    #[must_use]
    pub fn new(length: usize) -> Self {
        let bytes = vec![0; length + ALIGNMENT - 1];
        let start = bytes.as_ptr().align_offset(ALIGNMENT);
        Self {
            bytes,
            start,
            length,
        }
    }

    /// Returns whether the kernel takes this buffer.
    #[must_use]
    pub fn is_aligned(data: &[u8]) -> bool {
        data.as_ptr().align_offset(ALIGNMENT) == 0
    }

    /// Keeps a part.
    pub fn narrow(&mut self, start: usize, length: usize) {
        self.start += start;
        self.length = length;
    }

    /// Returns the bytes.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.length]
    }

    /// Returns the bytes, to be filled.
    pub fn all(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.length]
    }
}
