"""The disks of high availability: every host writes to them at once, and attaches them without xapi."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from lab import LabError, krbd
from lab.cephrbd import CephSr, RbdPool
from lab.dom0 import Dom0
from lab.ha import StaticVdis, create, without_xapi

SLOT = 4096


@pytest.fixture(scope="module")
def sr(guests_rbd_pool: RbdPool) -> Iterator[CephSr]:
    sr = guests_rbd_pool.create_sr("ha")
    yield sr
    sr.destroy()


def write(host: Dom0, device: str, slot: int, text: bytes) -> None:
    """Write a host's block, past the page cache."""
    argv = ["dd", f"of={device}", f"bs={SLOT}", f"seek={slot}", "oflag=direct", "conv=notrunc", "status=none"]
    host.exec(argv, input=text.ljust(SLOT, b"\0")).check()


def read(host: Dom0, device: str, slot: int) -> bytes:
    argv = ["dd", f"if={device}", f"bs={SLOT}", f"skip={slot}", "count=1", "iflag=direct", "status=none"]
    return host.exec(argv).check().rstrip(b"\0")


def attach(host: Dom0, static: StaticVdis, vdi: str) -> str:
    """Attach a disk twice without xapi. Returns its device, which is the same both times."""
    with without_xapi(host):
        device = static.attach(vdi)
        assert static.attach(vdi) == device
    return device


def test_hosts_attach_the_statefile_without_xapi_and_read_each_other(sr: CephSr, one: Dom0, two: Dom0) -> None:
    statefile = create(sr, "ha_statefile")
    assert sr.pool.image_info(sr.image(statefile))["features"] == ["layering"]
    hosts = [(host, StaticVdis(host)) for host in (one, two)]
    for _, static in hosts:
        static.add(statefile)
    devices = [attach(host, static, statefile) for host, static in hosts]
    for turn in range(3):
        for slot, (host, _) in enumerate(hosts):
            write(host, devices[slot], slot, b"beat %d of host %d" % (turn, slot))
        for slot, (host, _) in enumerate(hosts):
            assert read(host, devices[slot], 1 - slot) == b"beat %d of host %d" % (turn, 1 - slot)
    assert "in use" in sr.lab.refused("vdi-destroy", f"uuid={statefile}")
    for host, static in hosts:
        with without_xapi(host):
            static.detach(statefile)
        static.delete(statefile)
        assert krbd.devices(host) == {}
    sr.destroy_vdi(statefile)


@pytest.mark.slow
def test_a_host_that_dies_delays_no_other_host(sr: CephSr, one: Dom0, two: Dom0) -> None:
    disks = [create(sr, kind) for kind in ("ha_statefile", "redo_log")]
    for host in (one, two):
        static = StaticVdis(host)
        for disk in disks:
            static.add(disk)
    with without_xapi(two):
        devices = [static.attach(disk) for disk in disks]
    first = StaticVdis(one)
    for disk in disks:
        write(one, attach(one, first, disk), 0, b"before")
    one.kill()
    longest = 0.0
    for beat in range(20):
        for device in devices:
            began = time.monotonic()
            write(two, device, 1, b"beat %d" % beat)
            longest = max(longest, time.monotonic() - began)
        time.sleep(1)
    # A dead holder of an exclusive lock would be waited for until its watch ends, after 30 s.
    assert longest < 10
    assert read(two, devices[0], 0) == b"before"
    sr.lab.power_on(one)
    again = StaticVdis(one)
    for disk in disks:
        again.add(disk)
        assert read(one, attach(one, again, disk), 1) == b"beat 19"
        with without_xapi(two):
            static.detach(disk)
        again.detach(disk)
        sr.destroy_vdi(disk)


@pytest.mark.slow
def test_monitors_that_do_not_reply_end_an_attachment_within_its_deadline(sr: CephSr, one: Dom0) -> None:
    disk = create(sr, "ha_statefile")
    static = StaticVdis(one)
    static.add(disk)
    static.change_device_config(disk, mon_host="127.1.255.254:6789")
    began = time.monotonic()
    with pytest.raises(LabError, match=r"no monitor replied .* tried 127\.1\.255\.254"):
        static.attach(disk)
    assert time.monotonic() - began < 40, "an emulated processor starts slowly"
    assert krbd.devices(one) == {}
    static.delete(disk)
    sr.destroy_vdi(disk)
