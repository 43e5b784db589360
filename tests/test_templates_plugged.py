"""A disk of a golden image in another pool, mapped by a real kernel."""

from __future__ import annotations

import dataclasses
import json
import random

import pytest

from lab import run
from lab.cephrbd import RbdPool
from lab.disk import MIB, Disk, read, write
from lab.dom0 import Dom0

GOLDEN = random.Random(2).randbytes(5 * MIB + 512)


@pytest.mark.slow  # test_templates.py reads the content with librbd
def test_a_guest_reads_the_golden_image_and_writes_to_its_own(guests_rbd_pool: RbdPool, one: Dom0, two: Dom0) -> None:
    lab, ceph = guests_rbd_pool.lab, guests_rbd_pool.lab.ceph
    ceph.create_pool("golden")
    argv = [
        "rbd",
        "--conf",
        str(ceph.conf),
        "import",
        "--no-progress",
        "--image-feature",
        "layering",
        "-",
        "golden/debian",
    ]
    run(argv, timeout=60, input=GOLDEN)
    ceph.rbd("snap", "create", "--no-progress", "golden/debian@v1")
    rbd = f"profile rbd pool={guests_rbd_pool.name}"
    user = lab.user("golden", mon="profile rbd", osd=f"{rbd}, profile rbd-read-only pool=golden", mgr=rbd)
    sr = dataclasses.replace(guests_rbd_pool, user=user).create_sr("golden")
    made = lab.admin("vdi", "import", "--json", "--from", "golden/debian@v1", "--size", "8MiB", sr.uuid)
    disk = Disk(sr, json.loads(made.check())["vdi"])
    whole = GOLDEN.ljust(8 * MIB, b"\0")
    with disk.plugged(one) as device:
        assert read(one, device, 8 * MIB) == whole
        write(one, device, b"own" * 512, offset=MIB)
        refused = lab.admin("vdi", "spec", "--vdi", disk.uuid, sr.uuid)
        assert refused.returncode == 1
        assert f"host {one.uuid} has claimed it".encode() in refused.stderr, refused.stderr
    changed = whole[:MIB] + b"own" * 512 + whole[MIB + 1536 :]
    with disk.plugged(two) as device:
        assert read(two, device, 8 * MIB) == changed
    assert (
        run(["rbd", "--conf", ceph.conf, "export", "--no-progress", "golden/debian@v1", "-"], timeout=60).stdout
        == GOLDEN
    )
    disk.destroy()
