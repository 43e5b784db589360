"""Only one host may write to a disk, and no host ever gets another disk than the requested one.

The SR's data path is blkback: with tapdisk, SM's own tags would refuse a second writer before SM calls
the driver.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab import krbd
from lab.cephrbd import CephSr, RbdPool, wait_for
from lab.disk import MIB, Disk, read, write
from lab.dom0 import Dom0
from lab.xapi import ApiError
from lab.xapi.lab_pool import XeError

KILLER = Path(__file__).with_name("fixtures") / "kill_after_map.py"


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
    """Plug the disk, which fails. Returns the error of `xe`."""
    with pytest.raises(XeError) as complaint:
        disk.plug(host)
    return str(complaint.value)


def test_a_claimed_disk_is_refused_and_the_error_names_the_host(disk: Disk, one: Dom0, two: Dom0) -> None:
    with disk.plugged(one) as device:
        said = disk.refusal(two, "vdi_activate", "true")
        assert f"host {one.uuid} has claimed it" in said
        assert disk.traces(two) == []
        assert disk.claimed_by() == one.uuid
        write(one, device, b"mine" * (MIB // 4))
    with disk.plugged(two) as device:
        assert read(two, device, MIB) == b"mine" * (MIB // 4)


def test_a_disk_that_another_kernel_mapped_by_hand_is_refused(disk: Disk, one: Dom0, two: Dom0) -> None:
    device = krbd.map_image(two, disk.sr.lab.ceph, disk.image)
    said = disk.refusal(one, "vdi_activate", "true")
    assert "Unmap it there ('rbd device unmap')" in said
    assert disk.traces(one) == []
    assert disk.claimed_by() is None
    krbd.unmap(two, device)
    with disk.plugged(one):
        assert disk.claimed_by() == one.uuid


def test_a_program_that_has_the_image_open_stops_no_activation(disk: Disk, one: Dom0) -> None:
    argv = ["rbd", "--conf", str(disk.sr.lab.ceph.conf), "watch", disk.image]
    # The program runs until its input ends.
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as program:
        try:
            wait_for(lambda: disk.watchers() > 0, "a program to watch the image")
            with disk.plugged(one) as device:
                assert disk.claimed_by() == one.uuid
                write(one, device, bytes(MIB))
            assert disk.watchers() > 0
        finally:
            program.communicate()


def test_the_next_command_removes_the_device_of_a_killed_one(disk: Disk, one: Dom0) -> None:
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
    disk.sr.command(one, "sr_content_type")
    assert disk.traces(one) == []
    assert disk.claimed_by() is None


def test_sr_plug_removes_a_device_without_a_claim(disk: Disk, one: Dom0) -> None:
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


def test_a_feature_the_kernel_lacks_is_named_with_the_fix(disk: Disk, one: Dom0) -> None:
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


def test_a_disk_that_the_sr_does_not_have_is_an_error_that_names_it(sr: CephSr, one: Dom0) -> None:
    disk = Disk.create(sr)
    image = disk.image
    sr.pool.rados("rmomapkey", sr.catalogue, f"vdi.{disk.uuid}")
    assert f"has no VDI {disk.uuid}" in disk.refusal(one, "vdi_activate", "true")
    assert disk.traces(one) == []
    sr.scan()
    assert disk.uuid in sr.vdis()  # its image exists
    sr.lab.ceph.rbd("rm", "--no-progress", image)
    sr.scan()
    assert disk.uuid not in sr.vdis()


def test_a_disk_without_its_image_is_refused_and_can_be_destroyed(disk: Disk, one: Dom0) -> None:
    disk.sr.lab.ceph.rbd("rm", "--no-progress", disk.image)
    said = refused(disk, one)
    assert f"its image {disk.sr.image(disk.uuid)}" in said
    assert "was removed or migrated to another pool" in said
    assert disk.claimed_by() is None
