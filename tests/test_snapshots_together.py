"""`xe vm-snapshot` of a VM with several disks, on a real cluster and real kernels: all snapshots show one instant.

The VM runs on a host with a kernel of its own. The SR's master, another host, takes the snapshots.
"""

from __future__ import annotations

import time
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
from lab.sm_source import sm_source, tapdisk_bin
from tests.pauses import Pause, pause_of
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


# Writes to the first block of a device without a pause; prints the longest time between two writes, in seconds.
WRITE = f"""
import mmap, os, sys, time
device = os.open(sys.argv[1], os.O_WRONLY | os.O_DIRECT | os.O_SYNC)
block = mmap.mmap(-1, {BLOCK})
block[:1] = b"a"
longest, last = 0.0, time.monotonic()
while not os.path.exists("{ENOUGH}"):
    os.pwrite(device, block, 0)
    now = time.monotonic()
    longest, last = max(longest, now - last), now
os.unlink("{ENOUGH}")
print(longest)
"""


@dataclass(frozen=True)
class Measured:
    """What a snapshot of a VM took, in seconds; the gap is that in the writes of the VM."""

    # None with a real tapdisk, which keeps no times of its pauses.
    pause: Pause | None
    gap: float
    command: float

    def __str__(self) -> str:
        return f"paused {self.pause or 'for the gap'}; gap of a writer {self.gap:.2f} s; command {self.command:.2f} s"


def measured(sr: CephSr, host: Dom0, count: int) -> Measured:
    with running(sr, host, count) as vm, ThreadPoolExecutor() as beside:
        writer = beside.submit(host.exec, ["python3", "-c", WRITE, vm.devices[0]], timeout=300)
        wait_for(lambda: number_in(vm.disks[0]) > 0, "the first write")
        host.exec(["rm", "-f", "/run/tapdisk-sim/times"]).check()
        began = time.monotonic()
        vm.snapshot()
        command = time.monotonic() - began
        pause = None if tapdisk_bin() else pause_of(host.get("/run/tapdisk-sim/times").decode().splitlines())
        host.put(ENOUGH, b"")
        return Measured(pause, float(writer.result().check()), command)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_eight_disks_are_paused_for_no_longer_than_one_except_by_tapdisk(sr: CephSr, two: Dom0) -> None:
    sr.lab.ceph.set_monitor_pace("default")
    try:
        ones, eight = [measured(sr, two, 1) for _ in range(3)], measured(sr, two, 8)
    finally:
        sr.lab.ceph.set_monitor_pace("fast")
    print(*(f"1 disk: {one}" for one in ones), f"8 disks: {eight}", sep="\n")
    for host in (two, sr.lab.hosts[0]) if sm_source() is None else ():  # a real SM logs by syslog
        log = host.get("/run/sm/SMlog").decode().splitlines()
        print(*(line for line in log if "paused for at most" in line or "after the first pause" in line), sep="\n")
    # The simulator of tapdisk starts a dozen processes for each disk, on two emulated processors. The rest is the same
    # for any number of disks, but for the noise of a busy machine.
    if eight.pause is None:
        assert eight.gap <= 1.5 * max(one.gap for one in ones)
    else:
        assert eight.pause.driver <= 1.5 * max(one.pause.driver for one in ones if one.pause)
    assert eight.command <= 2 * max(one.command for one in ones)
    # A kernel that meets the lock of a client that closes its image waits for 10 s.
    assert max(each.gap for each in (*ones, eight)) < 8
