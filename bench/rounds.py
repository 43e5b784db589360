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

from bench.bare import Bare
from bench.sides import Driver, Footprint, Reference, Reply
from lab import LabError

GIB = 1 << 30
TIB = 1 << 40
LOADING = "opening {}, with all that it needs"
SCAN = "scan of {:,} VDIs"
# How often the calls of an operation are measured alone.
PARTS = 5
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
    """One operation of both sides. `limit`: the same calls by a program that does nothing else."""

    ours: Samples
    reference: Samples
    limit: Samples | None = None

    @property
    def ratio(self) -> float:
        """The reference's time divided by ours."""
        return self.reference.median / self.ours.median


@dataclass(frozen=True)
class Parts:
    """The calls of an operation alone, on an open connection, by the driver and by the program with the limit."""

    ours: Samples
    limit: Samples


@dataclass(frozen=True)
class Operation:
    """What is measured, each time with new objects.

    ours       runs it so many times on one connection
    reference  the commands
    steps      the steps of the program with the limit
    """

    ours: Callable[[int], Reply]
    reference: Callable[[], list[list[str]]]
    steps: Callable[[], list[str]]


@dataclass
class Findings:
    """All measurements of the core.

    pairs, parts         by operation
    scans, peaks         by number of VDIs; peaks in bytes
    recoveries           by the killed operation
    template_snapshots   snapshots that a template has after it was cloned many times
    at_once              snapshots at once, and back to back in place of a reference
    vm_snapshot          the disks of a running VM, and one disk in place of a reference
    creations            several at once, by both
    objects              those of the pool in which they were counted
    data_path            maps, unmaps and fio's jobs, in a virtual machine
    by_size              our reverts and deletions, by size
    """

    pairs: dict[str, Pair] = field(default_factory=dict)
    parts: dict[str, Parts] = field(default_factory=dict)
    scans: dict[int, Pair] = field(default_factory=dict)
    peaks: dict[int, int] = field(default_factory=dict)
    recoveries: dict[str, Samples] = field(default_factory=dict)
    template_snapshots: int = field(init=False)
    at_once: Pair = field(init=False)
    vm_snapshot: Pair = field(init=False)
    creations: Pair = field(init=False)
    objects: int = field(init=False)
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
    limit: Callable[[], float] | None = None,
) -> Pair:
    """All sides in turns, another one first in each round; before each the cluster is idle.

    If the reference takes too long for all rounds, only the first ones have it; the others follow without a
    pause.
    """
    whole = rounds if reference_rounds is None else min(rounds, reference_rounds)
    took: dict[Callable[[], float], list[float]] = {ours: [], reference: []}
    sides = [ours, reference]
    if limit is not None:
        took[limit] = []
        sides.append(limit)
    for number in range(rounds):
        first = number % len(sides)
        for side in sides[first:] + sides[:first]:
            if number < whole:
                settle()
            elif side is reference:
                continue
            took[side].append(side())
    return Pair(Samples(took[ours]), Samples(took[reference]), Samples(took[limit]) if limit else None)


def names() -> Iterator[str]:
    """Unused UUIDs."""
    while True:
        yield str(uuid.uuid4())


@dataclass
class Bench:
    """All sides in one pool.

    trash      the pool's images that are not freed yet
    journal    whether an operation is under way, or was left unfinished
    """

    driver: Driver
    reference: Reference
    bare: Bare
    rounds: int
    trash: Callable[[], str]
    journal: Callable[[], bool]
    findings: Findings = field(default_factory=Findings)

    def compare(
        self,
        name: str,
        operation: Operation,
        rounds: int | None = None,
        reference_rounds: int | None = None,
        settle: Callable[[], object] = lambda: None,
        parts: int = PARTS,
    ) -> Pair:
        """Measure an operation, and so many times its calls alone."""
        pair = side_by_side(
            lambda: operation.ours(1).operation,
            lambda: self.reference.run(operation.reference()),
            rounds or self.rounds,
            reference_rounds,
            settle,
            lambda: self.bare.run(operation.steps()).seconds,
        )
        self.findings.pairs[name] = pair
        if parts:
            own = side_by_side(
                lambda: operation.ours(2).calls[1],
                lambda: self.bare.run([*operation.steps(), "again", *operation.steps()]).again,
                min(parts, rounds or self.rounds),
                settle=settle,
            )
            self.findings.parts[name] = Parts(own.ours, own.reference)
        return pair

    def single_operations(self) -> None:
        """create, resize, stat; the import; the connection."""
        imports: list[float] = []
        driver, reference, bare, fresh = self.driver, self.reference, self.bare, names()
        mine: list[str] = []
        theirs: list[str] = []

        def ours(reply: Reply) -> Reply:
            imports.append(reply.imported)
            return reply

        def new(kept: list[str]) -> str:
            kept.append(next(fresh))
            return kept[-1]

        self.compare("create", Operation(
            lambda times: ours(driver.run(*(["create_vdi", new(mine), GIB] for _ in range(times)))),
            lambda: reference.create(new(theirs), GIB),
            lambda: bare.steps.create(next(fresh), GIB),
        ))  # fmt: skip
        limited = iter(self.disks(self.rounds + 2 * min(PARTS, self.rounds), GIB, bare.driver))
        to_resize = iter(mine), iter(theirs)
        self.compare("resize", Operation(
            lambda times: ours(driver.run(*(["resize_vdi", next(to_resize[0]), 2 * GIB] for _ in range(times)))),
            lambda: reference.resize(next(to_resize[1]), 2 * GIB),
            lambda: bare.steps.resize(vdi := next(limited), bare.image(vdi), 2 * GIB),
        ))  # fmt: skip
        stat = ["update", "bench", ""]
        self.compare("stat", Operation(
            lambda times: ours(driver.run(*[stat] * times)), reference.stat, bare.steps.stat
        ))  # fmt: skip
        for library in ("librados.so.2", "librbd.so.1"):
            loads = [driver.load(library) for _ in range(self.rounds)]
            self.findings.single[LOADING.format(library)] = Samples(loads)
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
        """Deletion of images without any data. Large ones are few: ceph-mgr frees each in seconds."""
        parts = PARTS if rounds > 1 else 0
        number = rounds + 2 * min(parts, rounds)
        mine, theirs = iter(self.disks(number, size)), list(itertools.islice(names(), rounds))
        for vdi in theirs:
            self.reference.run(self.reference.create(vdi, size))
        left, bare = iter(theirs), self.bare
        bares = iter(self.disks(number, size, bare.driver))
        operation = Operation(
            lambda times: self.driver.run(*(["delete_vdi", next(mine)] for _ in range(times))),
            lambda: self.reference.delete(next(left)),
            lambda: bare.steps.delete(vdi := next(bares), bare.image(vdi)),
        )
        self.compare(name, operation, rounds, settle=self.wait_for_space, parts=parts)

    def disks(self, number: int, size: int, driver: Driver | None = None) -> list[str]:
        """Create disks with the driver, or with that of another SR."""
        vdis = list(itertools.islice(names(), number))
        (driver or self.driver).run(["fill", vdis, size])
        return vdis

    def scans(self, sizes: dict[int, int]) -> None:
        """Scans without changes; `sizes` is the number of the reference's rounds, by number of VDIs."""
        vdis: list[str] = []
        for number, reference_rounds in sizes.items():
            vdis += self.disks(number - len(vdis), GIB)
            replies: list[Reply] = []

            def ours(times: int, known: Sequence[str], replies: list[Reply]) -> Reply:
                reply = self.driver.scan(known, GIB, times)
                if times == 1:
                    replies.append(reply)
                return reply

            operation = Operation(
                lambda times, known=tuple(vdis), replies=replies: ours(times, known, replies),  # type: ignore[misc]
                self.reference.scan,
                self.bare.steps_in(self.driver.sr).scan,
            )
            pair = self.compare(SCAN.format(number), operation, reference_rounds=reference_rounds)
            self.findings.scans[number] = pair
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
        took: list[float] = []
        moments = random.Random(1)
        for attempt in range(20 * rounds):
            if attempt % 10 == 0:  # the machine may have become busier, or less busy
                whole = statistics.median(self.driver.run(call()).operation for _ in range(3))
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
