"""The count of a pool's objects."""

from __future__ import annotations

import subprocess

from bench.rounds import Bench, Operation
from bench.sides import Access
from lab import LabError
from lab.ceph import OneNodeCeph

SECONDS = 20
COUNT = "count of a pool's objects"


def listing(ceph: OneNodeCeph, bench: Bench, access: Access, seconds: int = SECONDS) -> None:
    """By all sides, on a pool with as many small objects as Ceph writes in that time, and a disk."""
    bench.disks(1, 1 << 30)
    words = ["-b", "1", "-t", "64", "--no-cleanup"]
    argv = ["rados", "--conf", ceph.conf, "--pool", access.pool, "bench", str(seconds), "write", *words]
    subprocess.run([str(word) for word in argv], check=True, capture_output=True, timeout=10 * seconds + 60)
    [names] = bench.reference.objects()
    listed = subprocess.run(names, check=True, capture_output=True, timeout=300)
    objects = listed.stdout.count(b"\n")
    if objects < 10:
        raise LabError(f"rados bench has written {objects} objects only")
    counted = ceph.wait_pool_stats(access.pool, lambda stats: stats["objects"] >= objects // 2)["objects"]
    bench.driver.run(["reclaim"])  # writes the disk's figure, which does not change any more
    bench.findings.objects = objects
    bench.compare(COUNT, Operation(
        lambda times: bench.driver.run(*[["reclaim"]] * times),
        bench.reference.objects,
        lambda: bench.bare.steps_in(bench.driver.sr).count(counted),
    ))  # fmt: skip
