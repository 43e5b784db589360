//! The sentences about images that are taken over or not.

use std::path::Path;

use sr::engine::Remark;
use uuid::Uuid;

use crate::host::HostError;
use crate::image::older::OlderNames;
use crate::pool::SnapshotState;

/// Prefixes of the images of the driver RBDSR and of its later versions. Its disks are VHD or qcow2 files in an
/// image, or have their records elsewhere.
const OF_RBDSR: [&str; 7] = ["VHD-", "VHDX-", "RAW-", "QCOW2-", "QCOW-", "SNAP-", "SXM-"];

/// The spec of an image for `rbd`.
fn spec(pool: &str, name: &str) -> String {
    librbd::quoted(&format!("{pool}/{name}"))
}

/// Why an image is left alone. `None`: smblock has made it.
pub(super) fn left_alone(names: &OlderNames, name: &str, pool: &str) -> Option<Remark> {
    if name.starts_with("smblock.") {
        return None;
    }
    let (why, fix) = if names.lacks_uuid(name) {
        (
            "its name has no UUID; CephRBDSR does not list it either",
            String::new(),
        )
    } else if let Some(other) = OlderNames::of_image(name) {
        let other = match other.prefix() {
            "" => "''",
            prefix => prefix,
        };
        (
            "its name has another prefix: it belongs to another SR",
            format!("if it belongs to this SR, add: --prefix {other}"),
        )
    } else if OF_RBDSR.iter().any(|prefix| name.starts_with(prefix)) {
        (
            "its name is one of the driver RBDSR, whose formats smblock does not read",
            "copy the disk with 'xe vdi-copy' while that driver is installed".to_owned(),
        )
    } else {
        ("its name is not one of CephRBDSR", String::new())
    };
    Some(Remark::new(spec(pool, name), why, fix))
}

/// An image that the directory lists, and that cannot be opened.
pub(super) fn half_deleted(pool: &str, name: &str) -> Remark {
    let image = spec(pool, name);
    Remark::new(
        &image,
        "it is in the pool's directory and cannot be opened (ENOENT (2): No such file or directory): a deletion \
         has stopped, or its parent does not exist",
        format!("to finish the deletion: rbd rm {image}; to keep it: bring its parent back"),
    )
}

/// An image that a client has open.
pub(super) fn in_use(name: &str, address: &str) -> Remark {
    Remark::new(
        name,
        format!("client {address} has it open"),
        format!(
            "shut down the VM that uses it; on the host {} 'rbd showmapped' lists the device, and 'rbd unmap \
             DEVICE' removes it; a client that died disappears after 30 s",
            address.rsplit_once(':').map_or(address, |(ip, _)| ip)
        ),
    )
}

/// An image that this host has mapped.
pub(super) fn mapped_here(name: &str, device: &Path) -> Remark {
    let device = device.display();
    Remark::new(
        name,
        format!("this host has it mapped as {device}"),
        format!("shut down the VM that uses it; then: rbd unmap {device}"),
    )
}

/// A snapshot that is no VDI. CephRBDSR leaves one for each clone of a disk that has failed.
pub(super) fn no_vdi(pool: &str, image: &str, snapshot: &SnapshotState) -> Remark {
    let found = librbd::quoted(&format!("{pool}/{image}@{}", snapshot.name));
    Remark::new(
        &found,
        "this snapshot is no VDI. It stays, and keeps the space of the disk if the disk is destroyed",
        format!("if nothing needs it: rbd snap unprotect {found}; rbd snap rm {found}"),
    )
}

/// An image whose parent is in another pool or namespace.
pub(super) fn foreign_parent(image: &str, parent: &str) -> Remark {
    Remark::new(
        image,
        format!("its parent (image id {parent}) is in another pool or namespace; the parents of that image are not counted"),
        "",
    )
}

/// An image with more parents than a kernel maps.
pub(super) fn long_chain(pool: &str, image: &str, parents: u32) -> Remark {
    Remark::new(
        image,
        format!("it has {parents} parents, and a kernel maps at most 16"),
        format!("after the adoption: rbd flatten {}", spec(pool, image)),
    )
}

/// An image with features that this host's kernel cannot map.
pub(super) fn unmappable(
    pool: &str,
    image: &str,
    lacking: &hostdev::ImageFeatures,
) -> Option<Remark> {
    if lacking.is_empty() {
        return None;
    }
    Some(Remark::new(
        image,
        format!("it has features that the kernel of this host cannot map: {lacking}"),
        format!("rbd feature disable {} {lacking}", spec(pool, image)),
    ))
}

/// A kernel that does not report its features.
pub(super) fn unknown_kernel(error: &HostError) -> Remark {
    Remark::new(
        "this host",
        format!("its kernel cannot be asked for its RBD features: {error}"),
        "",
    )
}

/// Two images, or snapshots, of one VDI.
pub(super) fn duplicate(vdi: &Uuid, name: &str) -> Remark {
    Remark::new(
        name,
        format!("another image or snapshot has the UUID {vdi} in its name, too"),
        "rename one of the two with 'rbd rename' or 'rbd snap rename', after comparing what they hold",
    )
}

/// A VDI that the SR's catalogue has already.
pub(super) fn recorded(vdi: &Uuid, name: &str) -> Remark {
    Remark::new(
        name,
        format!("the SR already has a VDI {vdi}, with another image"),
        "compare the two; then rename or remove this image with 'rbd rename' or 'rbd rm'",
    )
}

/// Hosts that may still have CephRBDSR.
pub(super) fn without_smblock(hosts: &str) -> Remark {
    Remark::new(
        format!("host(s) {hosts}"),
        "smblock does not reply there. A scan of CephRBDSR on such a host finds no disk any more, and XAPI then \
         forgets all VDIs of the SR",
        "install smblock there: ./install.sh --replace-driver --restart; for a host that is off: \
         xe pbd-destroy uuid=PBD",
    )
}

/// A VDI that XAPI has in another SR.
pub(super) fn elsewhere(name: &str, vdi: &Uuid, sr: &Uuid) -> Remark {
    Remark::new(
        name,
        format!("XAPI has the VDI {vdi} in SR {sr}, and a VDI can be in one SR only"),
        format!("adopt that SR instead: smblock adopt {sr}"),
    )
}

/// A VDI of XAPI without an image.
pub(super) fn without_image(vdi: &Uuid, name: &str) -> Remark {
    Remark::new(
        format!("VDI {vdi} ({name})"),
        "XAPI has it, and the pool has no image or snapshot of it: the first scan makes XAPI forget it",
        "",
    )
}

/// A VDI with another size in XAPI.
pub(super) fn other_size(vdi: &Uuid, xapi: u64, image: u64) -> Remark {
    Remark::new(
        format!("VDI {vdi}"),
        format!("XAPI has {xapi} bytes, the image {image}: the image's size counts"),
        "",
    )
}

/// A pool without an image to take over.
pub(super) fn nothing(pool: &str, names: &OlderNames) -> Remark {
    Remark::new(
        format!("pool {pool}"),
        format!("it has no image named {}vdi-UUID", names.prefix()),
        "check the pool and the prefix of the device-config with 'xe pbd-list params=device-config'",
    )
}
