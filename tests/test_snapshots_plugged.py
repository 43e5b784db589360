"""Snapshots, clones and reverts of disks that run, on hosts with a real kernel.

A disk runs on any host; the SR's master, a third host, takes snapshots and clones of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from lab import krbd, wait_for
from lab.cephrbd import CephRbdLab, CephSr, RbdPool
from lab.copies import require_nothing_left
from lab.disk import MIB, Disk, read, write
from lab.dom0 import Dom0
from lab.sr import fist_point
from lab.tree import SM_DIR

OLD, NEW, NEWER, OTHER = (word * (MIB // 8) for word in (b"old old ", b"new new ", b"newer   ", b"other   "))
EMPTY = bytes(MIB)

SUPERVISOR = f"{SM_DIR}/smblock-guard"

BLOCK = 4096
LONG = 64 * MIB
# Writes the numbers from 1, a block each, one after the other, until it is stopped.
COUNT = f"""
seq -f %0{BLOCK - 1}.0f {LONG // BLOCK} |
    dd of="$0" bs={BLOCK} iflag=fullblock oflag=direct conv=notrunc status=none &
while [ ! -e /tmp/enough ]; do sleep 0.1; done
rm /tmp/enough
kill $!
"""


@pytest.fixture(scope="module")
def sr(guests_rbd_pool: RbdPool) -> Iterator[CephSr]:
    """An SR whose disks run on tapdisk; every test deletes its disks."""
    sr = guests_rbd_pool.create_sr("snapshots")
    yield sr
    require_nothing_left(sr, seconds=120)


@pytest.fixture(scope="module")
def phy_sr(guests_rbd_pool: RbdPool, serves_phy: bool) -> CephSr:
    """An SR whose disks run on the kernel's blkback."""
    if not serves_phy:
        pytest.skip("this SM connects no block devices")
    return guests_rbd_pool.create_sr("snapshots-phy", "device-config:datapath=phy")


@dataclass(frozen=True)
class Running:
    """A disk that runs on the second host: its snapshot has OLD, the disk has NEW."""

    disk: Disk
    device: str
    snapshot: Disk


@pytest.fixture(scope="module")
def running(sr: CephSr, two: Dom0) -> Iterator[Running]:
    disk = Disk.create(sr)
    with disk.plugged(two) as device:
        write(two, device, OLD)
        snapshot = disk.snapshot()
        write(two, device, NEW)
        yield Running(disk, device, snapshot)
    for vdi in (disk, snapshot):
        vdi.destroy()


@contextmanager
def being_written(host: Dom0, device: str) -> Iterator[None]:
    """Inside the `with` block, a program writes the numbers from 1 to the device's blocks, in their order."""
    with ThreadPoolExecutor() as beside:
        writer = beside.submit(host.exec, ["sh", "-c", COUNT, device], timeout=300)
        try:
            yield
        finally:
            host.put("/tmp/enough", b"")
        # It fails if there was nothing left to write.
        writer.result().check()


def numbers_in(disk: Disk) -> int:
    """How many numbers a disk has: all from 1 on, and nothing else."""
    content = disk.export()
    count = len(content.rstrip(b"\0")) // BLOCK
    assert content == b"".join(b"%0*d\n" % (BLOCK - 1, n + 1) for n in range(count)) + bytes(LONG - count * BLOCK)
    return count


def tapdisk_commands(host: Dom0) -> list[str]:
    """The commands sent to the host's tapdisks so far."""
    return host.exec(["sh", "-c", "cat /run/tapdisk-*/commands"]).check().decode().split()


def test_a_snapshot_of_another_hosts_running_disk_is_consistent(sr: CephSr, two: Dom0) -> None:
    disk = Disk.create(sr, LONG)
    with disk.plugged(two) as device, being_written(two, device):
        wait_for(lambda: numbers_in(disk) > 0, "the first number")
        mark = len(tapdisk_commands(two))
        snapshot = disk.snapshot()
        given = tapdisk_commands(two)[mark:]
        # More if the snapshot takes longer than 4 seconds: a guard resumes the disk, and the command sees that.
        assert given[:2] == ["pause", "unpause"]
        assert given[-1] == "unpause"
        at_once = numbers_in(snapshot)
        wait_for(lambda: numbers_in(disk) > at_once, "the disk to be resumed")
    assert numbers_in(snapshot) == at_once > 0
    assert not disk.is_paused()
    for vdi in (snapshot, disk):
        vdi.destroy()


@pytest.mark.slow
def test_a_snapshot_of_a_disk_served_by_blkback_is_consistent(phy_sr: CephSr, two: Dom0) -> None:
    disk = Disk.create(phy_sr, LONG)
    with disk.plugged(two) as device, being_written(two, device):
        wait_for(lambda: numbers_in(disk) > 0, "the first number")
        snapshot = disk.snapshot()
        at_once = numbers_in(snapshot)
        wait_for(lambda: numbers_in(disk) > at_once, "the disk to be resumed")
    assert numbers_in(snapshot) == at_once > 0
    assert not disk.is_paused()
    for vdi in (snapshot, disk):
        vdi.destroy()


def test_a_snapshot_of_a_running_disk_is_read_only_on_another_host(running: Running, one: Dom0, two: Dom0) -> None:
    with running.snapshot.plugged(one, "RO") as device:
        assert read(one, device, 16 * MIB) == OLD + bytes(15 * MIB)
        assert one.exec(["dd", "if=/dev/zero", f"of={device}", "bs=4k", "count=1", "oflag=direct"]).returncode != 0
        assert read(two, running.device, MIB) == NEW
    assert "attached for writing" in running.snapshot.refusal(one, "vdi_activate", "true")
    assert running.snapshot.traces(one) == []


@pytest.mark.slow  # test_rust_on_ceph.py compares the same content
def test_a_disk_its_snapshot_and_its_clones_have_data_of_their_own(running: Running, one: Dom0, two: Dom0) -> None:
    clone = running.snapshot.clone()
    with clone.plugged(one) as device:
        assert read(one, device, MIB) == OLD
        write(one, device, OTHER, offset=MIB)
        write(two, running.device, NEWER, offset=2 * MIB)
        assert read(one, device, 3 * MIB) == OLD + OTHER + EMPTY
        assert read(two, running.device, 3 * MIB) == NEW + EMPTY + NEWER
        assert running.snapshot.export()[: 3 * MIB] == OLD + EMPTY + EMPTY
    second = clone.clone()
    with second.plugged(one) as device:
        assert read(one, device, 3 * MIB) == OLD + OTHER + EMPTY
    for vdi in (clone, second):
        vdi.destroy()


@contextmanager
def without_supervisors(host: Dom0) -> Iterator[None]:
    """Inside the `with` block, only another command undoes the snapshot of a killed command."""
    program = host.get(SUPERVISOR)
    host.put(SUPERVISOR, b"#!/bin/sh\n", mode=0o755)
    try:
        yield
    finally:
        host.put(SUPERVISOR, program, mode=0o755)


@pytest.mark.parametrize("moment", ["paused", pytest.param("taken", marks=pytest.mark.slow)])
def test_the_next_scan_undoes_a_snapshot_killed_with_its_disk_paused(
    running: Running, guests: CephRbdLab, two: Dom0, moment: str
) -> None:
    disk = running.disk
    mark = len(tapdisk_commands(two))
    with without_supervisors(guests.hosts[0]), fist_point(guests.hosts[0], f"vdi_snapshot_{moment}"):
        assert "received signal: 9" in guests.refused("vdi-snapshot", f"uuid={disk.uuid}")
    # It may be resumed already: a guard does that after 4 seconds.
    assert tapdisk_commands(two)[mark] == "pause"
    with ThreadPoolExecutor() as beside:
        written = beside.submit(write, two, running.device, OTHER)
        disk.sr.scan()
        written.result()
    assert not disk.is_paused()
    assert disk.snapshot_names() == {running.snapshot.uuid}
    assert f"op.{disk.uuid}" not in disk.sr.catalogue_keys()
    disk.snapshot().destroy()
    write(two, running.device, NEW)


@pytest.mark.slow
def test_a_clone_works_while_its_disk_and_snapshots_are_deleted(sr: CephSr, one: Dom0, two: Dom0) -> None:
    disk = Disk.create(sr)
    with disk.plugged(one) as device:
        for offset in (0, 4 * MIB):
            write(one, device, OLD, offset)
    snapshot = disk.snapshot()
    clone = snapshot.clone()
    with clone.plugged(two) as device:
        write(two, device, NEW, offset=MIB)
        for vdi in (disk, snapshot):
            vdi.destroy()
        sr.scan()
        write(two, device, NEW, offset=5 * MIB)
        assert read(two, device, 8 * MIB) == (OLD + NEW + EMPTY + EMPTY) * 2
    clone.destroy()


@pytest.fixture(params=[False, True], ids=["by deletion and clone", "by the driver"])
def revert_commands(request: pytest.FixtureRequest, guests: CephRbdLab) -> Iterator[list[str]]:
    """xapi without and with a driver's own revert. Returns the SM commands of a revert."""
    pool = guests.xapi.pool
    pool.settings.revert = request.param
    pool.load_drivers(pool.master)
    yield ["vdi_revert"] if request.param else ["vdi_delete", "vdi_clone", "vdi_update"]
    pool.settings.revert = False
    pool.load_drivers(pool.master)


@pytest.mark.slow  # `make demo` shows the usual case
def test_a_vm_is_reverted_to_each_of_its_snapshots(
    sr: CephSr, one: Dom0, two: Dom0, revert_commands: list[str]
) -> None:
    lab = sr.lab
    disk, vm = Disk.create(sr), lab.xe("vm-create", "name-label=guest")
    disk.attach_to(vm)
    with started(disk, vm, two) as device:
        snapshots = []
        for content in (OLD, NEW):
            write(two, device, content)
            snapshots.append(lab.xe("vm-snapshot", f"uuid={vm}", "new-name-label=snapshot"))
        write(two, device, OTHER)
    # A device of the disk's first image must not be used for its later image.
    stale = krbd.map_image(one, lab.ceph, disk.image)
    for snapshot, content in zip(snapshots, (OLD, NEW), strict=True):
        mark = len(lab.xapi.commands)
        lab.xe("snapshot-revert", f"snapshot-uuid={snapshot}")
        assert [command for _, command in lab.commands_since(mark)] == revert_commands
        with started(disk, vm, one) as device:
            assert read(one, device, MIB) == content
            write(one, device, OTHER)
    if stale in krbd.devices(one):  # else it was removed with its disk
        krbd.unmap(one, stale)
    older, newer = (disk_of(sr, snapshot) for snapshot in snapshots)
    with older.plugged(one, "RO") as device:
        assert read(one, device, MIB) == OLD
    assert newer.export()[:MIB] == NEW
    for vdi in (disk_of(sr, vm), older, newer):
        vdi.destroy()
    lab.xe("vm-destroy", f"uuid={vm}")


@contextmanager
def started(disk: Disk, vm: str, host: Dom0) -> Iterator[str]:
    """A VM with one disk runs inside the `with` block. Yields the device of its current disk."""
    lab = disk.sr.lab
    lab.xe("vm-start", f"uuid={vm}", f"on={host.name}")
    (vbd,) = lab.list("vbd", f"vm-uuid={vm}")
    yield disk.device(host, vbd)
    lab.xe("vm-shutdown", f"uuid={vm}")


def disk_of(sr: CephSr, vm: str) -> Disk:
    """The one disk of a VM, or of its snapshot."""
    return Disk(sr, sr.lab.xe("vbd-list", f"vm-uuid={vm}", "params=vdi-uuid", "--minimal"))
