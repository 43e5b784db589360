//! The whole blocks that a request touches.

/// From `start` to `end`, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The first block's first byte.
    pub start: u64,
    /// The first byte after the last block.
    pub end: u64,
    /// Size of a block.
    pub block: u64,
}

impl Span {
    /// The length in bytes.
    pub fn length(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// Copy the data of these blocks into a request's `bytes`, which begin at `offset`.
    ///
    /// A block that was never written leaves `bytes` unchanged, or writes zeros if `bytes` has only a part of it.
    pub fn copy(&self, read: &[u8], written: &[bool], offset: u64, bytes: &mut [u8]) {
        let request_end = offset + bytes.len() as u64;
        for (index, written) in written.iter().enumerate() {
            let start = self.start + index as u64 * self.block;
            let from = start.max(offset);
            let to = (start + self.block).min(request_end);
            let into = &mut bytes[(from - offset) as usize..(to - offset) as usize];
            if *written {
                into.copy_from_slice(
                    &read[(from - self.start) as usize..(to - self.start) as usize],
                );
            } else if to - from < self.block {
                into.fill(0);
            }
        }
    }
}
