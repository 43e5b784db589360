"""Disks are reverted to snapshots, in each way that XAPI has, on a real cluster. They are not plugged."""

from __future__ import annotations

import pytest

from lab.cephrbd import CephSr
from lab.copies import (
    SIZE,
    content,
    disk_of,
    disk_with,
    require_nothing_left,
    revert_vm,
    row,
    snapshot_vm,
    vm_with,
    write,
)
from lab.sr import fist_point


def test_a_vm_reverts_several_times_by_deletion_and_clone(own_sr: CephSr) -> None:
    disk = disk_with(own_sr, content(1), "root disk")
    vm = vm_with(disk)
    first, first_disk = snapshot_vm(vm, own_sr)
    write(disk, content(2))
    second, second_disk = snapshot_vm(vm, own_sr)
    write(disk, content(3))
    for snapshot, held in ((first, content(1)), (second, content(2)), (first, content(1))):
        before = disk_of(vm, own_sr)
        revert_vm(snapshot, own_sr)
        now = disk_of(vm, own_sr)
        assert now.export() == held
        assert row(now)["name_label"] == "root disk"
        assert own_sr.vdis() == {now.uuid, first_disk.uuid, second_disk.uuid} != {before.uuid}
        assert [row(vdi)["snapshot_of"] for vdi in (first_disk, second_disk)] == [now.uuid] * 2
    assert [vdi.export() for vdi in (first_disk, second_disk)] == [content(1), content(2)]

    own_sr.scan()  # xapi does not pass the snapshots' new disk to the driver
    own_sr.forget()
    own_sr.pool.introduce_sr(own_sr.uuid)
    assert [row(vdi)["snapshot_of"] for vdi in (first_disk, second_disk)] == [now.uuid] * 2
    for vdi in (now, first_disk, second_disk):
        vdi.destroy()
    require_nothing_left(own_sr)


@pytest.mark.usefixtures("xapi_that_reverts")
def test_a_disk_that_is_reverted_keeps_its_uuid_and_its_name(own_sr: CephSr) -> None:
    lab = own_sr.lab
    disk = disk_with(own_sr, content(1), "root disk")
    vm = vm_with(disk)
    first, first_disk = snapshot_vm(vm, own_sr)
    write(disk, content(2))
    second, second_disk = snapshot_vm(vm, own_sr)
    lab.xe("vdi-resize", f"uuid={disk.uuid}", f"disk-size={2 * SIZE}")
    lab.xe("vdi-param-set", f"uuid={disk.uuid}", "name-label=renamed")
    mark = len(lab.xapi.commands)
    for snapshot, held in ((first, content(1)), (second, content(2)), (first, content(1))):
        revert_vm(snapshot, own_sr)
        assert disk_of(vm, own_sr) == disk
        assert disk.export() == held
        said = row(disk)
        assert (said["name_label"], said["virtual_size"], said["read_only"]) == ("renamed", str(SIZE), False)
    assert [name for _, name in lab.commands_since(mark)] == ["vdi_revert"] * 3
    assert [vdi.export() for vdi in (first_disk, second_disk)] == [content(1), content(2)]
    assert [row(vdi)["snapshot_of"] for vdi in (first_disk, second_disk)] == [disk.uuid] * 2
    own_sr.scan()
    assert row(disk)["virtual_size"] == str(SIZE)
    for vdi in (first_disk, disk, second_disk):
        vdi.destroy()
    require_nothing_left(own_sr)


def test_a_disk_that_forgets_its_changes_starts_as_it_was(own_sr: CephSr) -> None:
    lab = own_sr.lab
    disk = disk_with(own_sr, content(1))
    lab.xe("vdi-param-set", f"uuid={disk.uuid}", "on-boot=reset")
    assert own_sr.vdis() == {disk.uuid}
    assert "VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION" in lab.refused("vdi-snapshot", f"uuid={disk.uuid}")
    for seed in (2, 3):
        disk.command(lab.hosts[1], "vdi_epoch_begin")  # its VM starts there
        assert disk.export() == content(1)
        write(disk, content(seed))
    lab.xe("vdi-param-set", f"uuid={disk.uuid}", "on-boot=persist")
    disk.command(lab.hosts[1], "vdi_epoch_begin")
    assert disk.export() == content(3)
    disk.destroy()
    require_nothing_left(own_sr)


@pytest.mark.usefixtures("xapi_that_reverts")
def test_a_killed_revert_and_a_killed_deletion_are_completed(own_sr: CephSr) -> None:
    lab = own_sr.lab
    disk = disk_with(own_sr, content(1))
    snapshot, its_disk = snapshot_vm(vm_with(disk), own_sr)
    lab.xe("vdi-resize", f"uuid={disk.uuid}", f"disk-size={2 * SIZE}")
    with fist_point(lab.hosts[0], "vdi_revert"):
        assert "VM_REVERT_FAILED" in lab.refused("snapshot-revert", f"snapshot-uuid={snapshot}")
    with fist_point(lab.hosts[0], "vdi_delete"):
        lab.refused("vdi-destroy", f"uuid={its_disk.uuid}")
    own_sr.scan()
    assert own_sr.vdis() == {disk.uuid}
    assert row(disk)["virtual_size"] == str(SIZE)
    assert disk.export() == content(1)
    disk.destroy()
    require_nothing_left(own_sr)
