//! Why a claim of another host counts.

/// Why a claim of another host counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
    /// The host replies that it uses the VDI.
    InUse,
    /// The host cannot be asked, and was not declared dead.
    Silent,
    /// The host is not a member of this pool. The claim was made in that pool, or in an unknown one.
    OtherPool(Option<String>),
    /// This kernel client of the claim watches the image.
    Watched(String),
}
