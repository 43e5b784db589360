"""After a failed or killed activation every host can use the disk, and nothing is left behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lab.cephrbd import CephRbdLab, CephSr, RbdPool
from lab.disk import MIB, Disk, read, write
from lab.dom0 import Dom0
from lab.sr import fist_point
from lab.xapi import ApiError
from lab.xapi.lab_pool import XeError

TAP_CTL = "/usr/sbin/tap-ctl"
NOTES = "/run/smblock/activating"
# Before the disk is mapped, or when everything is in place; the second has more to remove.
MOMENTS = [pytest.param("vdi_activate", marks=pytest.mark.slow), "vdi_activate_done"]


@pytest.fixture(scope="module")
def sr(guests_rbd_pool: RbdPool) -> CephSr:
    return guests_rbd_pool.create_sr("failed")


@contextmanager
def no_tapdisk(host: Dom0) -> Iterator[None]:
    """No tapdisk can be started on the host inside the `with` block."""
    host.exec(["mv", TAP_CTL, f"{TAP_CTL}.good"]).check()
    host.put(TAP_CTL, f'#!/bin/sh\n[ "$1" != spawn ] || exit 1\nexec {TAP_CTL}.good "$@"\n'.encode(), 0o755)
    try:
        yield
    finally:
        host.exec(["mv", f"{TAP_CTL}.good", TAP_CTL]).check()


@pytest.fixture
def failed(disk: Disk, one: Dom0) -> Disk:
    """A disk whose activation has just failed on the first host, because no tapdisk could start."""
    with no_tapdisk(one), pytest.raises(XeError):
        disk.plug(one)
    return disk


def kill_activation(disk: Disk, host: Dom0, moment: str, mode: str = "true") -> None:
    """Activates a disk with a command that is killed at a fist point."""
    with fist_point(host, moment), pytest.raises(ApiError, match="received signal: 9"):
        disk.command(host, "vdi_activate", mode)


def keys(disk: Disk) -> str:
    """SM's keys in the disk's sm-config."""
    return disk.sr.lab.get("vdi", "sm-config", disk.uuid)


def assert_nothing_is_left(disk: Disk, host: Dom0) -> None:
    assert disk.traces(host) == []
    assert disk.claimed_by() is None
    assert disk.watchers() == 0
    assert "host_" not in keys(disk)
    assert "activating" not in keys(disk)
    assert host.exec(["find", NOTES, "-type", "f"]).stdout == b""
    assert host.exec([TAP_CTL, "list"]).check() == b""


def test_a_failed_activation_leaves_nothing(failed: Disk, one: Dom0) -> None:
    assert_nothing_is_left(failed, one)


def test_another_host_plugs_a_disk_that_a_host_failed_to_activate(failed: Disk, two: Dom0) -> None:
    with failed.plugged(two):
        assert failed.claimed_by() == two.uuid


def test_a_host_unplugs_an_sr_after_a_failed_activation(failed: Disk, guests: CephRbdLab, one: Dom0) -> None:
    (pbd,) = guests.list("pbd", f"sr-uuid={failed.sr.uuid}", f"host-uuid={one.uuid}")
    guests.xe("pbd-unplug", f"uuid={pbd}")
    guests.xe("pbd-plug", f"uuid={pbd}")


def test_a_refused_activation_leaves_the_disk_to_its_host(disk: Disk, one: Dom0, two: Dom0) -> None:
    with disk.plugged(one) as device:
        write(one, device, b"mine" * (MIB // 4))
        refused = disk.refusal(two, "vdi_activate", "true")
        assert one.uuid in refused
        assert read(one, device, MIB) == b"mine" * (MIB // 4)
        assert disk.claimed_by() == one.uuid
        assert disk.traces(two) == []


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_next_command_of_a_host_removes_a_killed_activation(disk: Disk, sr: CephSr, one: Dom0, moment: str) -> None:
    kill_activation(disk, one, moment)
    assert disk.claimed_by() == one.uuid
    assert "host_" in keys(disk)
    sr.command(one, "sr_content_type")
    assert_nothing_is_left(disk, one)


def test_the_next_command_removes_a_killed_activation_for_reading(disk: Disk, sr: CephSr, one: Dom0) -> None:
    kill_activation(disk, one, "vdi_activate", "false")
    assert len(disk.devices(one)) == 1
    sr.command(one, "sr_content_type")
    assert_nothing_is_left(disk, one)


@pytest.mark.parametrize("moment", MOMENTS)
def test_another_host_plugs_the_disk_of_a_killed_activation(disk: Disk, one: Dom0, two: Dom0, moment: str) -> None:
    kill_activation(disk, one, moment)
    with disk.plugged(two) as device:
        assert disk.claimed_by() == two.uuid
        assert disk.traces(one) == []
        write(two, device, bytes(MIB))
    assert_nothing_is_left(disk, one)


def test_the_same_host_plugs_the_disk_of_a_killed_activation(disk: Disk, one: Dom0) -> None:
    kill_activation(disk, one, "vdi_activate_done")
    with disk.plugged(one) as device:
        write(one, device, bytes(MIB))
    assert_nothing_is_left(disk, one)


def test_the_pool_destroys_the_disk_of_a_killed_activation(sr: CephSr, one: Dom0) -> None:
    disk = Disk.create(sr)
    kill_activation(disk, one, "vdi_activate")
    disk.destroy()
    assert disk.traces(one) == []


def test_an_administrator_releases_what_a_killed_activation_left(disk: Disk, guests: CephRbdLab, one: Dom0) -> None:
    kill_activation(disk, one, "vdi_activate")
    words = ["release", "--sr", disk.sr.uuid, "--vdi", disk.uuid, "--yes", *disk.sr.pool.device_config]
    guests.admin(*words, host=1).check()
    assert disk.traces(one) == []
    assert disk.claimed_by() is None


def test_a_link_to_a_device_that_is_gone_does_not_stop_an_activation(disk: Disk, one: Dom0) -> None:
    one.exec(["mkdir", "-p", f"/dev/sm/phy/{disk.sr.uuid}"]).check()
    one.exec(["ln", "-s", "/dev/rbd77", f"/dev/sm/phy/{disk.sr.uuid}/{disk.uuid}"]).check()
    with disk.plugged(one) as device:
        write(one, device, bytes(MIB))
    assert_nothing_is_left(disk, one)
