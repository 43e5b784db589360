"""`xe vm-snapshot` of a VM whose disks are in use: which commands xapi sends, and what each of them does.

The hosts have no kernel RBD client, so the claims of the disks are written to the catalogue, and nothing is mapped.
`test_snapshots_together.py` has real disks that a program writes to.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from lab import wait_for
from lab.cephrbd import CephRbdLab, CephSr
from lab.copies import require_nothing_left
from lab.disk import MIB, Disk
from lab.sm_source import sm_source
from lab.sr import fist_point

# What a command asks XAPI for to find the VM and its disks.
FOUND = {
    "VDI.get_record": 1, "task.get_subtask_of": 1, "VBD.get_all_records_where": 2, "VM.get_current_operations": 1,
    "VDI.get_all_records_where": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Vm:
    """A VM whose disks are in use on the second host, as XAPI and the catalogue have it."""

    sr: CephSr
    uuid: str
    disks: Sequence[Disk]

    @classmethod
    def create(cls, sr: CephSr, count: int) -> Vm:
        vm = sr.lab.xe("vm-create", "name-label=database")
        disks = [Disk.create(sr, 4 * MIB) for _ in range(count)]
        for disk in disks:
            plug(disk, vm)
        return cls(sr, vm, disks)

    def snapshot(self, *words: str) -> list[Disk]:
        lab = self.sr.lab
        snapshot = lab.xe("vm-snapshot", f"uuid={self.uuid}", "new-name-label=before", *words)
        return [Disk(self.sr, uuid) for uuid in disks_of(lab, snapshot)]

    def end(self) -> None:
        """Unplugs the disks, and destroys everything."""
        for disk in self.disks:
            set_claim(disk, None)
            for vbd in self.sr.lab.list("vbd", f"vdi-uuid={disk.uuid}"):
                self.sr.lab.xapi.pool.db.destroy("VBD", self.sr.lab.xapi.pool.db.by_uuid("VBD", vbd))
        for vdi in sorted(self.sr.vdis()):
            Disk(self.sr, vdi).destroy()
        require_nothing_left(self.sr)


def disks_of(lab: CephRbdLab, vm: str) -> list[str]:
    return lab.xe("vbd-list", f"vm-uuid={vm}", "params=vdi-uuid", "--minimal").split(",")


def plug(disk: Disk, vm: str) -> None:
    db = disk.sr.lab.xapi.pool.db
    db.set("VBD", db.by_uuid("VBD", disk.attach_to(vm)), "currently_attached", True)
    owner = {"host": disk.sr.lab.hosts[1].uuid, "boot_id": "a boot", "pid": 1, "started": 1, "since": 1}
    set_claim(disk, {**owner, "pool": db.get("pool", disk.sr.lab.xapi.pool.ref, "uuid")})


def set_claim(disk: Disk, claim: dict[str, object] | None) -> None:
    record = json.dumps(disk.record() | {"claim": claim})
    disk.sr.pool.rados("setomapval", disk.sr.catalogue, f"vdi.{disk.uuid}", record)


def number_in(disk: Disk) -> int:
    """The number in the first bytes of a disk or snapshot."""
    return int.from_bytes(disk.export()[:8], "big")


def require_one_instant(snapshots: Sequence[Disk]) -> None:
    """Numbers were written to the disks in turns: each has its last one before the last number of all."""
    numbers = [number_in(snapshot) for snapshot in snapshots]
    last, count = max(numbers), len(numbers)
    assert numbers == [last - (last - index) % count for index in range(count)]


def prepared(sr: CephSr) -> set[str]:
    return {key.partition(".")[2] for key in sr.catalogue_keys() if key.startswith("prepared.")}


def taken(disks: Sequence[Disk]) -> list[int]:
    """How many snapshots each disk's image has."""
    return [len(disk.snapshot_names()) for disk in disks]


def calls_since(lab: CephRbdLab, mark: int) -> list[Counter[str]]:
    return [Counter(command.calls) for command in lab.xapi.commands[mark:] if command.name == "vdi_snapshot"]


def test_the_first_command_takes_all_snapshots_and_the_others_adopt_them(own_sr: CephSr) -> None:
    lab, vm = own_sr.lab, Vm.create(own_sr, 3)
    mark = len(lab.xapi.commands)
    made = vm.snapshot()
    assert {disk.record()["volume"]["snapshot"]["name"] for disk in made} == {disk.uuid for disk in made}
    assert [disk.snapshot_names() & {each.uuid for each in made} for disk in vm.disks] == [
        disk.snapshot_names() for disk in vm.disks
    ]
    assert taken(vm.disks) == [1, 1, 1]
    assert prepared(own_sr) == set()
    if sm_source() is None:
        first, *others = calls_since(lab, mark)
        # Two more queries find the disks that are to be paused, and the hosts that have them.
        assert {name: first[name] for name in FOUND} == dict(FOUND, **{"VDI.get_all_records_where": 3})
        assert "VDI.get_by_uuid" not in first
        for other in others:
            assert other == Counter(FOUND) + Counter({"VDI.db_introduce": 1, "host.get_other_config": 1})
    assert not any(disk.is_paused() for disk in vm.disks)
    vm.end()


def test_a_snapshot_by_hand_of_one_disk_is_its_own(own_sr: CephSr) -> None:
    lab, vm = own_sr.lab, Vm.create(own_sr, 2)
    mark = len(lab.xapi.commands)
    vm.disks[0].snapshot()
    assert taken(vm.disks) == [1, 0]
    [calls] = calls_since(lab, mark)
    assert (calls["VDI.get_record"], calls["task.get_subtask_of"], calls["VM.get_current_operations"]) == (1, 1, 0)
    vm.end()


def test_a_disk_that_xapi_ignores_has_no_snapshot_left(own_sr: CephSr) -> None:
    vm = Vm.create(own_sr, 3)
    made = vm.snapshot(f"ignore-vdi-uuids={vm.disks[1].uuid}")
    assert len(made) == 2
    # The process that waits for the task's end removes it, without a scan.
    wait_for(lambda: prepared(own_sr) == set(), "the unused snapshot to be removed", seconds=30)
    assert taken(vm.disks) == [1, 0, 1]
    vm.end()


def test_disks_of_another_vm_and_unplugged_ones_are_left_alone(own_sr: CephSr) -> None:
    lab, vm = own_sr.lab, Vm.create(own_sr, 2)
    idle = Disk.create(own_sr, 4 * MIB)
    idle.attach_to(vm.uuid)
    other = lab.xe("vm-create", "name-label=another")
    theirs = Disk.create(own_sr, 4 * MIB)
    plug(theirs, other)
    shared = Disk.create(own_sr, 4 * MIB)
    for user in (vm.uuid, other):
        plug(shared, user)
    made = vm.snapshot()
    assert len(made) == 4
    assert taken([*vm.disks, idle, shared, theirs]) == [1, 1, 1, 1, 0]
    Vm(own_sr, vm.uuid, [*vm.disks, idle, shared, theirs]).end()


@pytest.mark.parametrize("moment", ["vdi_snapshot_paused", "vdi_snapshot_taken", "vdi_snapshot"])
def test_a_killed_snapshot_of_a_vm_leaves_nothing_prepared(own_sr: CephSr, moment: str) -> None:
    lab, vm = own_sr.lab, Vm.create(own_sr, 2)
    with fist_point(lab.hosts[0], moment):
        lab.refused("vm-snapshot", f"uuid={vm.uuid}", "new-name-label=before")
    own_sr.scan()
    assert prepared(own_sr) == set()
    assert not [key for key in own_sr.catalogue_keys() if key.startswith("op.")]
    assert taken(vm.disks) == [int(moment == "vdi_snapshot"), 0]
    assert not any(disk.is_paused() for disk in vm.disks)
    assert len(vm.snapshot()) == 2
    vm.end()


def test_a_disk_whose_snapshot_fails_makes_the_vms_fail_with_the_reason(own_sr: CephSr) -> None:
    lab, vm = own_sr.lab, Vm.create(own_sr, 2)
    path = vm.disks[1].image
    lab.ceph.rbd("snap", "create", "--no-progress", f"{path}@by-hand")
    lab.ceph.rbd("snap", "limit", "set", "--limit", "1", path)
    complaint = lab.refused("vm-snapshot", f"uuid={vm.uuid}", "new-name-label=before")
    assert "SMB-C146" in complaint
    assert "limit" in complaint
    lab.ceph.rbd("snap", "limit", "clear", path)
    lab.ceph.rbd("snap", "rm", "--no-progress", f"{path}@by-hand")
    assert len(vm.snapshot()) == 2
    wait_for(lambda: prepared(own_sr) == set(), "the note about the failure to be removed", seconds=30)
    assert taken(vm.disks) == [1, 1]
    vm.end()
