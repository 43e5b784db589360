//! How new images are split into objects.

use sr_ceph::image_features::ImageFeatures;
use sr_ceph::image_format::{Layout, Stripes};

use super::{parse, refusal};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

fn layout(pairs: &[(&str, &str)]) -> Layout {
    parse(pairs).unwrap().image_format().layout
}

#[test]
fn sizes_have_units_or_are_in_bytes() {
    for (value, size) in [
        ("4KiB", 4 * KIB),
        ("65536", 64 * KIB),
        ("65536B", 64 * KIB),
        ("64K", 64 * KIB),
        ("8M", 8 * MIB),
        ("32MiB", 32 * MIB),
    ] {
        let found = layout(&[("object_size", value)]);
        assert_eq!((found.object_size, found.stripes), (size, None), "{value}");
    }
}

#[test]
fn stripes_divide_an_object_and_need_the_feature_of_kernels() {
    let pairs = [
        ("stripe_unit", "64KiB"),
        ("stripe_count", "16"),
        ("object_size", "8MiB"),
    ];
    let format = parse(&pairs).unwrap().image_format();
    let stripes = Stripes {
        unit: 64 * KIB,
        count: 16,
    };
    assert_eq!(format.layout.stripes, Some(stripes));
    assert_eq!(format.features, ImageFeatures::DEFAULT);
    let needed = format.needed_features().minus(format.features);
    assert_eq!(needed, ImageFeatures::STRIPING);
    // One object after the other has no stripes.
    let one = [("stripe_unit", "64KiB"), ("stripe_count", "1")];
    assert_eq!(layout(&one), Layout::DEFAULT);
    assert_eq!(layout(&[]), Layout::DEFAULT);
}

#[test]
fn a_layout_that_librbd_or_a_kernel_refuses_is_refused_with_its_limits() {
    for (pairs, text) in [
        (
            &[("object_size", "3MiB")][..],
            "power of two from 4KiB to 32MiB",
        ),
        (
            &[("object_size", "2KiB")],
            "power of two from 4KiB to 32MiB",
        ),
        (
            &[("object_size", "64MiB")],
            "power of two from 4KiB to 32MiB",
        ),
        (&[("object_size", "0")], "power of two"),
        (&[("object_size", "+4096")], "power of two"),
        (&[("object_size", "18446744073709551615M")], "power of two"),
        (&[("object_size", "4 MiB")], "power of two"),
        (&[("object_size", "")], "power of two"),
        (
            &[("stripe_unit", "64KiB")],
            "it needs device-config:stripe_count",
        ),
        (
            &[("stripe_count", "4")],
            "it needs device-config:stripe_unit",
        ),
        (
            &[("stripe_unit", "3MiB"), ("stripe_count", "4")],
            "divides object_size (4194304 bytes)",
        ),
        (
            &[("stripe_unit", "8MiB"), ("stripe_count", "4")],
            "divides object_size",
        ),
        (
            &[("stripe_unit", "512"), ("stripe_count", "4")],
            "a size from 4KiB",
        ),
        (
            &[("stripe_unit", "0"), ("stripe_count", "4")],
            "a size from 4KiB",
        ),
        (
            &[("stripe_unit", "64KiB"), ("stripe_count", "0")],
            "a number from 1 to 256",
        ),
        (
            &[
                ("object_size", "32MiB"),
                ("stripe_unit", "64KiB"),
                ("stripe_count", "33"),
            ],
            "a number from 1 to 32",
        ),
    ] {
        let error = refusal(pairs);
        let found = error.to_string();
        assert!(found.contains(text), "{pairs:?}: {found}");
        assert!(found.starts_with("device-config:"), "{found}");
    }
}
