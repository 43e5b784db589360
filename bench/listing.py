"""The count of a pool's objects: by the driver, and by a program that does nothing else (`listing.c`)."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.rounds import Bench, Listing, side_by_side
from bench.sides import Access
from lab import LabError, run
from lab.ceph import OneNodeCeph

SOURCE = Path(__file__).with_name("listing.c")
SECONDS = 20


@dataclass(frozen=True)
class BareListing:
    """The bare program, built in a directory."""

    program: Path
    access: Access

    @classmethod
    def build(cls, directory: Path, access: Access) -> BareListing:
        program = directory / "listing"
        run(["cc", "-O2", "-o", program, SOURCE, "-lrados"], timeout=60)
        return cls(program, access)

    def objects(self) -> int:
        """How many objects the pool has."""
        access = self.access
        argv = [self.program, access.conf, access.user, access.keyring, access.pool]
        done = run([str(word) for word in argv], timeout=300)
        return int(done.stdout)

    def seconds(self) -> float:
        """The time of the whole program."""
        began = time.monotonic()
        self.objects()
        return time.monotonic() - began


def listing(ceph: OneNodeCeph, bench: Bench, access: Access, directory: Path, seconds: int = SECONDS) -> Listing:
    """Both, on a pool with as many small objects as Ceph writes in that time, and a disk."""
    bare = BareListing.build(directory, access)
    bench.disks(1, 1 << 30)
    words = ["-b", "1", "-t", "64", "--no-cleanup"]
    argv = ["rados", "--conf", ceph.conf, "--pool", access.pool, "bench", str(seconds), "write", *words]
    subprocess.run([str(word) for word in argv], check=True, capture_output=True, timeout=10 * seconds + 60)
    objects = bare.objects()
    if objects < 10:
        raise LabError(f"rados bench has written {objects} objects only")
    ceph.wait_pool_stats(access.pool, lambda stats: stats["objects"] >= objects // 2)
    ours: Callable[[], float] = lambda: bench.driver.run(["reclaim"]).operation  # noqa: E731
    return Listing(objects, side_by_side(ours, bare.seconds, bench.rounds))
