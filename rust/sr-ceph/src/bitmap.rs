//! Which blocks of a disk have changed, as XAPI's clients read it.

/// The bytes of a disk that one bit stands for.
pub const BLOCK: u64 = 64 << 10;

/// The length in bytes is a multiple of this: Xen Orchestra reads a bitmap in words of 32 bits, and fails at an
/// incomplete one.
const WORD: u64 = 4;

/// One bit for each [`BLOCK`] of a disk: the first block is the highest bit of the first byte. A set bit means
/// that the block may have changed. The bits after the disk's end are 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bitmap {
    bits: Vec<u8>,
    blocks: u64,
}

impl Bitmap {
    /// No block of a disk of `size` bytes. Never has fewer bits than the disk has blocks.
    #[must_use]
    pub fn new(size: u64) -> Self {
        let blocks = size.div_ceil(BLOCK);
        let bytes = blocks.div_ceil(8).next_multiple_of(WORD);
        Bitmap {
            bits: vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)],
            blocks,
        }
    }

    /// Marks each block that has a byte in the `length` bytes at `offset`. What is beyond the disk's end is
    /// ignored.
    pub fn mark(&mut self, offset: u64, length: u64) {
        let first = offset / BLOCK;
        let end = offset.saturating_add(length).div_ceil(BLOCK);
        let end = end.min(self.blocks);
        if length == 0 || first >= end {
            return;
        }
        let last = end - 1;
        let (first_byte, last_byte) = (index(first), index(last));
        let (head, tail) = (0xff >> (first % 8), 0xff << (7 - last % 8));
        if first_byte == last_byte {
            self.bits[first_byte] |= head & tail;
            return;
        }
        self.bits[first_byte] |= head;
        self.bits[first_byte + 1..last_byte].fill(0xff);
        self.bits[last_byte] |= tail;
    }

    /// Marks what `part` has marked. The first block of `part` is at `offset`, a multiple of eight blocks. What
    /// is beyond the disk's end is ignored.
    pub fn merge(&mut self, part: &Bitmap, offset: u64) {
        let at = index(offset / BLOCK);
        let bits = self.bits.get_mut(at..).unwrap_or_default();
        for (bits, more) in bits.iter_mut().zip(&part.bits) {
            *bits |= more;
        }
        self.clear_end();
    }

    /// Whether the block with that byte is marked.
    #[must_use]
    pub fn is_marked(&self, offset: u64) -> bool {
        let block = offset / BLOCK;
        let byte = self.bits.get(index(block)).copied().unwrap_or(0);
        byte & (0x80 >> (block % 8)) != 0
    }

    /// How many blocks are marked.
    #[must_use]
    pub fn marked(&self) -> u64 {
        let ones = self.bits.iter().map(|byte| u64::from(byte.count_ones()));
        ones.sum()
    }

    /// The bytes that XAPI's clients get.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bits
    }

    fn clear_end(&mut self) {
        let end = index(self.blocks);
        if let Some(byte) = self.bits.get_mut(end) {
            *byte &= !(0xff >> (self.blocks % 8));
        }
        if let Some(rest) = self.bits.get_mut(end + 1..) {
            rest.fill(0);
        }
    }
}

/// The byte with the bit of a block.
fn index(block: u64) -> usize {
    usize::try_from(block / 8).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_bitmap_has_a_bit_for_each_block_and_whole_words() {
        for (size, bytes) in [
            (0, 0),
            (1, 4),
            (2 * MIB, 4),
            (2 * MIB + 1, 8),
            (5 * MIB, 12), // 80 blocks in 10 bytes
            (1 << 40, 2 << 20),
        ] {
            assert_eq!(Bitmap::new(size).into_bytes().len(), bytes, "{size} bytes");
        }
    }

    #[test]
    fn the_first_block_is_the_highest_bit_and_edges_are_rounded_outward() {
        let mut bitmap = Bitmap::new(2 * MIB);
        bitmap.mark(0, 1);
        bitmap.mark(9 * BLOCK - 1, 2);
        assert_eq!(bitmap.into_bytes(), [0b1000_0000, 0b1100_0000, 0, 0]);
    }

    #[test]
    fn nothing_beyond_the_end_is_marked() {
        let mut bitmap = Bitmap::new(3 * BLOCK);
        bitmap.mark(2 * BLOCK, u64::MAX);
        bitmap.mark(3 * BLOCK, 1);
        assert_eq!(bitmap.clone().into_bytes(), [0b0010_0000, 0, 0, 0]);
        let mut all = Bitmap::new(32 * BLOCK);
        all.mark(0, 32 * BLOCK);
        bitmap.merge(&all, 0);
        assert_eq!(bitmap.clone().into_bytes(), [0b1110_0000, 0, 0, 0]);
        bitmap.merge(&all, 1 << 40);
        assert_eq!(bitmap.marked(), 3);
    }

    proptest! {
        #[test]
        fn exactly_the_blocks_of_each_range_are_marked(
            size in 0..200 * BLOCK,
            ranges in prop::collection::vec((0..220 * BLOCK, 0..40 * BLOCK), 0..6),
            split in 0..25u64,
        ) {
            let touched = |block: u64| ranges.iter().any(|(offset, length)| {
                offset < &((block + 1) * BLOCK) && offset + length > block * BLOCK && *length > 0
            });
            let mut whole = Bitmap::new(size);
            ranges.iter().for_each(|(offset, length)| whole.mark(*offset, *length));
            let blocks = size.div_ceil(BLOCK);
            for block in 0..blocks + 40 {
                let expected = block < blocks && touched(block);
                prop_assert_eq!(whole.is_marked(block * BLOCK), expected, "block {}", block);
            }
            // The same in two parts.
            let at = split * 8 * BLOCK;
            let (mut first, mut second) = (Bitmap::new(at), Bitmap::new(size.saturating_sub(at)));
            for (offset, length) in &ranges {
                first.mark(*offset, *length);
                let end = (offset + length).saturating_sub(at);
                let start = offset.saturating_sub(at);
                second.mark(start, end.saturating_sub(start));
            }
            let mut merged = Bitmap::new(size);
            merged.merge(&first, 0);
            merged.merge(&second, at);
            prop_assert_eq!(merged, whole);
        }
    }
}
