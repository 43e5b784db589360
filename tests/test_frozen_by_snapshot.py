"""A command dies while it has a running disk paused: the disk is resumed within seconds, without a scan."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator

import pytest

from lab import wait_for
from lab.cephrbd import CephRbdLab, CephSr, RbdPool
from lab.disk import MIB, Disk, read, write
from lab.dom0 import Dom0
from lab.sr import fist_point

# Seconds. The driver's own limit is 5; an emulated host is slow.
SOON = 20.0
GUARDS = "/run/smblock/guards"


@pytest.fixture(scope="module")
def sr(guests_rbd_pool: RbdPool) -> CephSr:
    return guests_rbd_pool.create_sr("frozen")


@pytest.fixture
def plugged(disk: Disk, one: Dom0) -> Iterator[tuple[Disk, str]]:
    """A disk that the first host has plugged, and its device."""
    with disk.plugged(one) as device:
        yield disk, device


def paused_tapdisks(host: Dom0) -> int:
    """How many tapdisks have the bit 0x20 (paused) in their state."""
    words = host.exec(["tap-ctl", "list"]).check().decode().split()
    states = [int(word.partition("=")[2], 16) for word in words if word.startswith("state=")]
    return sum(1 for state in states if state & 0x20)


def call_plugin(disk: Disk, host: Dom0, plugin: str, function: str, **args: str) -> str:
    with disk.sr.lab.xapi.session() as session:
        return str(session.host.call_plugin(session.host.get_by_uuid(host.uuid), plugin, function, args))


def pause(disk: Disk, host: Dom0) -> None:
    """Pauses a disk as SM does, without the command that would resume it."""
    with disk.sr.lab.xapi.session() as session:
        session.VDI.add_to_sm_config(session.VDI.get_by_uuid(disk.uuid), "paused", "true")
    late_pause(disk, host)


def late_pause(disk: Disk, host: Dom0) -> None:
    reply = call_plugin(disk, host, "tapdisk-pause", "pause", sr_uuid=disk.sr.uuid, vdi_uuid=disk.uuid)
    assert reply == "True"
    assert paused_tapdisks(host) == 1


def guarded(disk: Disk, host: Dom0) -> dict[str, str]:
    """Starts a guard of the disk on the host. Returns the arguments that end the guard."""
    args = {"sr": disk.sr.uuid, "vdi": disk.uuid, "guard": str(uuid.uuid4())}
    assert call_plugin(disk, host, "smblock", "guard_pause", **args) == "True"
    return args


@pytest.mark.timeout(600)
@pytest.mark.parametrize("moment", ["vdi_snapshot_paused", pytest.param("vdi_snapshot_taken", marks=pytest.mark.slow)])
def test_a_disk_is_resumed_after_its_snapshot_is_killed(
    plugged: tuple[Disk, str], guests: CephRbdLab, sr: CephSr, one: Dom0, moment: str
) -> None:
    disk, device = plugged
    with fist_point(guests.hosts[0], moment):
        assert "received signal: 9" in guests.refused("vdi-snapshot", f"uuid={disk.uuid}")
    wait_for(lambda: paused_tapdisks(one) == 0, "the disk to be resumed", SOON)
    write(one, device, b"goes" * (MIB // 4))
    wait_for(lambda: not disk.is_paused(), "SM's key to be removed", SOON)
    wait_for(lambda: f"op.{disk.uuid}" not in sr.catalogue_keys(), "the snapshot to be undone", SOON)
    assert disk.snapshot_names() == set()


@pytest.mark.timeout(600)
def test_a_vm_shuts_down_after_the_snapshot_of_its_disk_is_killed(disk: Disk, guests: CephRbdLab, one: Dom0) -> None:
    vm = guests.xe("vm-create", "name-label=guest")
    disk.attach_to(vm)
    guests.xe("vm-start", f"uuid={vm}", f"on={one.name}")
    with fist_point(guests.hosts[0], "vdi_snapshot_paused"):
        guests.refused("vdi-snapshot", f"uuid={disk.uuid}")
    guests.xe("vm-shutdown", f"uuid={vm}")
    guests.xe("vm-destroy", f"uuid={vm}")
    assert disk.claimed_by() is None


@pytest.mark.timeout(600)
def test_a_guard_resumes_a_disk_whose_commanding_host_is_dead(plugged: tuple[Disk, str], one: Dom0) -> None:
    disk, device = plugged
    guarded(disk, one)
    began = time.monotonic()
    pause(disk, one)
    wait_for(lambda: paused_tapdisks(one) == 0, "the guard to resume the disk", SOON)
    assert time.monotonic() - began > 3, "a snapshot has some time"
    assert read(one, device, MIB) == bytes(MIB)
    wait_for(lambda: not disk.is_paused(), "SM's key to be removed", SOON)
    late_pause(disk, one)
    wait_for(lambda: paused_tapdisks(one) == 0, "the guard to resume the disk again", SOON)


@pytest.mark.timeout(600)
def test_a_guard_ends_when_its_command_has_ended(plugged: tuple[Disk, str], one: Dom0) -> None:
    disk, _ = plugged
    args = guarded(disk, one)
    assert call_plugin(disk, one, "smblock", "end_guard", **args) == "True"
    time.sleep(3)
    late_pause(disk, one)
    time.sleep(10)  # a guard resumes a disk after 4
    assert paused_tapdisks(one) == 1
    assert call_plugin(disk, one, "tapdisk-pause", "unpause", sr_uuid=disk.sr.uuid, vdi_uuid=disk.uuid) == "True"


@pytest.mark.timeout(600)
def test_a_snapshot_leaves_neither_guard_nor_supervisor(
    plugged: tuple[Disk, str], guests: CephRbdLab, one: Dom0
) -> None:
    disk, _ = plugged
    snapshot = disk.snapshot()
    for host in (guests.hosts[0], one):
        assert host.exec(["find", GUARDS, "-name", f"{disk.uuid}*"]).check() == b""
    snapshot.destroy()
