//! Steps that several operations share. Each operation states in its own plan why it may be stopped between
//! them.

pub(crate) mod birth;
pub(crate) mod disposal;
pub(crate) mod new_image;
pub(crate) mod new_snapshot;
pub(crate) mod replace_image;
mod reset_point;
