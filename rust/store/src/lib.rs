//! What an SR and a VDI are, on a Ceph pool.
#![forbid(unsafe_code)]

pub mod device_config;
pub mod image_features;
pub mod usage;
