//! The values that split the data of new images into objects. What librbd or a kernel would refuse later is
//! refused here.

use sr::device_config::Problem;

use crate::image_format::{Layout, Stripes};

/// librbd makes objects of these sizes.
const OBJECT_SIZES: std::ops::RangeInclusive<u64> = 4 << 10..=32 << 20;

/// The smallest stripe: a kernel reads and writes pages.
const MIN_UNIT: u64 = 4 << 10;

/// The kernel has the size of all objects that are written round robin in 32 bits, and makes it the limit and the
/// preferred size of a request.
const MAX_OBJECT_SET: u64 = 1 << 30;

fn problem<T>(text: &str) -> Result<T, Problem> {
    Err(Problem::Meaning(text.to_owned()))
}

/// A number of bytes: `65536`, `64K`, `64KiB`, `4M` or `4MiB`.
fn bytes(value: &str) -> Option<u64> {
    let digits = value.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match &value[digits.len()..] {
        "" | "B" => 0,
        "K" | "KiB" => 10,
        "M" | "MiB" => 20,
        _ => return None,
    };
    // `parse` would also take a plus sign.
    if !digits.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

pub(super) fn object_size(value: &str) -> Result<u64, Problem> {
    match bytes(value) {
        Some(size) if size.is_power_of_two() && OBJECT_SIZES.contains(&size) => Ok(size),
        _ => problem("give a power of two from 4KiB to 32MiB, as 8MiB or in bytes"),
    }
}

pub(super) fn stripe_unit(value: &str, object_size: u64) -> Result<u64, Problem> {
    match bytes(value) {
        Some(unit) if unit >= MIN_UNIT && object_size.is_multiple_of(unit) => Ok(unit),
        _ => problem(&format!(
            "give a size from 4KiB that divides object_size ({object_size} bytes), as 64KiB or in bytes"
        )),
    }
}

pub(super) fn stripe_count(value: &str, object_size: u64) -> Result<u64, Problem> {
    let max = MAX_OBJECT_SET / object_size;
    match value.parse() {
        Ok(count) if (1..=max).contains(&count) => Ok(count),
        _ => problem(&format!("give a number from 1 to {max}")),
    }
}

/// The layout of these values. A single stripe is none.
///
/// # Errors
/// The key that lacks the other one, and why.
pub(super) fn layout(
    object_size: u64,
    unit: Option<u64>,
    count: Option<u64>,
) -> Result<Layout, (&'static str, Problem)> {
    let lacks = |key, other: &str| {
        let text = format!("it needs device-config:{other}; give both, or none of them");
        Err((key, Problem::Meaning(text)))
    };
    let stripes = match (unit, count) {
        (None, None) | (Some(_), Some(1)) => None,
        (Some(unit), Some(count)) => Some(Stripes { unit, count }),
        (Some(_), None) => return lacks("stripe_unit", "stripe_count"),
        (None, Some(_)) => return lacks("stripe_count", "stripe_unit"),
    };
    Ok(Layout {
        object_size,
        stripes,
    })
}
