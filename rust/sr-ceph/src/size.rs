//! Sizes in texts.

use std::fmt;

/// A size in bytes, shown in GiB, or in MiB below that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes % GIB == 0 && bytes > 0 => write!(f, "{} GiB", bytes / GIB),
            bytes if bytes >= GIB => {
                // Rounded down to thousandths, which are about a MiB: the text is never more than the size.
                let thousandths = (bytes % GIB) * 1000 / GIB;
                let digits = format!("{thousandths:03}");
                let digits = digits.trim_end_matches('0');
                let point = if digits.is_empty() { "" } else { "." };
                write!(f, "{}{point}{digits} GiB", bytes / GIB)
            }
            bytes if bytes >= MIB || bytes == 0 => write!(f, "{} MiB", bytes / MIB),
            bytes => write!(f, "{bytes} bytes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_shown_in_a_readable_unit() {
        for (bytes, text) in [
            (0, "0 MiB"),
            (512, "512 bytes"),
            (16 * MIB, "16 MiB"),
            (GIB - 1, "1023 MiB"),
            (GIB, "1 GiB"),
            (GIB + 512 * MIB, "1.5 GiB"),
            (GIB + MIB, "1 GiB"),
            (2 * GIB + 2 * MIB, "2.001 GiB"),
            (100 * 1024 * GIB, "102400 GiB"),
        ] {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }
}
