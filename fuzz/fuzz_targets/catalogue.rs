//! Values of the catalogue and of image-meta. A value that can be read is written, and read again unchanged.
#![no_main]

use std::fmt::Debug;

use sr_ceph::record::{
    HiddenRecord, HostRecord, ImageMeta, Intent, ReaderRecord, Record, SrRecord, TrashRecord,
    VdiRecord,
};

fn read<R: Record + Debug>(value: &[u8]) {
    match R::parse(value) {
        Ok(mut record) => {
            let sealed = record.seal();
            let again = R::parse(&sealed).expect("a record that was written is read");
            assert_eq!(format!("{record:?}"), format!("{again:?}"));
        }
        Err(reason) => {
            let _ = reason.to_string();
        }
    }
}

libfuzzer_sys::fuzz_target!(|value: &[u8]| {
    read::<SrRecord>(value);
    read::<VdiRecord>(value);
    read::<Intent>(value);
    read::<HostRecord>(value);
    read::<ReaderRecord>(value);
    read::<HiddenRecord>(value);
    read::<TrashRecord>(value);
    let _ = serde_json::from_slice::<ImageMeta>(value);
});
