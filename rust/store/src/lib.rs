//! What an SR and a VDI are, on a Ceph pool.
#![forbid(unsafe_code)]
