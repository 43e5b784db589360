"""Of all hosts one may write to a disk, and no host ever gets another disk than it asked for.

The SR's data path is blkback: with tapdisk, SM's own tags would refuse a second writer before the
driver is asked, and only there.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.lab import krbd
from tests.lab.cephrbd import CephRbdLab, CephSr, RbdPool, wait_for
from tests.lab.disk import MIB, Disk, read, write
from tests.lab.dom0 import Dom0
from tests.lab.xapi import ApiError
from tests.lab.xapi.lab_pool import XeError

KILLER = Path(__file__).with_name("fixtures") / "kill_after_map.py"
# A kernel that is gone is taken for alive until its watch has lapsed: Ceph's osd_client_watch_timeout.
WATCH_SECONDS = 60.0
LAST_WORDS = b"last" * (MIB // 4)


@pytest.fixture(scope="module")
def sr(guests_rbd_pool: RbdPool, serves_phy: bool) -> CephSr:
    if not serves_phy:
        pytest.skip("this SM connects no block devices")
    return guests_rbd_pool.create_sr("claims", "device-config:datapath=phy")


@pytest.fixture
def disk(sr: CephSr) -> Iterator[Disk]:
    disk = Disk.create(sr)
    yield disk
    sr.destroy_vdi(disk.uuid)


def refused(disk: Disk, host: Dom0) -> str:
    """Plugging fails; what `xe` complains of."""
    with pytest.raises(XeError) as complaint:
        disk.plug(host)
    return str(complaint.value)


def plugged_at_last(disk: Disk, host: Dom0) -> str:
    """Plug it, as often as it takes until the kernel of a host that is gone has let go."""
    end = time.monotonic() + WATCH_SECONDS
    while True:
        try:
            return disk.plug(host)
        except XeError:
            if time.monotonic() > end:
                raise
        time.sleep(1)


def test_a_host_is_not_let_in_while_another_has_claimed_the_disk_and_is_told_which(
    disk: Disk, one: Dom0, two: Dom0
) -> None:
    with disk.plugged(one) as device:
        said = disk.refusal(two, "vdi_activate", "true")
        assert f"host {one.uuid} has claimed it" in said
        assert disk.traces(two) == []
        assert disk.claimed_by() == one.uuid
        write(one, device, b"mine" * (MIB // 4))
    with disk.plugged(two) as device:
        assert read(two, device, MIB) == b"mine" * (MIB // 4)


def test_a_host_lets_go_again_where_another_kernel_has_the_disk_behind_the_drivers_back(
    disk: Disk, one: Dom0, two: Dom0
) -> None:
    device = krbd.map_image(two, disk.sr.lab.ceph, disk.image)
    said = disk.refusal(one, "vdi_activate", "true")
    assert "mapped by another kernel" in said
    assert disk.traces(one) == []
    assert disk.claimed_by() is None
    krbd.unmap(two, device)
    with disk.plugged(one):
        assert disk.claimed_by() == one.uuid


def test_a_program_that_has_the_image_open_is_no_obstacle(disk: Disk, one: Dom0) -> None:
    argv = ["rbd", "--conf", str(disk.sr.lab.ceph.conf), "watch", disk.image]
    # It stays until its input ends.
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as program:
        try:
            wait_for(lambda: disk.watchers() > 0, "a program to watch the image")
            with disk.plugged(one) as device:
                assert disk.claimed_by() == one.uuid
                write(one, device, bytes(MIB))
            assert disk.watchers() > 0
        finally:
            program.communicate()


def test_a_device_of_a_killed_command_is_used_by_the_next_one(disk: Disk, one: Dom0) -> None:
    one.put("/tmp/killer", KILLER.read_bytes())
    with ThreadPoolExecutor() as beside:
        killer = beside.submit(one.exec, ["/usr/bin/python3", "/tmp/killer", disk.sr.image(disk.uuid)])
        with pytest.raises(ApiError, match="received signal: 9"):
            disk.command(one, "vdi_activate", "true")
        killer.result().check()
    left = disk.traces(one)
    assert left == disk.devices(one)
    assert len(left) == 1
    assert disk.claimed_by() == one.uuid
    with disk.plugged(one):
        assert disk.devices(one) == left
    assert disk.traces(one) == []
    assert disk.claimed_by() is None


def test_a_device_that_nobody_claims_is_gone_once_the_sr_is_plugged_again(disk: Disk, one: Dom0) -> None:
    lab = disk.sr.lab
    krbd.map_image(one, lab.ceph, disk.image)
    (pbd,) = lab.list("pbd", f"sr-uuid={disk.sr.uuid}", f"host-uuid={one.uuid}")
    disk.command(one, "sr_attach")
    assert disk.devices(one) == []
    lab.xe("pbd-unplug", f"uuid={pbd}")
    lab.xe("pbd-plug", f"uuid={pbd}")


def test_a_stale_device_of_an_image_of_the_same_name_is_not_served(disk: Disk, one: Dom0) -> None:
    ceph = disk.sr.lab.ceph
    aside = f"{disk.sr.pool.name}/aside-{disk.uuid}"
    ceph.rbd("rename", disk.image, aside)
    ceph.rbd("create", "--size", "16M", disk.image)
    stale = krbd.map_image(one, ceph, disk.image)
    write(one, stale, b"else" * (MIB // 4))
    ceph.rbd("rename", disk.image, f"{aside}-else")
    ceph.rbd("rename", aside, disk.image)
    with disk.plugged(one) as device:
        assert stale in disk.devices(one)
        assert read(one, device, MIB) == bytes(MIB)
    krbd.unmap(one, stale)
    ceph.rbd("rm", "--no-progress", f"{aside}-else")


def test_a_feature_the_kernel_lacks_is_named_with_the_command_that_mends_it(disk: Disk, one: Dom0) -> None:
    ceph = disk.sr.lab.ceph
    ceph.rbd("feature", "enable", disk.image, "journaling")
    said = refused(disk, one)
    assert "lacks the features journaling" in said
    assert disk.claimed_by() is None
    command = re.search(r"rbd (feature disable \S+ journaling)", said)
    assert command is not None, said
    ceph.rbd(*command[1].split())
    with disk.plugged(one) as device:
        write(one, device, bytes(MIB))


def test_a_disk_that_is_gone_from_the_sr_is_said_to_be(sr: CephSr, one: Dom0) -> None:
    disk = Disk.create(sr)
    image = disk.image
    sr.pool.rados("rmomapkey", sr.catalogue, f"vdi.{disk.uuid}")
    assert f"has no VDI {disk.uuid}" in disk.refusal(one, "vdi_activate", "true")
    assert disk.traces(one) == []
    sr.scan()
    assert disk.uuid not in sr.vdis()
    sr.lab.ceph.rbd("rm", "--no-progress", image)


def test_a_disk_whose_image_was_removed_by_hand_is_said_to_be_and_can_be_destroyed(disk: Disk, one: Dom0) -> None:
    disk.sr.lab.ceph.rbd("rm", "--no-progress", disk.image)
    said = refused(disk, one)
    assert f"its image {disk.sr.image(disk.uuid)}" in said
    assert "was removed outside this driver" in said
    assert disk.claimed_by() is None


@pytest.fixture(scope="module")
def crashed(sr: CephSr, guests: CephRbdLab, two: Dom0) -> Iterator[tuple[Disk, Disk]]:
    """Two disks that the second host had plugged, and had written to, when its power failed."""
    disks = (Disk.create(sr), Disk.create(sr))
    for disk in disks:
        write(two, disk.device(two, disk.plug(two)), LAST_WORDS)
    two.kill()
    yield disks
    if not two.is_running:
        guests.power_on(two)
    for disk in disks:
        sr.destroy_vdi(disk.uuid)


def test_the_claim_of_a_host_declared_dead_is_taken_once_its_kernel_has_let_go(
    crashed: tuple[Disk, Disk], guests: CephRbdLab, one: Dom0, two: Dom0
) -> None:
    disk = crashed[0]
    assert two.uuid in disk.refusal(one, "vdi_activate", "true"), "that it is silent proves nothing"
    guests.xe("host-declare-dead", f"uuid={two.uuid}")
    vbd = plugged_at_last(disk, one)
    assert disk.claimed_by() == one.uuid
    assert read(one, disk.device(one, vbd), MIB) == LAST_WORDS
    disk.unplug(vbd)


def test_a_host_that_lost_its_power_gets_its_disk_back_after_its_restart(
    crashed: tuple[Disk, Disk], guests: CephRbdLab, two: Dom0
) -> None:
    disk = crashed[1]
    assert disk.claimed_by() == two.uuid
    guests.power_on(two)
    assert disk.claimed_by() is None, "what ran there before is gone, as only that host can know"
    vbd = plugged_at_last(disk, two)
    assert read(two, disk.device(two, vbd), MIB) == LAST_WORDS
    disk.unplug(vbd)
