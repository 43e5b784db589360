//! This host's block devices.
