"""`xe vm-snapshot` of a VM with several disks, on a real cluster and real kernels: all snapshots show one instant.

The VM runs on a host with a kernel of its own. The SR's master, another host, takes the snapshots.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from lab import wait_for
from lab.cephrbd import CephSr, RbdPool
from lab.copies import require_nothing_left
from lab.disk import MIB, Disk
from lab.dom0 import Dom0
from tests.test_snapshots_of_a_vm import number_in, prepared, require_one_instant

BLOCK = 4096
ENOUGH = "/tmp/enough-numbers"
# Writes the numbers from 1 to the first block of the devices, each to the next device when the last write is done.
COUNT = f"""
import itertools, mmap, os, sys
devices = [os.open(path, os.O_WRONLY | os.O_DIRECT | os.O_SYNC) for path in sys.argv[1:]]
block = mmap.mmap(-1, {BLOCK})
for number in itertools.count(1):
    block[:8] = number.to_bytes(8, "big")
    os.pwrite(devices[number % len(devices)], block, 0)
    if os.path.exists("{ENOUGH}"):
        break
os.unlink("{ENOUGH}")
print(number)
"""


@pytest.fixture(scope="module")
def sr(guests_rbd_pool: RbdPool) -> Iterator[CephSr]:
    sr = guests_rbd_pool.create_sr("together")
    yield sr
    require_nothing_left(sr, seconds=120)


@dataclass(frozen=True)
class RunningVm:
    """A VM that runs on a host, its disks in the order of their VBDs, and their devices."""

    uuid: str
    host: Dom0
    disks: Sequence[Disk]
    devices: Sequence[str]

    def snapshot(self, *words: str) -> list[Disk]:
        """`xe vm-snapshot`. Returns the snapshot's disks, in the order of the VM's."""
        lab = self.disks[0].sr.lab
        snapshot = lab.xe("vm-snapshot", f"uuid={self.uuid}", "new-name-label=snapshot", *words)
        made = lab.xe("vbd-list", f"vm-uuid={snapshot}", "params=vdi-uuid", "--minimal").split(",")
        lab.xe("vm-destroy", f"uuid={snapshot}")
        return [Disk(self.disks[0].sr, uuid) for uuid in made]


@contextmanager
def running(sr: CephSr, host: Dom0, count: int) -> Iterator[RunningVm]:
    lab = sr.lab
    vm = lab.xe("vm-create", "name-label=database")
    disks = [Disk.create(sr, 4 * MIB) for _ in range(count)]
    vbds = [disk.attach_to(vm) for disk in disks]
    lab.xe("vm-start", f"uuid={vm}", f"on={host.name}")
    try:
        yield RunningVm(vm, host, disks, [disk.device(host, vbd) for disk, vbd in zip(disks, vbds, strict=True)])
    finally:
        lab.xe("vm-shutdown", f"uuid={vm}")
    for vdi in sorted(sr.vdis()):
        Disk(sr, vdi).destroy()
    lab.xe("vm-destroy", f"uuid={vm}")


@contextmanager
def being_counted(vm: RunningVm) -> Iterator[None]:
    """Inside the `with` block, a program of the host writes numbers to the VM's disks."""
    with ThreadPoolExecutor() as beside:
        writer = beside.submit(vm.host.exec, ["python3", "-c", COUNT, *vm.devices], timeout=300)
        try:
            wait_for(lambda: all(number_in(disk) for disk in vm.disks), "the first numbers")
            yield
        finally:
            vm.host.put(ENOUGH, b"")
        writer.result().check()


def are_written(vm: RunningVm) -> bool:
    first = number_in(vm.disks[0])
    return number_in(vm.disks[0]) > first


def pauses(host: Dom0) -> list[str]:
    words = host.exec(["sh", "-c", "cat /run/tapdisk-*/commands"]).check().decode().split()
    return [word for word in words if word in ("pause", "unpause")]


@pytest.mark.slow  # `test_snapshot_order.py` shows it without a kernel
@pytest.mark.timeout(600)
def test_snapshots_of_four_disks_have_no_write_without_every_earlier_one(sr: CephSr, two: Dom0) -> None:
    with running(sr, two, 4) as vm, being_counted(vm):
        mark = len(pauses(two))
        for _ in range(2):
            before = max(number_in(disk) for disk in vm.disks)
            snapshots = vm.snapshot()
            require_one_instant(snapshots)
            assert max(number_in(snapshot) for snapshot in snapshots) >= before
            assert prepared(sr) == set()
            wait_for(lambda: are_written(vm), "the disks to be resumed")
        assert pauses(two)[mark:].count("pause") >= 8
        assert not any(disk.is_paused() for disk in vm.disks)
