"""How much space each disk takes: counted by `smblock reclaim`, shown by XAPI after a scan, measured on demand."""

from __future__ import annotations

import dataclasses
import json
import struct
from collections import Counter

import pytest

from lab import run
from lab.cephrbd import CephSr, RbdPool
from lab.copies import row
from lab.disk import MIB, Disk

OBJECT = 4 * MIB
UNIT = 64 * MIB
GIB = 1 << 30


@pytest.fixture
def sr(shared_rbd_pool: RbdPool) -> CephSr:
    return shared_rbd_pool.create_sr("utilisation")


def write(disk: Disk, *extents: tuple[int, bytes]) -> None:
    """Writes to a disk's image at these offsets, as a VM would."""
    image = f"{disk.sr.pool.name}/{disk.record()['volume']['image']['name']}"
    parts = [b"w" + struct.pack("<QQ", offset, len(data)) + data for offset, data in extents]
    diff = b"rbd diff v1\n" + b"".join(parts) + b"e"
    run(["rbd", "--conf", disk.sr.lab.ceph.conf, "import-diff", "--no-progress", "-", image], timeout=60, input=diff)


def count(sr: CephSr) -> None:
    sr.lab.admin("reclaim", sr.uuid).check()
    sr.scan()


def shown(disk: Disk) -> int:
    """What XAPI has."""
    return int(row(disk)["physical_utilisation"])


def place(sr: CephSr, disk: Disk, *words: str) -> dict[str, object]:
    """What `smblock vdi show` prints as JSON."""
    (found,) = json.loads(sr.lab.admin("vdi", "show", "--json", "--vdi", disk.uuid, *words, sr.uuid).check())
    return dict(found)


def new_disk(sr: CephSr, name: str = "disk", size: int = GIB) -> Disk:
    return Disk(sr, sr.create_vdi(name, str(size)))


def test_xapi_shows_what_a_disk_takes_after_the_next_scan(sr: CephSr) -> None:
    disk = new_disk(sr)
    image = f"{sr.pool.name}/{disk.record()['volume']['image']['name']}"
    before = sr.get("physical-utilisation")
    write(disk, *((number * OBJECT, b"data") for number in range(20)))
    sr.scan()
    assert shown(disk) == 0, "a scan counts nothing"
    assert place(sr, disk)["utilisation"] is None
    count(sr)
    assert shown(disk) == 2 * UNIT
    assert place(sr, disk)["utilisation"] == 2 * UNIT
    assert int(sr.get("physical-utilisation")) >= int(before), "the SR's own figure comes from the pool"
    assert place(sr, disk, "--exact")["exact"] == 20 * 4
    text = sr.lab.admin("vdi", "show", "--exact", "--vdi", image, sr.uuid).check().decode()
    for line in ("takes at most  128 MiB", "takes          80 bytes (80 bytes)", f"image          {image}"):
        assert line in text, text


def test_a_snapshot_takes_nothing_and_is_counted_at_its_disk(sr: CephSr) -> None:
    disk = new_disk(sr)
    write(disk, (0, b"old"), (OBJECT, b"old"))
    snapshot = disk.snapshot()
    clone = snapshot.clone()
    write(disk, (0, b"new"))
    write(clone, (2 * OBJECT, b"own"))
    count(sr)
    assert (shown(disk), shown(snapshot), shown(clone)) == (UNIT, 0, UNIT)
    found = place(sr, disk, "--exact")
    assert (found["exact"], found["snapshots"], found["parents"]) == (6, 1, 0)
    found = place(sr, snapshot, "--exact")
    assert (found["exact"], found["utilisation"], found["flags"]) == (6, 0, ["snapshot", "read-only"])
    found = place(sr, clone, "--exact")
    assert (found["exact"], found["parents"]) == (3, 1)


def test_a_scan_without_new_figures_writes_nothing_to_xapi(sr: CephSr) -> None:
    disks = [new_disk(sr, f"disk {number}") for number in range(3)]
    for disk in disks:
        write(disk, (0, b"data"))
    sr.scan()
    count(sr)
    sr.lab.admin("reclaim", sr.uuid).check()
    mark = len(sr.lab.xapi.commands)
    sr.scan()
    scans = [command for command in sr.lab.xapi.commands[mark:] if command.name == "sr_scan"]
    calls = sum((Counter(command.calls) for command in scans), Counter[str]())
    assert not [call for call in calls if call.startswith("VDI.set_")], calls
    assert [shown(disk) for disk in disks] == [UNIT] * 3


def test_two_srs_in_a_pool_with_foreign_objects_have_their_own_figures(sr: CephSr) -> None:
    pool, ceph = sr.pool, sr.lab.ceph
    other = pool.create_sr("beside")
    mine, theirs = new_disk(sr), new_disk(other)
    write(mine, (0, b"data"))
    ceph.rbd("create", "--size", "64M", f"{pool.name}/foreign")
    ceph.rbd("bench", "--io-type", "write", "--io-size", "4M", "--io-total", "16M", f"{pool.name}/foreign")
    pool.rados("put", "rbd_data.no-image", "/etc/hostname")
    pool.rados("put", "anything.else", "/etc/hostname")
    count(sr)
    count(other)
    assert (shown(mine), shown(theirs)) == (UNIT, 0)
    ceph.rbd("rm", "--no-progress", f"{pool.name}/foreign")


def test_the_command_ends_if_the_sr_does_not_exist_any_more(sr: CephSr) -> None:
    config = sr.pool.device_config
    sr.lab.xe("pbd-unplug", "uuid=" + sr.lab.xe("pbd-list", f"sr-uuid={sr.uuid}", "--minimal").split(",")[0])
    sr.pool.rados("rm", sr.catalogue)
    done = sr.lab.admin("reclaim", sr.uuid, *config)
    assert done.returncode == 1 and b"holds no SR" in done.stderr, done
    assert sr.catalogue not in sr.pool.rados("ls").split()


def test_the_data_pool_of_an_sr_is_counted(sr: CephSr) -> None:
    lab, ceph, pool = sr.lab, sr.lab.ceph, sr.pool
    ceph.create_pool("data-of-disks")
    rbd = f"profile rbd pool={pool.name}, profile rbd pool=data-of-disks"
    user = lab.user("two-pools", mon="profile rbd", osd=rbd, mgr=rbd)
    split = dataclasses.replace(pool, user=user).create_sr("split", "device-config:data_pool=data-of-disks")
    disk = new_disk(split)
    write(disk, (0, b"data"), (UNIT, b"data"))
    assert dataclasses.replace(pool, name="data-of-disks").rados("ls").count("rbd_data.") == 2
    count(split)
    assert shown(disk) == UNIT
    disk.destroy()
    split.forget()
    ceph.admin("osd", "pool", "delete", "data-of-disks", "data-of-disks", "--yes-i-really-really-mean-it")
