"""Snapshots, clones, reverts, and operations whose time must not depend on a disk's size."""

from __future__ import annotations

import itertools
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from bench.bare import Bare
from bench.rounds import GIB, TIB, Bench, Operation, Pair, Samples, names, side_by_side
from bench.sides import DEADLINE, Access, Driver, Reference
from lab import LabError

AT_ONCE = 8
VM_DISKS = 8
VM_SNAPSHOT = f"snapshot of a VM with {VM_DISKS} disks, monitors' default pace"
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


CHANGED_BLOCKS = "list of changed blocks, 1 TiB"
TEMPLATE = "clone of a template"
CLONE = "clone of a snapshot"


def _together(driver: Driver, calls: Sequence[Sequence[Any]]) -> float:
    """Seconds from the start of the first call to the end of the last."""
    replies = driver.run_at_once(calls)
    return max(reply.began + reply.operation for reply in replies) - min(reply.began for reply in replies)


@dataclass
class Copies:
    """Both sides in one pool, as in `Bench`.

    snapshots   how many snapshots an image has, also those kept only for clones
    slow        a context with the monitors' default pace
    claim       has a disk claimed by a host, as if a VM used it
    """

    bench: Bench
    access: Access
    snapshots: Callable[[str], int]
    slow: Callable[[], AbstractContextManager[None]]
    claim: Callable[[str, str], None]

    def single_operations(self) -> None:
        """A snapshot of a disk; a clone of a snapshot."""
        bench, driver, reference, bare, fresh = self._all()
        [disk], [limited], theirs = bench.disks(1, GIB), bench.disks(1, GIB, bare.driver), next(fresh)
        image = bare.image(limited)
        snapshot, their_snapshot = self._snapshot(disk, theirs)
        bench.compare(CLONE, self._clones(snapshot, theirs, their_snapshot, limited))
        bench.compare("snapshot", Operation(
            lambda times: driver.run(*(["snapshot_vdi", disk, next(fresh)] for _ in range(times))),
            lambda: reference.snapshot(theirs, next(fresh)),
            lambda: bare.steps.snapshot(limited, image, next(fresh)),
        ))  # fmt: skip
        name = next(fresh)
        bench.footprint("snapshot", ["snapshot_vdi", disk, name], reference.snapshot(theirs, name))
        clone = reference.clone_of_snapshot(theirs, their_snapshot, name)
        bench.footprint(CLONE, ["clone_vdi", snapshot, next(fresh), "persist"], clone)
        bench.footprint("revert", ["revert_vdi", disk, snapshot], reference.revert(theirs, their_snapshot))

    def in_data_pool(self) -> None:
        """A creation and a clone whose data are in another pool, which `access` names."""
        bench, driver, reference, bare, fresh = self._all()
        bench.compare("create with a data pool", Operation(
            lambda times: driver.run(*(["create_vdi", next(fresh), GIB] for _ in range(times))),
            lambda: reference.create(next(fresh), GIB),
            lambda: bare.steps.create(next(fresh), GIB),
        ))  # fmt: skip
        [disk], [limited], theirs = bench.disks(1, GIB), bench.disks(1, GIB, bare.driver), next(fresh)
        snapshot, their_snapshot = self._snapshot(disk, theirs)
        bench.compare("clone with a data pool", self._clones(snapshot, theirs, their_snapshot, limited))

    def _snapshot(self, disk: str, theirs: str) -> tuple[str, str]:
        """A snapshot of our disk, and one of theirs, which is made, too."""
        _, driver, reference, _, fresh = self._all()
        snapshot, their_snapshot = next(fresh), next(fresh)
        reference.run(reference.create(theirs, GIB) + reference.snapshot(theirs, their_snapshot))
        driver.run(["snapshot_vdi", disk, snapshot])
        return snapshot, their_snapshot

    def _clones(self, snapshot: str, theirs: str, their_snapshot: str, limited: str) -> Operation:
        _, driver, reference, bare, fresh = self._all()
        source = next(fresh)
        bare.driver.run(["snapshot_vdi", limited, source])
        of_source = bare.snapshot(source)
        return Operation(
            lambda times: driver.run(*(["clone_vdi", snapshot, next(fresh), "persist"] for _ in range(times))),
            lambda: reference.clone_of_snapshot(theirs, their_snapshot, next(fresh)),
            lambda: bare.steps.clone_of_snapshot(source, of_source, next(fresh)),
        )

    def template(self) -> None:
        """Disks cloned from one that does not run, one after the other, at the monitors' default pace."""
        bench, driver, reference, bare, fresh = self._all()
        [disk], [limited], theirs = bench.disks(1, GIB), bench.disks(1, GIB, bare.driver), next(fresh)
        reference.run(reference.create(theirs, GIB))
        # The first clone takes the snapshot: as with the driver's, it has little weight in a median.
        bare.driver.run(["clone_vdi", limited, next(fresh), "persist"])
        base = bare.base(limited)
        operation = Operation(
            lambda times: driver.run(*(["clone_vdi", disk, next(fresh), "persist"] for _ in range(times))),
            lambda: reference.clone_of_disk(theirs, next(fresh), next(fresh)),
            lambda: bare.steps.clone_of_disk(limited, base, GIB, next(fresh)),
        )
        with self.slow():
            bench.compare(TEMPLATE, operation, VDIS_OF_TEMPLATE, bench.rounds)
        bench.findings.template_snapshots = self.snapshots(driver.image(disk))

    def at_once(self, rounds: int) -> None:
        """Snapshots of several disks, at once and back to back, at the monitors' default pace."""
        bench, driver, _, bare, fresh = self._all()
        disks = bench.disks(AT_ONCE, GIB)
        limited = [(vdi, bare.image(vdi)) for vdi in bench.disks(AT_ONCE, GIB, bare.driver)]

        def snapshots() -> list[list[Any]]:
            return [["snapshot_vdi", disk, next(fresh)] for disk in disks]

        with self.slow():
            bench.findings.at_once = side_by_side(
                lambda: _together(driver, snapshots()),
                lambda: sum(driver.run(call).operation for call in snapshots()),
                rounds,
                limit=lambda: bare.run_at_once([
                    bare.steps.snapshot(vdi, image, next(fresh)) for vdi, image in limited
                ]),
            )  # fmt: skip

    def of_a_vm(self, rounds: int) -> None:
        """The disks of a running VM, one command each as xapi sends them, and one disk alone; without the pauses."""
        bench, driver, reference, bare, fresh = self._all()
        disks = bench.disks(VM_DISKS, GIB)
        limited = [(vdi, bare.image(vdi)) for vdi in bench.disks(VM_DISKS, GIB, bare.driver)]
        theirs = list(itertools.islice(fresh, VM_DISKS))
        for disk, (vdi, _), their in zip(disks, limited, theirs, strict=True):
            self.claim(driver.sr, disk)
            self.claim(bare.driver.sr, vdi)
            reference.run(reference.create(their, GIB))

        def vm() -> float:
            task = f"OpaqueRef:{next(fresh)}"
            siblings = {disk: [other for other in disks if other != disk] for disk in disks}
            calls = [["snapshot_vdi", disk, next(fresh), task, siblings[disk]] for disk in disks]
            return sum(driver.run(call).operation for call in calls)

        def limit() -> float:
            commands = bare.steps.snapshots_of_a_vm(limited, list(itertools.islice(fresh, VM_DISKS)))
            return sum(bare.run(steps).seconds for steps in commands)

        with self.slow():
            bench.findings.vm_snapshot = side_by_side(
                vm, lambda: driver.run(["snapshot_vdi", disks[0], next(fresh)]).operation, rounds, limit=limit
            )
            one = bench.findings.vm_snapshot
            commands = Samples([
                sum(reference.run(reference.snapshot(their, next(fresh))) for their in theirs) for _ in range(rounds)
            ])  # fmt: skip
            bench.findings.pairs[VM_SNAPSHOT] = Pair(one.ours, commands, one.limit)

    def creations(self, rounds: int) -> None:
        """Several disks at once, each by a process of its own."""
        bench, driver, reference, bare, fresh = self._all()
        bench.findings.creations = side_by_side(
            lambda: _together(driver, [["create_vdi", next(fresh), GIB] for _ in range(CREATIONS)]),
            lambda: reference.run_at_once([reference.create(next(fresh), GIB) for _ in range(CREATIONS)]),
            rounds,
            max(1, rounds // 2),
            limit=lambda: bare.run_at_once([bare.steps.create(next(fresh), GIB) for _ in range(CREATIONS)]),
        )

    def changed_blocks(self, rounds: int) -> None:
        """Between two snapshots of a disk of 1 TiB, written in a few places."""
        bench, driver, reference, bare, fresh = self._all()
        # Nothing is written to the catalogue: one disk serves all sides.
        [disk] = bench.disks(1, TIB, bare.driver)
        older, newer = next(fresh), next(fresh)
        image = bare.image(disk)
        self._scribble(image.name, 60)
        bare.driver.run(["track_changes", disk, True], ["snapshot_vdi", disk, older])
        self._scribble(image.name, 120)
        bare.driver.run(["snapshot_vdi", disk, newer])
        first, second = bare.snapshot(older), bare.snapshot(newer)
        bench.compare(CHANGED_BLOCKS, Operation(
            lambda times: bare.driver.run(*[["changed_blocks", older, newer]] * times),
            lambda: reference.changed_blocks(image.name, first.name, second.name),
            lambda: bare.steps.changed_blocks(older, first, newer, second, TIB),
        ), rounds, min(rounds, 2), parts=0)  # fmt: skip

    def revert(self) -> None:
        """Disks of 1 GiB without data."""
        bench, driver, reference, bare, fresh = self._all()
        theirs, their_snapshot = next(fresh), next(fresh)
        reference.run(reference.create(theirs, GIB) + reference.snapshot(theirs, their_snapshot))
        ours = itertools.cycle(self._reverted(driver))
        # By turns, so that no process reverts a disk twice: its image is looked up before.
        limited = itertools.cycle(self._reverted(bare.driver))
        reverts: Counter[str] = Counter()

        def steps() -> list[str]:
            disk, snapshot = next(limited)
            reverts[disk] += 1
            image = bare.named(bare.driver.image(disk, reverts[disk]))
            return bare.steps.revert(disk, image, snapshot, bare.snapshot(snapshot))

        bench.compare("revert, 1 GiB", Operation(
            lambda times: driver.run(*(["revert_vdi", *next(ours)] for _ in range(times))),
            lambda: reference.revert(theirs, their_snapshot),
            steps,
        ), max(min(bench.rounds, 3), bench.rounds // 2), settle=bench.wait_for_space)  # fmt: skip

    def _reverted(self, driver: Driver) -> list[tuple[str, str]]:
        """Two disks with a snapshot each, to which they were reverted: the image with the snapshot is hidden."""
        disks = [(disk, next(names())) for disk in self.bench.disks(2, GIB, driver)]
        for disk, snapshot in disks:
            driver.run(["snapshot_vdi", disk, snapshot], ["revert_vdi", disk, snapshot])
        return disks

    def sizes(self) -> None:
        """Reverts and deletions of each size in turns, while the manager frees earlier ones."""
        bench, driver, _, _, fresh = self._all()
        rounds, findings = bench.rounds, bench.findings
        disks = {size: bench.disks(1, size_bytes)[0] for size, size_bytes in _SIZES.items()}
        snapshots = {size: next(fresh) for size in _SIZES}
        self._write_all_over(driver.image(disks[LARGE]))
        for size, disk in disks.items():
            driver.run(["snapshot_vdi", disk, snapshots[size]])

        def revert(size: str, number: int) -> float:
            if size == LARGE:
                self._write_all_over(driver.image(disks[LARGE], number))
            return driver.run(["revert_vdi", disks[size], snapshots[size]]).operation

        findings.by_size["revert"] = self._in_turns(revert)
        doomed = {size: bench.disks(rounds, size_bytes) for size, size_bytes in _SIZES.items()}
        for disk in doomed[LARGE]:
            self._write_all_over(driver.image(disk))
        findings.by_size["delete"] = self._in_turns(
            lambda size, number: driver.run(["delete_vdi", doomed[size][number]]).operation
        )

    def _all(self) -> tuple[Bench, Driver, Reference, Bare, Iterator[str]]:
        return self.bench, self.bench.driver, self.bench.reference, self.bench.bare, names()

    def _in_turns(self, act: Callable[[str, int], float]) -> dict[str, Samples]:
        """All sizes in each round, with another one first in each."""
        took: dict[str, list[float]] = {size: [] for size in _SIZES}
        for number in range(self.bench.rounds):
            first = number % len(_SIZES)
            for size in itertools.islice(itertools.cycle(_SIZES), first, first + len(_SIZES)):
                took[size].append(act(size, number))
        return {size: Samples(seconds) for size, seconds in took.items()}

    def _write_all_over(self, image: str) -> None:
        self._scribble(image, _WRITTEN_OBJECTS)

    def _scribble(self, image: str, pieces: int) -> None:
        """Write so many small pieces to an image, with the Python of Ceph's own packages."""
        access = self.access
        where = [str(access.conf), access.user, str(access.keyring), access.pool]
        argv = ["/usr/bin/python3", "-c", _SCRIBBLE, *where, image, str(pieces)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=DEADLINE, check=False)
        if done.returncode != 0:
            raise LabError(f"image {image}: {done.stderr}")
