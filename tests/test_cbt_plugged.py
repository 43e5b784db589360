"""Changed blocks of a disk that runs, on hosts with a real kernel: backups over NBD, quicktest with copies."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import wait_for
from lab.backup import Backup
from lab.cephrbd import CephSr, RbdPool
from lab.copies import NULL, disk_of, require_update_changes_nothing, revert_vm, row, snapshot_vm
from lab.disk import MIB, Disk, write
from lab.dom0 import Dom0
from lab.nbd import plugged

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def sr(guests_rbd_pool: RbdPool) -> Iterator[CephSr]:
    """An SR that is empty after the test."""
    sr = guests_rbd_pool.create_sr("changed blocks")
    yield sr

    def is_empty() -> bool:
        sr.scan()
        return sr.catalogue_keys() == {"sr"}

    wait_for(is_empty, "the space of all disks to be freed", seconds=120)


def test_a_vm_is_backed_up_over_nbd_from_its_plugged_snapshots(sr: CephSr, one: Dom0, two: Dom0) -> None:
    """Xen Orchestra's loop. The VM writes on one host, and the other one serves the snapshots."""
    disk = Disk.create(sr, 16 * MIB)
    vm = sr.lab.xe("vm-create", "name-label=guest")
    vbd = disk.attach_to(vm)
    backup = Backup(vm, plugged(two))

    def start() -> str:
        sr.lab.xe("vm-start", f"uuid={vm}", f"on={one.name}")
        return disk.device(one, vbd)

    device = start()
    for night, (at, expected) in enumerate([(0, 16), (9, 2), (15, 4)]):
        write(one, device, bytes([night + 1]) * MIB, at * MIB)
        # A new object counts from its beginning: the last write is at the end of one.
        done = backup.run(disk)
        assert (done.read, done.is_full) == (expected * MIB, night == 0)

    # xapi shuts the VM down, destroys its disk and clones the snapshot.
    snapshot, held = snapshot_vm(vm, sr)
    write(one, device, b"x" * MIB, 4 * MIB)
    revert_vm(snapshot, sr)
    disk = disk_of(vm, sr)
    vbd = sr.lab.xe("vbd-list", f"vm-uuid={vm}", "--minimal")
    sr.lab.xe("vm-destroy", f"uuid={snapshot}")
    held.destroy()
    device = start()
    write(one, device, b"y" * MIB, 9 * MIB)
    done = backup.run(disk)
    assert (done.read, done.is_full) == (2 * MIB, False)

    # An odd number of MiB, as an earlier version makes it.
    sr.lab.xe("vm-shutdown", f"uuid={vm}", "force=true")
    sr.lab.ceph.rbd("resize", "--no-progress", "--size", "17M", f"{sr.pool.name}/{image_of(disk)}")
    sr.scan()
    device = start()
    write(one, device, b"z" * MIB, 16 * MIB)
    done = backup.run(disk)
    assert (done.size, done.read, done.is_full) == (17 * MIB, MIB, False)

    sr.lab.xe("vm-shutdown", f"uuid={vm}", "force=true")
    sr.lab.xe("vdi-resize", f"uuid={disk.uuid}", f"disk-size={20 * MIB}")
    device = start()
    write(one, device, b"end!" * (MIB // 4), 19 * MIB)
    done = backup.run(disk)
    assert (done.size, done.is_full) == (20 * MIB, False)
    assert done.read <= 4 * MIB

    sr.lab.xe("vm-shutdown", f"uuid={vm}", "force=true")
    assert backup.base is not None
    for each in (backup.base, disk):
        each.destroy()


def image_of(disk: Disk) -> str:
    """The name of its image now: after a revert it is another one."""
    return str(disk.record()["volume"]["image"]["name"])


def test_copies_are_not_tracked_and_leave_the_disk_tracked(sr: CephSr, one: Dom0) -> None:
    """vdi_clone_copy_test of xapi's quicktest_cbt.ml, whole. test_cbt.py has its other test."""
    disk, into = Disk.create(sr, 4 * MIB), Disk.create(sr, 4 * MIB)
    with disk.plugged(one) as device:
        write(one, device, b"copy" * (MIB // 4), MIB)
    sr.lab.xe("vdi-enable-cbt", f"uuid={disk.uuid}")
    clone = disk.clone()
    with sr.lab.xapi.session() as session:
        vdi = session.VDI.get_by_uuid(disk.uuid)
        copied = session.call("VDI.copy", vdi, session.SR.get_by_uuid(sr.uuid), NULL, NULL)
        session.call("VDI.copy", vdi, NULL, copied, session.VDI.get_by_uuid(into.uuid))
        fresh = Disk(sr, session.VDI.get_uuid(copied))
    every = (disk, clone, fresh, into)
    assert [row(each)["cbt_enabled"] for each in every] == [True, False, False, False]
    for each in every:
        require_update_changes_nothing(each)
    sr.scan()
    assert [row(each)["cbt_enabled"] for each in every] == [True, False, False, False]
    assert disk.export() == fresh.export() == into.export()
    for each in every:
        each.destroy()
