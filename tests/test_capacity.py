"""The size of an SR is what can be written to its disks until Ceph stops the writers."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

import pytest

from lab import wait_for
from lab.ceph import OneNodeCeph
from lab.cephrbd import CephRbdLab, CephSr, OtherPool

pytestmark = pytest.mark.slow

MIB, GIB = 1 << 20, 1 << 30
DATA = "erasure"


def create_sr(lab: CephRbdLab, ceph: OneNodeCeph, *, erasure: bool) -> tuple[CephSr, str]:
    """An SR, and the pool with the data of its disks, which every OSD has an equal part of."""
    pool = OtherPool.create(lab, ceph, "capacity")
    if not erasure:
        ceph.admin("osd", "pool", "set", pool.name, "size", "3")
        return pool.create_sr("capacity"), pool.name
    ceph.create_erasure_pool(DATA)
    rbd = ", ".join(f"profile rbd pool={each}" for each in (pool.name, DATA))
    ceph.admin("auth", "caps", f"client.{pool.user}", "mon", "profile rbd", "osd", rbd, "mgr", rbd)
    return pool.create_sr("capacity", f"device-config:data_pool={DATA}"), DATA


BENCH = ("bench", "--io-type", "write", "--io-size", "4M", "--io-threads", "2")


def fill(ceph: OneNodeCeph, image: str) -> None:
    """Write to an image until Ceph stops the writer, so slowly that the OSDs find out in time that they are full."""
    words = [
        "rbd",
        "--conf",
        str(ceph.conf),
        "--rbd-qos-write-bps-limit",
        str(16 * MIB),
        *BENCH,
        "--io-total",
        "64G",
        image,
    ]
    writer = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: "OSD_FULL" in ceph.admin("health")["checks"], "an OSD to be full", seconds=600)
        time.sleep(3)  # the report of the usage is a second old
    finally:
        writer.kill()
        writer.wait()


@pytest.mark.parametrize("erasure", [False, True], ids=["replicated", "erasure coded"])
def test_the_size_of_an_sr_is_what_its_disks_hold_when_ceph_is_full(
    lab: CephRbdLab, new_cluster: Callable[..., OneNodeCeph], erasure: bool
) -> None:
    with new_cluster(osds=3, pool=None, store="bluestore", store_bytes=3 * GIB) as ceph:
        sr, data = create_sr(lab, ceph, erasure=erasure)
        disks = [f"{sr.pool.name}/{sr.image(sr.create_vdi(name, '64GiB'))}" for name in ("one", "two")]
        ceph.wait_pool_stats(data, lambda stats: stats["max_avail"] > 0)
        sr.scan()
        promised = int(sr.get("physical-size"))
        ceph.rbd(*BENCH, "--io-total", str(promised * 8 // 10), disks[0], timeout=300)
        fill(ceph, disks[1])
        stored = ceph.wait_pool_stats(data)["stored"]
        assert stored == pytest.approx(promised, rel=0.05)
        sr.scan()
        assert int(sr.get("physical-size")) == pytest.approx(promised, rel=0.05)
        assert int(sr.get("physical-utilisation")) == pytest.approx(stored, rel=0.01)
        refused = lab.refused("vdi-create", f"sr-uuid={sr.uuid}", "name-label=x", "virtual-size=1GiB")
        assert "has too little free space" in refused  # the pool of the headers is on the same OSDs
        sr.forget()
