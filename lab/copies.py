"""Unplugged disks with data, and VMs that have them: for tests of snapshots, clones and reverts."""

from __future__ import annotations

import random
import struct
from typing import Any

from lab import run, wait_for
from lab.cephrbd import CephSr
from lab.disk import MIB, Disk

SIZE = 8 * MIB
NULL = "OpaqueRef:NULL"


def content(seed: int) -> bytes:
    """Data for a disk, different for each `seed`."""
    return random.Random(seed).randbytes(SIZE)


def write(disk: Disk, data: bytes) -> None:
    """Write to the beginning of a disk's image, as a VM would."""
    image = f"{disk.sr.pool.spec}/{disk.record()['volume']['image']['name']}"
    diff = b"rbd diff v1\nw" + struct.pack("<QQ", 0, len(data)) + data + b"e"
    run(["rbd", "--conf", disk.sr.lab.ceph.conf, "import-diff", "--no-progress", "-", image], timeout=60, input=diff)


def disk_with(sr: CephSr, data: bytes, name: str = "disk") -> Disk:
    """A new disk with `data`."""
    disk = Disk(sr, sr.create_vdi(name, str(SIZE)))
    write(disk, data)
    return disk


def row(disk: Disk) -> dict[str, Any]:
    """XAPI's record of a VDI, with `snapshot_of` as a uuid or None."""
    with disk.sr.lab.xapi.session() as session:
        record = dict(session.VDI.get_record(session.VDI.get_by_uuid(disk.uuid)))
        of = record["snapshot_of"]
        record["snapshot_of"] = None if of == NULL else session.VDI.get_uuid(of)
    return record


def require_update_changes_nothing(vdi: Disk) -> None:
    """`Qt.VDI.test_update` of xapi's quicktest."""
    before = row(vdi)
    vdi.sr.lab.xe("vdi-update", f"uuid={vdi.uuid}")
    assert row(vdi) == before


def vm_with(disk: Disk) -> str:
    """Create a halted VM with the disk. Returns its uuid."""
    vm = disk.sr.lab.xe("vm-create", "name-label=guest")
    disk.attach_to(vm)
    return vm


def disk_of(vm: str, sr: CephSr) -> Disk:
    """The one disk of a VM."""
    return Disk(sr, sr.lab.xe("vbd-list", f"vm-uuid={vm}", "params=vdi-uuid", "--minimal"))


def snapshot_vm(vm: str, sr: CephSr) -> tuple[str, Disk]:
    """`xe vm-snapshot`: the snapshot's uuid, and that of its disk."""
    snapshot = sr.lab.xe("vm-snapshot", f"uuid={vm}", "new-name-label=before")
    return snapshot, disk_of(snapshot, sr)


def revert_vm(snapshot: str, sr: CephSr) -> None:
    sr.lab.xe("snapshot-revert", f"snapshot-uuid={snapshot}")


def require_nothing_left(sr: CephSr, seconds: float = 60) -> None:
    """Wait until the cluster has freed all deleted images; fail if anything else is left."""

    def is_empty() -> bool:
        sr.scan()
        images = [image for image in sr.pool.images() if sr.uuid in image]
        return not images and sr.uuid not in sr.pool.trash() and sr.catalogue_keys() == {"sr"}

    assert sr.vdis() == set()
    wait_for(is_empty, "the SR's last image to be freed", seconds=seconds)
