"""The measurements: operations of both sides in turns, on one cluster, in one run."""

from __future__ import annotations

import itertools
import random
import statistics
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.sides import Driver, Footprint, Reference, Reply
from lab import LabError

GIB = 1 << 30
TIB = 1 << 40
LOADING = "opening {}, with all that it needs"
_RECLAIM_SECONDS = 120.0


@dataclass(frozen=True)
class Samples:
    """Times of one operation in seconds."""

    seconds: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def p95(self) -> float:
        if len(self.seconds) < 2:
            return self.seconds[0]
        return statistics.quantiles(self.seconds, n=20, method="inclusive")[-1]


@dataclass(frozen=True)
class Pair:
    """One operation of both sides."""

    ours: Samples
    reference: Samples

    @property
    def ratio(self) -> float:
        """The reference's time divided by ours."""
        return self.reference.median / self.ours.median


@dataclass(frozen=True)
class Listing:
    """A count of a pool's objects by both."""

    objects: int
    pair: Pair


@dataclass
class Findings:
    """All measurements of the core.

    scans, peaks         by number of VDIs; peaks in bytes
    recoveries           by the killed operation
    template_snapshots   snapshots that a template has after it was cloned many times
    at_once              snapshots at once, and back to back in place of a reference
    vm_snapshot          the disks of a running VM, and one disk in place of a reference
    creations            several at once, by both
    listing              a count of a pool's objects, beside a program that does only this
    data_path            maps, unmaps and fio's jobs, in a virtual machine
    by_size              our reverts and deletions, by size
    """

    pairs: dict[str, Pair] = field(default_factory=dict)
    scans: dict[int, Pair] = field(default_factory=dict)
    peaks: dict[int, int] = field(default_factory=dict)
    recoveries: dict[str, Samples] = field(default_factory=dict)
    template_snapshots: int = field(init=False)
    at_once: Pair = field(init=False)
    vm_snapshot: Pair = field(init=False)
    creations: Pair = field(init=False)
    listing: Listing = field(init=False)
    data_path: dict[str, Pair] = field(default_factory=dict)
    by_size: dict[str, dict[str, Samples]] = field(default_factory=dict)
    single: dict[str, Samples] = field(default_factory=dict)
    footprints: dict[str, tuple[Footprint, Footprint]] = field(default_factory=dict)


def side_by_side(
    ours: Callable[[], float],
    reference: Callable[[], float],
    rounds: int,
    reference_rounds: int | None = None,
    settle: Callable[[], object] = lambda: None,
) -> Pair:
    """Both in turns, each first in every other round; before each the cluster is idle.

    If the reference takes too long for all rounds, only the first ones have both; the others follow
    without a pause.
    """
    both = rounds if reference_rounds is None else min(rounds, reference_rounds)
    took: dict[Callable[[], float], list[float]] = {ours: [], reference: []}
    for number in range(rounds):
        turns = [ours, reference] if number % 2 == 0 else [reference, ours]
        for side in turns if number < both else [ours]:
            if number < both:
                settle()
            took[side].append(side())
    return Pair(Samples(took[ours]), Samples(took[reference]))


def names() -> Iterator[str]:
    """Unused UUIDs."""
    while True:
        yield str(uuid.uuid4())


@dataclass
class Bench:
    """Both sides in one pool.

    trash      the pool's images that are not freed yet
    journal    whether an operation is under way, or was left unfinished
    """

    driver: Driver
    reference: Reference
    rounds: int
    trash: Callable[[], str]
    journal: Callable[[], bool]
    findings: Findings = field(default_factory=Findings)

    def single_operations(self) -> None:
        """create, resize, stat; the import; the connection."""
        fresh = names()
        mine = [next(fresh) for _ in range(self.rounds)]
        theirs = [next(fresh) for _ in range(self.rounds)]
        driver, reference = self.driver, self.reference
        imports: list[float] = []

        def ours(reply: Reply) -> float:
            imports.append(reply.imported)
            return reply.operation

        to_create, to_resize = (iter(mine), iter(theirs)), (iter(mine), iter(theirs))
        self.findings.pairs["create"] = side_by_side(
            lambda: ours(driver.run(["create_vdi", next(to_create[0]), GIB])),
            lambda: reference.run(reference.create(next(to_create[1]), GIB)),
            self.rounds,
        )
        self.findings.pairs["resize"] = side_by_side(
            lambda: ours(driver.run(["resize_vdi", next(to_resize[0]), 2 * GIB])),
            lambda: reference.run(reference.resize(next(to_resize[1]), 2 * GIB)),
            self.rounds,
        )
        stat = ["update", "bench", ""]
        self.findings.pairs["stat"] = side_by_side(
            lambda: ours(driver.run(stat)), lambda: reference.run(reference.stat()), self.rounds
        )
        twice = [driver.run(stat, stat) for _ in range(self.rounds)]
        for library in ("librados.so.2", "librbd.so.1"):
            loads = [driver.load(library) for _ in range(self.rounds)]
            self.findings.single[LOADING.format(library)] = Samples(loads)
        self.findings.single["stat, second on one connection"] = Samples([reply.calls[1] for reply in twice])
        self.findings.single["import of smblock._core"] = Samples(imports)
        self._footprints(mine[0], theirs[0], next(fresh))

    def _footprints(self, mine: str, theirs: str, fresh: str) -> None:
        reference = self.reference
        for name, ours, commands in (
            ("create", ["create_vdi", fresh, GIB], reference.create(fresh, GIB)),
            ("resize", ["resize_vdi", mine, 3 * GIB], reference.resize(theirs, 3 * GIB)),
            ("stat", ["update", "bench", ""], reference.stat()),
            ("scan", ["scan", {}], reference.scan()),
            ("delete", ["delete_vdi", fresh], reference.delete(fresh)),
        ):
            self.footprint(name, ours, commands)

    def footprint(self, name: str, ours: Sequence[Any], commands: Sequence[Sequence[str]]) -> None:
        """One more operation of both, counted without times."""
        self.findings.footprints[name] = self.driver.footprint(ours), self.reference.footprint(commands)

    def delete(self, name: str, size: int, rounds: int) -> None:
        """Deletion of images without any data."""
        mine, theirs = self.disks(rounds, size), list(itertools.islice(names(), rounds))
        for vdi in theirs:
            self.reference.run(self.reference.create(vdi, size))
        left = iter(mine), iter(theirs)
        self.findings.pairs[name] = side_by_side(
            lambda: self.driver.run(["delete_vdi", next(left[0])]).operation,
            lambda: self.reference.run(self.reference.delete(next(left[1]))),
            rounds,
            settle=self.wait_for_space,
        )

    def disks(self, number: int, size: int) -> list[str]:
        """Create disks with the driver."""
        vdis = list(itertools.islice(names(), number))
        self.driver.run(["fill", vdis, size])
        return vdis

    def scans(self, sizes: dict[int, int]) -> None:
        """Scans without changes; `sizes` is the number of the reference's rounds, by number of VDIs."""
        fresh = names()
        vdis: list[str] = []
        for number, reference_rounds in sizes.items():
            more = [next(fresh) for _ in range(number - len(vdis))]
            self.driver.run(["fill", more, GIB])
            vdis += more
            replies: list[Reply] = []

            def ours(known: Sequence[str], replies: list[Reply]) -> float:
                replies.append(self.driver.scan(known, GIB))
                return replies[-1].operation

            self.findings.scans[number] = side_by_side(
                lambda known=tuple(vdis), replies=replies: ours(known, replies),  # type: ignore[misc]
                lambda: self.reference.run(self.reference.scan()),
                self.rounds,
                reference_rounds,
            )
            self.findings.peaks[number] = max(reply.peak_bytes for reply in replies)

    def recovery(self, rounds: int) -> None:
        """The scan that recovers an operation, which is killed at another moment each time."""
        [disk], snapshot, fresh = self.disks(1, GIB), str(uuid.uuid4()), names()
        self.driver.run(["snapshot_vdi", disk, snapshot])
        operations: dict[str, Callable[[], list[Any]]] = {
            "create": lambda: ["create_vdi", next(fresh), GIB],
            "snapshot": lambda: ["snapshot_vdi", disk, next(fresh)],
            "clone": lambda: ["clone_vdi", snapshot, next(fresh), "persist"],
            "revert": lambda: ["revert_vdi", disk, snapshot],
        }
        for name, call in operations.items():
            self.findings.recoveries[name] = self._recovery(name, call, rounds)

    def _recovery(self, name: str, call: Callable[[], list[Any]], rounds: int) -> Samples:
        whole = statistics.median(self.driver.run(call()).operation for _ in range(3))
        took: list[float] = []
        moments = random.Random(1)
        for _ in range(20 * rounds):
            self.driver.kill_after(moments.uniform(0.3, 1.0) * whole, call())
            if self.journal():  # else it was too early or too late
                took.append(self.driver.run(["scan", {}]).operation)
                if self.journal():
                    raise LabError(f"a scan left a {name} unfinished")
            if len(took) == rounds:
                return Samples(took)
        raise LabError(f"only {len(took)} of {20 * rounds} kills hit a running {name}")

    def wait_for_space(self) -> None:
        """Wait until all deleted images are freed: then the cluster is idle."""
        end = time.monotonic() + _RECLAIM_SECONDS * self.rounds
        while self.trash():
            if time.monotonic() > end:
                raise LabError("the trash of the pool was not emptied in time")
            time.sleep(0.2)
