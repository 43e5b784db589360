"""Tests of the lab's hosts that have a kernel of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import LabError, keeper, krbd
from lab.ceph import OneNodeCeph
from lab.dom0 import GuestDom0

# The other tests use most of this at every `make test`.
pytestmark = pytest.mark.slow

NewGuest = Callable[[str], GuestDom0]


@pytest.fixture(scope="module")
def guest(new_guest_dom0: NewGuest) -> Iterator[GuestDom0]:
    with new_guest_dom0("host1") as started:
        yield started


def test_a_guest_has_the_machines_files_and_keeps_its_own(guest: GuestDom0) -> None:
    script = Path(__file__).read_bytes()
    assert guest.get(__file__) == script
    guest.put("/etc/xensource-inventory", b"of the lab")
    guest.put(__file__, b"changed")
    assert guest.get(__file__) == b"changed"
    assert Path(__file__).read_bytes() == script
    assert not os.path.lexists("/etc/xensource-inventory")


def test_a_guests_kernel_maps_an_image_and_writes_to_the_cluster(
    guest: GuestDom0, ceph: OneNodeCeph, pool: str, tmp_path: Path
) -> None:
    ceph.rbd("create", "--size", "64M", f"{pool}/disk")
    device = krbd.map_image(guest, ceph, f"{pool}/disk")
    data = os.urandom(1 << 20)
    guest.exec(["dd", f"of={device}", "bs=1M", "oflag=direct", "iflag=fullblock"], input=data).check()
    assert guest.exec(["dd", f"if={device}", "bs=1M", "count=1", "iflag=direct"]).check() == data
    krbd.unmap(guest, device)
    ceph.rbd("export", f"{pool}/disk", str(tmp_path / "disk"))
    assert (tmp_path / "disk").read_bytes()[: 1 << 20] == data


def test_two_guests_see_one_cluster_and_a_killed_one_stays_a_watcher(
    guest: GuestDom0, new_guest_dom0: NewGuest, ceph: OneNodeCeph, pool: str
) -> None:
    ceph.rbd("create", "--size", "64M", f"{pool}/disk")
    with new_guest_dom0("host2") as other:
        here, there = (krbd.map_image(host, ceph, f"{pool}/disk") for host in (guest, other))
        guest.exec(["dd", f"of={here}", "bs=4k", "oflag=direct"], input=b"a" * 4096).check()
        assert other.exec(["dd", f"if={there}", "bs=4k", "count=1", "iflag=direct"]).check() == b"a" * 4096
        other.kill()
        assert ceph.rbd("status", f"{pool}/disk").count("watcher=") == 2
        with pytest.raises(LabError):
            other.exec(["true"])
    krbd.unmap(guest, here)


def test_a_guest_has_a_device_mapper_and_network_block_devices(guest: GuestDom0) -> None:
    assert b"device-mapper" in guest.get("/proc/devices")
    guest.exec(["test", "-b", "/dev/nbd0"]).check()


def test_a_guest_leaves_nothing_behind(tmp_path: Path) -> None:
    directory = tmp_path / "host"
    with GuestDom0("host3", directory, memory=512):
        assert keeper.processes_naming(str(directory / "host"))
    assert keeper.processes_naming(str(directory / "host")) == []
    assert not directory.exists()
