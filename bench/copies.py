"""Snapshots, clones, reverts, and operations whose time must not depend on a disk's size."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from bench.rounds import GIB, TIB, Bench, Pair, Samples, names, side_by_side
from bench.sides import DEADLINE, Access, Driver
from lab import LabError

AT_ONCE = 8
CREATIONS = 16
VDIS_OF_TEMPLATE = 100
SMALL, LARGE, HUGE = "1 GiB", "1 TiB, written all over", "16 TiB"
_SIZES = {SMALL: GIB, LARGE: TIB, HUGE: 16 * TIB}
_WRITTEN_OBJECTS = 512

# Writes small pieces all over an image, with the Python of Ceph's own packages.
_SCRIBBLE = """
import sys, rados, rbd
conf, user, keyring, pool, name, pieces = sys.argv[1:]
with rados.Rados(conffile=conf, rados_id=user, conf={"keyring": keyring}) as cluster:
    with cluster.open_ioctx(pool) as io, rbd.Image(io, name) as image:
        for number in range(int(pieces)):
            image.write(b"x" * 4096, (image.size() // int(pieces) * number) >> 22 << 22)
"""


# The time of librbd's own clone, measured in Ceph's Python.
_CLONE = """
import sys, time, rados, rbd
conf, user, keyring, pool, image, snapshot, clone = sys.argv[1:]
own = {"keyring": keyring, "rbd_default_clone_format": "2"}
with rados.Rados(conffile=conf, rados_id=user, conf=own) as cluster, cluster.open_ioctx(pool) as io:
    began = time.perf_counter()
    rbd.RBD().clone(io, image, snapshot, io, clone, features=rbd.RBD_FEATURE_LAYERING)
    print(time.perf_counter() - began)
"""
LIBRBD_CLONE = "librbd's own clone, by its Python"

# The same comparison by librbd alone: the ranges and the threads of rust/sr-ceph/src/ceph/changes.rs, on one open
# image. Prints the seconds of the comparison.
_DIFF = """
import sys, time, rados, rbd
from concurrent.futures import ThreadPoolExecutor
conf, user, keyring, pool, name, older, newer = sys.argv[1:]
step = 16 << 30
with rados.Rados(conffile=conf, rados_id=user, conf={"keyring": keyring}) as cluster:
    with cluster.open_ioctx(pool) as io, rbd.Image(io, name, newer, read_only=True) as image:
        size, found = image.size(), []
        def compare(offset):
            note = lambda *extent: found.append(extent)
            image.diff_iterate(offset, min(step, size - offset), older, note, include_parent=False)
        began = time.perf_counter()
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(compare, range(0, size, step)))
        print(time.perf_counter() - began)
"""
CHANGED_BLOCKS = "list of changed blocks, 1 TiB"


def _together(driver: Driver, calls: Sequence[Sequence[Any]]) -> float:
    """Seconds from the start of the first call to the end of the last."""
    replies = driver.run_at_once(calls)
    return max(reply.began + reply.operation for reply in replies) - min(reply.began for reply in replies)


@dataclass
class Copies:
    """Both sides in one pool, as in `Bench`.

    snapshots   how many snapshots an image has, also those kept only for clones
    slow        a context with the monitors' default pace
    """

    bench: Bench
    access: Access
    snapshots: Callable[[str], int]
    slow: Callable[[], AbstractContextManager[None]]

    def single_operations(self) -> None:
        """A snapshot of a disk; a clone of a snapshot."""
        driver, reference = self.bench.driver, self.bench.reference
        rounds, pairs = self.bench.rounds, self.bench.findings.pairs
        fresh = names()
        [disk], theirs = self.bench.disks(1, GIB), next(fresh)
        reference.run(reference.create(theirs, GIB))
        snapshot, their_snapshot = next(fresh), next(fresh)
        driver.run(["snapshot_vdi", disk, snapshot])
        reference.run(reference.snapshot(theirs, their_snapshot))
        pairs["clone of a snapshot"] = side_by_side(
            lambda: driver.run(["clone_vdi", snapshot, next(fresh), "persist"]).operation,
            lambda: reference.run(reference.clone_of_snapshot(theirs, their_snapshot, next(fresh))),
            rounds,
        )
        alone = [
            float(self._python(_CLONE, reference.image(theirs), f"snap-{their_snapshot}", next(fresh)))
            for _ in range(rounds)
        ]
        self.bench.findings.single[LIBRBD_CLONE] = Samples(alone)
        pairs["snapshot"] = side_by_side(
            lambda: driver.run(["snapshot_vdi", disk, next(fresh)]).operation,
            lambda: reference.run(reference.snapshot(theirs, next(fresh))),
            rounds,
        )
        name = next(fresh)
        self.bench.footprint("snapshot", ["snapshot_vdi", disk, name], reference.snapshot(theirs, name))
        clone = reference.clone_of_snapshot(theirs, their_snapshot, name)
        self.bench.footprint("clone of a snapshot", ["clone_vdi", snapshot, next(fresh), "persist"], clone)
        self.bench.footprint("revert", ["revert_vdi", disk, snapshot], reference.revert(theirs, their_snapshot))

    def template(self) -> None:
        """Disks cloned from one that does not run, one after the other, at the monitors' default pace."""
        driver, reference = self.bench.driver, self.bench.reference
        fresh = names()
        [disk], theirs = self.bench.disks(1, GIB), next(fresh)
        reference.run(reference.create(theirs, GIB))
        findings = self.bench.findings
        with self.slow():
            findings.pairs["clone of a template"] = side_by_side(
                lambda: driver.run(["clone_vdi", disk, next(fresh), "persist"]).operation,
                lambda: reference.run(reference.clone_of_disk(theirs, next(fresh), next(fresh))),
                VDIS_OF_TEMPLATE,
                self.bench.rounds,
            )
        findings.template_snapshots = self.snapshots(driver.image(disk))

    def at_once(self, rounds: int) -> None:
        """Snapshots of several disks, at once and back to back, at the monitors' default pace."""
        driver, fresh = self.bench.driver, names()
        disks = self.bench.disks(AT_ONCE, GIB)

        def snapshots() -> list[list[Any]]:
            return [["snapshot_vdi", disk, next(fresh)] for disk in disks]

        with self.slow():
            self.bench.findings.at_once = side_by_side(
                lambda: _together(driver, snapshots()),
                lambda: sum(driver.run(call).operation for call in snapshots()),
                rounds,
            )

    def creations(self, rounds: int) -> None:
        """Several disks at once, each by a process of its own."""
        driver, reference, fresh = self.bench.driver, self.bench.reference, names()
        self.bench.findings.creations = side_by_side(
            lambda: _together(driver, [["create_vdi", next(fresh), GIB] for _ in range(CREATIONS)]),
            lambda: reference.run_at_once([reference.create(next(fresh), GIB) for _ in range(CREATIONS)]),
            rounds,
            max(1, rounds // 2),
        )

    def changed_blocks(self, rounds: int) -> None:
        """Between two snapshots of a disk of 1 TiB, written in a few places; beside librbd alone."""
        driver, fresh = self.bench.driver, names()
        [disk] = self.bench.disks(1, TIB)
        older, newer = next(fresh), next(fresh)
        image = driver.image(disk)
        self._python(_SCRIBBLE, image, "60")
        driver.run(["track_changes", disk, True], ["snapshot_vdi", disk, older])
        self._python(_SCRIBBLE, image, "120")
        driver.run(["snapshot_vdi", disk, newer])
        self.bench.findings.pairs[CHANGED_BLOCKS] = side_by_side(
            lambda: driver.run(["changed_blocks", older, newer]).operation,
            lambda: float(self._python(_DIFF, image, older, newer)),
            rounds,
        )

    def sizes(self) -> None:
        """Reverts and deletions of each size in turns, while the manager frees earlier ones."""
        driver, reference = self.bench.driver, self.bench.reference
        rounds, findings, fresh = self.bench.rounds, self.bench.findings, names()
        disks = {size: self.bench.disks(1, size_bytes)[0] for size, size_bytes in _SIZES.items()}
        snapshots = {size: next(fresh) for size in _SIZES}
        self._write_all_over(driver.image(disks[LARGE]))
        for size, disk in disks.items():
            driver.run(["snapshot_vdi", disk, snapshots[size]])

        def revert(size: str, number: int) -> float:
            if size == LARGE:
                self._write_all_over(driver.image(disks[LARGE], number))
            return driver.run(["revert_vdi", disks[size], snapshots[size]]).operation

        findings.by_size["revert"] = self._in_turns(revert)
        theirs, their_snapshot = next(fresh), next(fresh)
        reference.run(reference.create(theirs, GIB) + reference.snapshot(theirs, their_snapshot))
        took = [reference.run(reference.revert(theirs, their_snapshot)) for _ in range(rounds)]
        findings.pairs["revert, 1 GiB"] = Pair(findings.by_size["revert"][SMALL], Samples(took))

        doomed = {size: self.bench.disks(rounds, size_bytes) for size, size_bytes in _SIZES.items()}
        for disk in doomed[LARGE]:
            self._write_all_over(driver.image(disk))
        findings.by_size["delete"] = self._in_turns(
            lambda size, number: driver.run(["delete_vdi", doomed[size][number]]).operation
        )

    def _in_turns(self, act: Callable[[str, int], float]) -> dict[str, Samples]:
        """All sizes in each round, with another one first in each."""
        took: dict[str, list[float]] = {size: [] for size in _SIZES}
        for number in range(self.bench.rounds):
            first = number % len(_SIZES)
            for size in itertools.islice(itertools.cycle(_SIZES), first, first + len(_SIZES)):
                took[size].append(act(size, number))
        return {size: Samples(seconds) for size, seconds in took.items()}

    def _write_all_over(self, image: str) -> None:
        self._python(_SCRIBBLE, image, str(_WRITTEN_OBJECTS))

    def _python(self, script: str, image: str, *words: str) -> str:
        """Run a script with the Python of Ceph's own packages. Returns its output."""
        access = self.access
        where = [str(access.conf), access.user, str(access.keyring), access.pool]
        argv = ["/usr/bin/python3", "-c", script, *where, image, *words]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=DEADLINE, check=False)
        if done.returncode != 0:
            raise LabError(f"image {image}: {done.stderr}")
        return done.stdout
