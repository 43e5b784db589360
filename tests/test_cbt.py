"""Changed-block tracking through `xe` and SM, on a real Ceph: backups as Xen Orchestra makes them, the list of xapi's
quicktest, and what is refused.
"""

from __future__ import annotations

import base64
import random
import struct
from typing import Any

import pytest

from lab import run
from lab.backup import Backup
from lab.cephrbd import CephSr
from lab.copies import (
    content,
    disk_of,
    disk_with,
    require_nothing_left,
    require_update_changes_nothing,
    revert_vm,
    row,
    snapshot_vm,
    vm_with,
)
from lab.disk import MIB, Disk
from lab.nbd import unplugged
from lab.sr import fist_point
from lab.xapi import ApiError
from lab.xapi.lab_pool import XeError

KIB = 1 << 10
# SM's fault for changes that cannot be listed.
NOT_LISTED = "SR_BACKEND_FAILURE_460"


def change(disk: Disk, *extents: tuple[int, bytes | int]) -> None:
    """Write data at offsets of a disk's image, as its VM would; a number is a length to discard."""
    diff = b"rbd diff v1\n"
    for offset, data in extents:
        if isinstance(data, int):
            diff += b"z" + struct.pack("<QQ", offset, data)
        else:
            diff += b"w" + struct.pack("<QQ", offset, len(data)) + data
    image = f"{disk.sr.pool.name}/{disk.record()['volume']['image']['name']}"
    argv = ["rbd", "--conf", str(disk.sr.lab.ceph.conf), "import-diff", "--no-progress", "-", image]
    run(argv, timeout=60, input=diff + b"e")


def tracked(sr: CephSr, size: int = 8 * MIB) -> Disk:
    """A new disk whose changes are tracked."""
    disk = Disk.create(sr, size)
    sr.lab.xe("vdi-enable-cbt", f"uuid={disk.uuid}")
    return disk


def changed(first: Disk, second: Disk) -> set[int]:
    """The numbers of the marked blocks of 64 KiB."""
    reply = first.sr.lab.xe("vdi-list-changed-blocks", f"vdi-from-uuid={first.uuid}", f"vdi-to-uuid={second.uuid}")
    bitmap = base64.b64decode(reply)
    assert len(bitmap) % 4 == 0
    return {number for number in range(len(bitmap) * 8) if bitmap[number // 8] & (0x80 >> number % 8)}


def refusal(disk: Disk, call: str, *args: Any) -> ApiError:
    """The error of a call of the XenAPI about a disk."""
    with disk.sr.lab.xapi.session() as session, pytest.raises(ApiError) as refused:
        session.call(f"VDI.{call}", session.VDI.get_by_uuid(disk.uuid), *args)
    return refused.value


def not_listed(first: Disk, second: Disk) -> str:
    """Why the changes between two VDIs cannot be listed."""
    with first.sr.lab.xapi.session() as session:
        error = refusal(first, "list_changed_blocks", session.VDI.get_by_uuid(second.uuid))
    assert error.code == NOT_LISTED, error
    return str(error)


# Backups, whose blocks are read over NBD. test_cbt_plugged.py has the same with a kernel


def test_nights_of_backups_as_xen_orchestra_makes_them_are_exact(own_sr: CephSr) -> None:
    sr, rng = own_sr, random.Random(7)
    disk = disk_with(sr, content(1))
    vm = vm_with(disk)
    backup = Backup(vm, unplugged)
    assert backup.run(disk).is_full
    assert backup.run(disk).read == 0

    change(disk, (3 * MIB + 512, rng.randbytes(512)), (5 * MIB, 64 * KIB))
    night = backup.run(disk)
    assert (night.is_full, night.read) == (False, 4 * MIB)

    # The user's own snapshot, changes, and a revert: xapi destroys the disk and clones the snapshot.
    snapshot, held = snapshot_vm(vm, sr)
    change(disk, (0, rng.randbytes(MIB)), (6 * MIB, 2 * MIB))
    assert backup.run(disk).read == 4 * MIB
    revert_vm(snapshot, sr)
    disk = disk_of(vm, sr)
    sr.lab.xe("vm-destroy", f"uuid={snapshot}")
    held.destroy()
    sr.scan()
    change(disk, (2 * MIB, 4096), (7 * MIB, rng.randbytes(4096)))
    night = backup.run(disk)
    assert (night.is_full, night.read) == (False, 6 * MIB)

    sr.lab.xe("vdi-resize", f"uuid={disk.uuid}", f"disk-size={12 * MIB}")
    assert backup.run(disk).read == 0
    change(disk, (11 * MIB, rng.randbytes(512)))
    assert 2 * MIB <= backup.run(disk).read <= 4 * MIB

    # A disk of 13 MiB has 208 blocks in 26 bytes: the bitmap has 28.
    image = f"{sr.pool.name}/{disk.record()['volume']['image']['name']}"
    sr.lab.ceph.rbd("resize", "--no-progress", "--size", "13M", image)
    sr.scan()
    change(disk, (13 * MIB - 512, rng.randbytes(512)))
    night = backup.run(disk)
    assert (night.size, night.is_full) == (13 * MIB, False)

    assert backup.base is not None
    backup.base.destroy()
    sr.lab.xe("vm-destroy", f"uuid={vm}")
    disk.destroy()
    require_nothing_left(sr)


def test_a_revert_by_xapi_keeps_the_backup_incremental(own_sr: CephSr, xapi_that_reverts: None) -> None:
    sr = own_sr
    disk = disk_with(sr, content(1))
    vm = vm_with(disk)
    backup = Backup(vm, unplugged)
    backup.run(disk)
    snapshot = disk.snapshot()
    change(disk, (0, content(2)[: 4 * MIB]))
    backup.run(disk)
    with sr.lab.xapi.session() as session:
        session.VDI.revert(session.VDI.get_by_uuid(snapshot.uuid))
    snapshot.destroy()
    assert row(disk)["cbt_enabled"]
    change(disk, (6 * MIB, 4096))
    night = backup.run(disk)
    assert (night.is_full, night.read) == (False, 6 * MIB)
    # The snapshots that connect both images are removed with the last snapshot of the older one.
    sr.scan()
    assert not [key for key in sr.catalogue_keys() if key.startswith("lineage.")]
    assert backup.base is not None
    backup.base.destroy()
    sr.lab.xe("vm-destroy", f"uuid={vm}")
    disk.destroy()
    require_nothing_left(sr)


# quicktest_cbt.ml of xen-api


def test_the_fields_that_quicktest_checks_are_set(own_sr: CephSr) -> None:
    """vdi_data_destroy_test"""
    sr = own_sr
    disk = tracked(sr)
    assert row(disk)["cbt_enabled"]
    snapshot = disk.snapshot()
    assert row(snapshot)["cbt_enabled"]
    for vdi in (snapshot, disk):
        require_update_changes_nothing(vdi)
    sr.lab.xe("vdi-disable-cbt", f"uuid={disk.uuid}")
    assert not row(disk)["cbt_enabled"]
    require_update_changes_nothing(disk)
    untracked = disk.snapshot()
    assert not row(untracked)["cbt_enabled"]
    for vdi in (untracked, disk):
        require_update_changes_nothing(vdi)
    sr.lab.xe("vdi-data-destroy", f"uuid={snapshot.uuid}")
    said = row(snapshot)
    assert (said["type"], said["cbt_enabled"]) == ("cbt_metadata", True)
    assert said["other_config"]["content_id"] == "/No content: this is a cbt_metadata VDI/"
    for vdi in (snapshot, untracked, disk):
        vdi.destroy()
    require_nothing_left(sr)


def test_clones_are_not_tracked(shared_sr: CephSr) -> None:
    """vdi_clone_copy_test without the copies, which need a kernel: test_cbt_plugged.py has all of it."""
    disk = tracked(shared_sr)
    clones = [disk.clone(), disk.snapshot().clone()]
    assert [row(vdi)["cbt_enabled"] for vdi in (disk, *clones)] == [True, False, False]
    for vdi in (disk, *clones):
        require_update_changes_nothing(vdi)
    shared_sr.scan()
    assert [row(vdi)["cbt_enabled"] for vdi in (disk, *clones)] == [True, False, False]


# What is listed, and what is refused


def test_exactly_the_changed_blocks_are_listed_in_both_directions(shared_sr: CephSr) -> None:
    disk = tracked(shared_sr)
    change(disk, (0, content(1)))
    first = disk.snapshot()
    change(disk, (64 * KIB - 1, b"xx"), (MIB, 64 * KIB), (8 * MIB - 512, bytes(512)))
    second = disk.snapshot()
    assert changed(first, second) == changed(second, first) == changed(first, disk) == {0, 1, 16, 127}
    assert changed(second, disk) == changed(second, second.snapshot()) == set()


def test_a_list_that_would_not_be_exact_is_refused(shared_sr: CephSr) -> None:
    sr = shared_sr
    disk, other = tracked(sr), tracked(sr)
    first, second, stranger = disk.snapshot(), disk.snapshot(), other.snapshot()
    assert "to itself" in not_listed(first, first)
    assert "not of one disk" in not_listed(first, stranger)
    clone = disk.clone()
    assert "has no changed-block tracking" in not_listed(first, clone)
    sr.lab.xe("vdi-enable-cbt", f"uuid={clone.uuid}")
    assert "not of one disk" in not_listed(first, clone)
    sr.lab.ceph.rbd("snap", "rm", "--no-progress", f"{disk.image}@{second.uuid}")
    assert "was removed" in not_listed(first, second)
    large = tracked(sr, 17 << 40)
    assert "above 16384 GiB" in not_listed(large.snapshot(), large)


def test_a_snapshot_without_data_is_only_compared_also_after_a_forget(own_sr: CephSr) -> None:
    sr = own_sr
    host = sr.lab.hosts[0]
    disk = tracked(sr)
    change(disk, (0, content(1)))
    first = disk.snapshot()
    sr.lab.xe("vdi-data-destroy", f"uuid={first.uuid}")
    change(disk, (2 * MIB, 64 * KIB))
    second = disk.snapshot()
    for _ in range(2):
        for command, args in (("vdi_activate", ["false"]), ("vdi_clone", []), ("vdi_snapshot", [])):
            assert "its data was destroyed" in first.refusal(host, command, *args)
        assert changed(first, second) == {32}
        assert [row(vdi)["cbt_enabled"] for vdi in (disk, first, second)] == [True] * 3
        assert [row(vdi)["type"] for vdi in (disk, first, second)] == ["user", "cbt_metadata", "user"]
        sr.scan()
        sr.forget()
        sr.pool.introduce_sr(sr.uuid)
    assert refusal(disk, "data_destroy").code == "OPERATION_NOT_ALLOWED"
    assert refusal(first, "clone", {}).code == "VDI_INCOMPATIBLE_TYPE"
    assert "no snapshot with changed-block" in disk.refusal(host, "vdi_data_destroy")
    assert "is a snapshot" in second.refusal(host, "vdi_enable_cbt")
    for vdi in (first, second, disk):
        vdi.destroy()
    require_nothing_left(sr)


def test_smblock_shows_which_vdis_are_tracked(shared_sr: CephSr) -> None:
    disk = tracked(shared_sr)
    snapshot = disk.snapshot()
    shared_sr.lab.xe("vdi-data-destroy", f"uuid={snapshot.uuid}")
    for vdi, said in ((disk, "tracked"), (snapshot, "tracked, data destroyed")):
        shown = shared_sr.lab.admin("vdi", "show", "--vdi", vdi.uuid, shared_sr.uuid).stdout.decode()
        assert f"changed blocks  {said}\n" in shown


def test_nothing_is_left_if_a_host_dies_after_data_destroy(own_sr: CephSr) -> None:
    """The command is killed before xapi has its reply: xapi sets the type back, and the driver repeats it."""
    sr = own_sr
    disk = tracked(sr)
    snapshot = disk.snapshot()
    with fist_point(sr.lab.hosts[0], "vdi_data_destroy"), pytest.raises(XeError):
        sr.lab.xe("vdi-data-destroy", f"uuid={snapshot.uuid}")
    sr.scan()
    sr.lab.xe("vdi-data-destroy", f"uuid={snapshot.uuid}")
    assert row(snapshot)["type"] == "cbt_metadata"
    for vdi in (snapshot, disk):
        vdi.destroy()
    require_nothing_left(sr)
