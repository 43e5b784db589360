"""A disk grows while a VM uses it, if xapi and the disk's datapath can do it."""

from __future__ import annotations

import hashlib
import os
import time

import pytest

from lab.cephrbd import CephRbdLab, CephSr, RbdPool
from lab.disk import MIB, Disk, read, write
from lab.dom0 import Dom0


def features(lab: CephRbdLab) -> dict[str, int]:
    """The capabilities of the driver, as xapi has them."""
    db = lab.xapi.pool.db
    (ref,) = db.find("SM", type="cephrbd")
    return dict(db.get("SM", ref, "features"))


def size(host: Dom0, device: str) -> int:
    return int(host.exec(["blockdev", "--getsize64", device]).check())


@pytest.fixture(scope="module")
def phy_sr(guests_rbd_pool: RbdPool, serves_phy: bool) -> CephSr:
    if not serves_phy:
        pytest.skip("this SM connects no block devices, so no disk grows in use")
    return guests_rbd_pool.create_sr("phy", "device-config:datapath=phy")


def test_the_capability_is_there_only_if_xapi_and_sm_have_what_it_needs(lab: CephRbdLab, serves_phy: bool) -> None:
    assert "VDI_RESIZE" in features(lab)
    assert "VDI_RESIZE_ONLINE" not in features(lab)
    with lab.newer_xapi():
        assert ("VDI_RESIZE_ONLINE" in features(lab)) == serves_phy
    assert "VDI_RESIZE_ONLINE" not in features(lab)


@pytest.mark.slow  # the engine's tests have each step and each crash
def test_a_disk_under_writes_grows_on_the_host_that_uses_it(phy_sr: CephSr, two: Dom0) -> None:
    """The command runs on the pool's master, which has not mapped the disk."""
    lab = phy_sr.lab
    disk = Disk.create(phy_sr)
    first, last = os.urandom(MIB), os.urandom(MIB)
    words = ("vdi-resize", f"uuid={disk.uuid}", f"disk-size={32 * MIB}")
    with lab.newer_xapi(), disk.plugged(two) as device:
        write(two, device, first)
        # writes and counts, until the file is gone
        writer = f"while [ -e /tmp/writes ]; do dd if=/dev/urandom of={device} bs=64k seek=64 count=8 oflag=direct"
        writer += " conv=notrunc 2>/dev/null || echo failed >>/tmp/failed; echo x >>/tmp/count; done"
        two.exec(["sh", "-c", f"rm -f /tmp/failed /tmp/count; touch /tmp/writes; ({writer}) >/dev/null 2>&1 &"]).check()
        assert "in use" in lab.refused(*words), "the call that is not for disks in use"
        lab.xe(*words, "online=true")
        assert size(two, device) == 32 * MIB
        assert lab.get("vdi", "virtual-size", disk.uuid) == str(32 * MIB)
        assert disk.record()["size"] == 32 * MIB
        assert disk.claimed_by() == two.uuid
        assert lab.xapi.commands[-1].host == lab.hosts[0].name
        write(two, device, last, offset=31 * MIB)
        before = two.exec(["cat", "/tmp/count"]).check().count(b"x")
        time.sleep(1)
        two.exec(["rm", "/tmp/writes"]).check()
        assert two.exec(["cat", "/tmp/count"]).check().count(b"x") > before
        assert two.exec(["cat", "/tmp/failed"]).returncode != 0, "a write failed"
        assert "cannot shrink" in lab.refused("vdi-resize", f"uuid={disk.uuid}", "disk-size=16MiB", "online=true")
        snapshot = disk.snapshot()
        clone = snapshot.clone()
        for copy in (snapshot, clone):
            assert lab.get("vdi", "virtual-size", copy.uuid) == str(32 * MIB)
        write(two, device, bytes(MIB), offset=31 * MIB)
    held = snapshot.export()
    assert held[:MIB] == first
    assert held[31 * MIB :] == last
    with clone.plugged(two) as device:
        larger = ("vdi-resize", f"uuid={clone.uuid}", "disk-size=64MiB")
        assert "MESSAGE_REMOVED" in lab.refused(*larger, "online=true"), "this xapi is older"
        assert "has claimed it for writing" in clone.refusal(two, "vdi_resize", str(64 * MIB))
        assert size(two, device) == 32 * MIB
        assert read(two, device, MIB) == first
    assert hashlib.sha256(clone.export()).digest() == hashlib.sha256(held).digest()
    for made in (clone, snapshot, disk):
        phy_sr.destroy_vdi(made.uuid)


@pytest.mark.slow  # the engine's tests have the refusal, those of tapdisk have its reason
def test_a_disk_behind_tapdisk_is_refused_and_can_be_paused_as_before(
    guests_rbd_pool: RbdPool, two: Dom0, serves_phy: bool
) -> None:
    sr = guests_rbd_pool.create_sr("aio")
    disk = Disk.create(sr)
    with sr.lab.newer_xapi(), disk.plugged(two) as device:
        refused = sr.lab.refused("vdi-resize", f"uuid={disk.uuid}", f"disk-size={32 * MIB}", "online=true")
        if serves_phy:
            assert "SMB-C150" in refused
            assert f"while host {two.uuid} uses it through tapdisk" in refused
        else:
            assert "does not support the operation" in refused
        assert size(two, device) == 16 * MIB
        sr.destroy_vdi(disk.snapshot().uuid)
        write(two, device, bytes(MIB))
    sr.lab.xe("vdi-resize", f"uuid={disk.uuid}", f"disk-size={32 * MIB}")
    sr.destroy_vdi(disk.uuid)


@pytest.mark.slow  # the engine's tests have each step
def test_a_disk_grown_by_hand_behind_tapdisk_is_refused_and_not_frozen(guests_rbd_pool: RbdPool, two: Dom0) -> None:
    sr = guests_rbd_pool.create_sr("grown by hand")
    disk = Disk.create(sr)
    lab = sr.lab
    with disk.plugged(two) as device:
        lab.ceph.rbd("resize", "--no-progress", "--size", "32M", disk.image)
        sr.scan()
        refused = lab.refused("vdi-snapshot", f"uuid={disk.uuid}")
        assert "SMB-C180" in refused
        write(two, device, b"goes" * (MIB // 4))
        # The second remedy of the text.
        command = refused.partition("'rbd ")[2].partition("'")[0]
        lab.ceph.rbd(*command.split(), "--no-progress")
        disk.snapshot()
        write(two, device, b"on.." * (MIB // 4))
        lab.ceph.rbd("resize", "--no-progress", "--size", "32M", disk.image)
    # The first one: it is plugged with the new size, also before a scan.
    with disk.plugged(two) as device:
        assert size(two, device) == 32 * MIB
        disk.snapshot()
        write(two, device, b"last" * (MIB // 4), offset=31 * MIB)
    assert lab.get("vdi", "virtual-size", disk.uuid) == str(16 * MIB)
    sr.scan()
    assert lab.get("vdi", "virtual-size", disk.uuid) == str(32 * MIB)
