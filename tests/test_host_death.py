"""A host loses its power with plugged disks: another host gets them only after it is declared dead."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab.cephrbd import CephRbdLab, RbdPool
from lab.crucible import CrucibleLab, CrucibleSr, open_claims
from lab.disk import MIB, Disk, read, write
from lab.dom0 import Dom0
from lab.vdi import Vdi

LAST_WORDS = b"last" * (MIB // 4)


@dataclass(frozen=True)
class Crash:
    """The disks of VMs that had written when the power of their host failed: two images, one volume."""

    needed: Disk
    waiting: Disk
    volume: Vdi[CrucibleSr]


@pytest.fixture(scope="module")
def crash(guests_rbd_pool: RbdPool, crucible_guests: CrucibleLab, guests: CephRbdLab, two: Dom0) -> Iterator[Crash]:
    sr = guests_rbd_pool.create_sr("death")
    volume = crucible_guests.storage.create_volume("death")
    crucible_guests.declare(volume)
    crucible_sr = crucible_guests.create_sr("volumes")
    crash = Crash(Disk.create(sr), Disk.create(sr), Vdi(crucible_sr, volume.uuid))
    for disk in (crash.needed, crash.waiting, crash.volume):
        _, vbd = disk.start_vm(two)
        device = disk.device(two, vbd)
        write(two, device, LAST_WORDS)
        two.exec(["sync", device]).check()
    two.kill()
    yield crash
    if not two.is_running:
        guests.power_on(two)
    for disk in (crash.needed, crash.waiting):
        disk.destroy()
    crucible_sr.forget()


@pytest.mark.slow  # test_crucible_safety.py has it without kernels
def test_a_silent_host_keeps_its_disks_until_it_is_declared_dead(
    crash: Crash, guests: CephRbdLab, one: Dom0, two: Dom0
) -> None:
    disk, volume = crash.needed, crash.volume
    for silent in (disk, volume):
        refusal = silent.refusal(one, "vdi_activate", "true")
        assert two.uuid in refusal, refusal
        assert "host-declare-dead" in refusal, refusal
    guests.xe("host-declare-dead", f"uuid={two.uuid}")
    for dead in (volume, disk):
        with dead.plugged(one) as device:
            assert read(one, device, MIB) == LAST_WORDS


def test_a_host_that_lost_its_power_gets_its_disk_back_after_its_restart(
    crash: Crash, guests: CephRbdLab, two: Dom0
) -> None:
    disk = crash.waiting
    assert disk.claimed_by() == two.uuid
    guests.power_on(two)
    assert disk.claimed_by() is None, "what ran there before is gone, as only that host can know"
    assert open_claims(crash.volume) == []
    with disk.plugged(two) as device:
        assert read(two, device, MIB) == LAST_WORDS
