"""A plugged disk has the same data on each host, and only one host writes.

On hosts with a real kernel, over both data paths: tapdisk (aio) and blkback (phy).
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from lab import krbd
from lab.cephrbd import CephSr, RbdPool
from lab.disk import MIB, Disk, read, write
from lab.dom0 import Dom0
from lab.xapi import ApiError

KEPT = b"kept" * (MIB // 4)

# Tests that are the same on both data paths run on one of them, and on both in `make test-slow`.
on_tapdisk = pytest.mark.parametrize(
    "sr", ["aio", pytest.param("phy", marks=pytest.mark.slow)], indirect=True, scope="module"
)


@pytest.fixture(scope="module", params=["aio", "phy"])
def sr(request: pytest.FixtureRequest, guests_rbd_pool: RbdPool, serves_phy: bool) -> CephSr:
    if request.param == "phy" and not serves_phy:
        pytest.skip("this SM connects no block devices: another test has the refusal of such an SR")
    return guests_rbd_pool.create_sr(request.param, f"device-config:datapath={request.param}")


@pytest.fixture(scope="module")
def plugged(sr: CephSr, two: Dom0) -> Iterator[tuple[Disk, str]]:
    """A disk that the second host has plugged, and its device, for tests of refused commands."""
    disk = Disk.create(sr)
    with disk.plugged(two) as device:
        write(two, device, KEPT)
        yield disk, device
    sr.destroy_vdi(disk.uuid)


@pytest.fixture
def disk(sr: CephSr) -> Iterator[Disk]:
    disk = Disk.create(sr)
    yield disk
    sr.destroy_vdi(disk.uuid)


def test_a_disk_written_on_one_host_is_read_on_the_other_byte_for_byte(disk: Disk, one: Dom0, two: Dom0) -> None:
    written = os.urandom(4 * MIB)
    with disk.plugged(one) as device:
        assert read(one, device, MIB) == bytes(MIB)
        write(one, device, written[: 3 * MIB])
        write(one, device, written[3 * MIB :], offset=15 * MIB)
    whole = written[: 3 * MIB] + bytes(12 * MIB) + written[3 * MIB :]
    assert hashlib.sha256(disk.export()).digest() == hashlib.sha256(whole).digest()
    with disk.plugged(two) as device:
        assert read(two, device, 16 * MIB) == whole


@on_tapdisk
def test_an_unplugged_disk_leaves_no_device_no_link_and_no_claim(disk: Disk, one: Dom0) -> None:
    with disk.plugged(one):
        assert disk.claimed_by() == one.uuid
        assert len(disk.devices(one)) == 1
        assert len(disk.traces(one)) > 1
        assert disk.watchers() == 1
    assert disk.claimed_by() is None
    assert disk.traces(one) == []
    assert disk.watchers() == 0


@on_tapdisk
def test_a_disk_has_the_queue_and_options_of_an_image_mapped_by_hand(disk: Disk, one: Dom0) -> None:
    with disk.plugged(one):
        (device,) = disk.devices(one)
        ours = krbd.settings(one, device)
        # How long the kernel tries to reach the monitors: no option of reads and writes.
        assert krbd.options(one, device) == {"mount_timeout=25"}
    by_hand = krbd.map_image(one, disk.sr.lab.ceph, disk.image)
    theirs = krbd.settings(one, by_hand)
    assert krbd.options(one, by_hand) == set()
    krbd.unmap(one, by_hand)
    assert len(theirs) > 30
    assert ours == theirs


@pytest.mark.slow  # hostdev's tests cover its maps
def test_a_disk_that_is_activated_again_keeps_its_one_device(disk: Disk, one: Dom0) -> None:
    """If the disk has a tapdisk, SM refuses it by the tag; blkback has no tags, and SM calls the driver."""

    def devices_and_links() -> list[str]:
        # SM records an attach in a file beside the link, if the directory exists.
        return [trace for trace in disk.traces(one) if not trace.endswith(".attach_info")]

    with disk.plugged(one) as device:
        before = devices_and_links()
        write(one, device, KEPT)
        disk.command(one, "vdi_attach", "true")
        with suppress(ApiError):
            disk.command(one, "vdi_activate", "true")
        assert devices_and_links() == before
        assert read(one, device, MIB) == KEPT


@on_tapdisk
def test_two_hosts_plug_a_disk_for_reading_and_cannot_write_to_it(disk: Disk, one: Dom0, two: Dom0) -> None:
    with disk.plugged(one, "RO") as here:
        assert disk.claimed_by() is None
        assert one.exec(["dd", "if=/dev/zero", f"of={here}", "bs=4k", "count=1", "oflag=direct"]).returncode != 0
        with disk.plugged(two, "RO") as there:
            assert read(two, there, MIB) == read(one, here, MIB)


@on_tapdisk
def test_a_live_migration_moves_the_disk_and_never_has_two_writers(disk: Disk, one: Dom0, two: Dom0) -> None:
    lab = disk.sr.lab
    vm = lab.xe("vm-create", "name-label=guest")
    vbd = disk.attach_to(vm)
    lab.xe("vm-start", f"uuid={vm}", f"on={one.name}")
    written = os.urandom(MIB)
    write(one, disk.device(one, vbd), written)
    mark = len(lab.xapi.commands)
    with most_watchers(disk) as most:
        lab.xe("vm-migrate", f"uuid={vm}", f"host-uuid={two.uuid}")
    assert lab.commands_since(mark) == [
        (two.name, "vdi_attach"),
        (one.name, "vdi_deactivate"),
        (two.name, "vdi_activate"),
        (one.name, "vdi_detach"),
    ]
    assert max(most) == 1
    assert disk.claimed_by() == two.uuid
    assert disk.traces(one) == []
    assert read(two, disk.device(two, vbd), MIB) == written
    lab.xe("vm-shutdown", f"uuid={vm}")
    lab.xe("vm-destroy", f"uuid={vm}")
    assert disk.traces(two) == []


@contextmanager
def most_watchers(disk: Disk) -> Iterator[list[int]]:
    """Counts repeatedly, and once at the end, the clients that have the image open."""
    seen: list[int] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            seen.append(disk.watchers())
            time.sleep(0.05)

    looker = threading.Thread(target=look)
    looker.start()
    try:
        yield seen
    finally:
        done.set()
        looker.join()
        seen.append(disk.watchers())


@on_tapdisk
def test_a_grown_disk_is_bigger_at_its_next_plug_and_holds_what_it_held(disk: Disk, one: Dom0) -> None:
    written = os.urandom(MIB)
    with disk.plugged(one) as device:
        write(one, device, written)
    disk.sr.lab.xe("vdi-resize", f"uuid={disk.uuid}", "disk-size=32MiB")
    with disk.plugged(one) as device:
        assert one.exec(["blockdev", "--getsize64", device]).check() == b"%d\n" % (32 * MIB)
        assert read(one, device, MIB) == written
        write(one, device, written, offset=31 * MIB)
    assert disk.export()[31 * MIB :] == written


@on_tapdisk
def test_a_plugged_disk_is_not_destroyed_even_past_xapis_own_check(
    plugged: tuple[Disk, str], one: Dom0, two: Dom0
) -> None:
    disk, device = plugged
    assert "in use" in disk.sr.lab.refused("vdi-destroy", f"uuid={disk.uuid}")
    said = disk.refusal(one, "vdi_delete")
    assert "because this VDI is in use" in said, "the code on which Xen Orchestra tries again"
    assert read(two, device, MIB) == KEPT


@on_tapdisk
def test_a_plugged_disk_is_not_resized_even_past_xapis_own_check(
    plugged: tuple[Disk, str], one: Dom0, two: Dom0
) -> None:
    disk, device = plugged
    assert "in use" in disk.sr.lab.refused("vdi-resize", f"uuid={disk.uuid}", "disk-size=32MiB")
    said = disk.refusal(one, "vdi_resize", str(32 * MIB))
    assert "SR_BACKEND_FAILURE_46" in said
    assert f"host {two.uuid} has claimed it for writing" in said
    assert two.exec(["blockdev", "--getsize64", device]).check() == b"%d\n" % (16 * MIB)
    assert disk.sr.lab.get("vdi", "virtual-size", disk.uuid) == str(16 * MIB)


@on_tapdisk
def test_an_sr_is_not_unplugged_from_a_host_that_has_a_disk_of_it(plugged: tuple[Disk, str], two: Dom0) -> None:
    disk, device = plugged
    lab = disk.sr.lab
    (pbd,) = lab.list("pbd", f"sr-uuid={disk.sr.uuid}", f"host-uuid={two.uuid}")
    lab.refused("pbd-unplug", f"uuid={pbd}")
    said = disk.refusal(two, "sr_detach")
    assert disk.uuid in said
    assert disk.devices(two)[0] in said
    assert read(two, device, MIB) == KEPT


def test_blkback_is_refused_with_the_reason_if_sm_lacks_it(guests_rbd_pool: RbdPool, serves_phy: bool) -> None:
    if serves_phy:
        pytest.skip("this SM connects block devices")
    lab = guests_rbd_pool.lab
    before = guests_rbd_pool.objects()
    device_config = [*guests_rbd_pool.device_config, "device-config:datapath=phy"]
    checked = lab.admin("check", *device_config)
    assert checked.returncode == 1
    created = lab.refused("sr-create", "type=cephrbd", "shared=true", "name-label=phy", *device_config)
    for said in (checked.stderr.decode(), created):
        assert "device-config:datapath='phy' is refused" in said
        assert "connects disks by aio only" in said
    assert guests_rbd_pool.objects() == before
