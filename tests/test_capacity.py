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

GIB = 1 << 30
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


def fill(ceph: OneNodeCeph, image: str) -> None:
    """Write to an image until Ceph stops the writer."""
    words = ["bench", "--io-type", "write", "--io-size", "4M", "--io-threads", "4", "--io-total", "64G", image]
    nothing = subprocess.DEVNULL
    writer = subprocess.Popen(["rbd", "--conf", ceph.conf, *words], stdout=nothing, stderr=nothing)
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
    with new_cluster(osds=3, pool=None, store="bluestore", store_bytes=2 * GIB) as ceph:
        sr, data = create_sr(lab, ceph, erasure=erasure)
        disk = sr.create_vdi("disk", "64GiB")
        ceph.wait_pool_stats(data, lambda stats: stats["max_avail"] > 0)
        sr.scan()
        promised = int(sr.get("physical-size"))
        fill(ceph, f"{sr.pool.name}/{sr.image(disk)}")
        stored = ceph.wait_pool_stats(data)["stored"]
        assert stored == pytest.approx(promised, rel=0.05)
        sr.scan()
        assert int(sr.get("physical-size")) == pytest.approx(promised, rel=0.05)
        assert int(sr.get("physical-utilisation")) == pytest.approx(stored, rel=0.01)
        refused = lab.refused("vdi-create", f"sr-uuid={sr.uuid}", "name-label=x", "virtual-size=1GiB")
        assert f"pool '{data}' has too little free space: Ceph blocks its writers: an OSD is full" in refused
        sr.forget()
