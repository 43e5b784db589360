"""The goals, and whether they are met."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench.commands import BARE_IMPORTS
from bench.copies import (
    AT_ONCE,
    CREATIONS,
    HUGE,
    LARGE,
    SMALL,
    TEMPLATE,
    VDIS_OF_TEMPLATE,
    VM_SNAPSHOT,
)
from bench.datapath import MAP, UNMAP
from bench.listing import COUNT
from bench.rounds import Findings, Pair, Samples

MIB = 1 << 20
SNAPSHOTS_AT_ONCE = f"{AT_ONCE} snapshots at once, monitors' default pace"
# Operations, and the divisor of the rival's time that gives the goal.
RATIOS = {"create": 5, "resize": 5}
RATIO_OF_TEMPLATE = 5
RATIO_OF_CREATIONS = 5
# Of the time of the bare program.
LIMIT = 1.15
# Fewer samples judge nothing.
_SAMPLES = 3
RATE = 200_000
# The allowed ratio of two times that should be equal: of different disks, and of one disk's device.
_NOISE, _SAME = 1.2, 1.1

Table = list[list[str]]


def verdict(value: float, limit: float) -> str:
    """Whether a limit is met, or by how much it is missed."""
    return "met" if value <= limit else f"missed by {100 * (value / limit - 1):.0f} %"


@dataclass(frozen=True)
class Limited:
    """An operation beside its limit. `rival`: the commands, if there are any."""

    name: str
    ours: Samples
    limit: Samples
    rival: Samples | None

    @property
    def share(self) -> float:
        """Our time divided by the limit."""
        return self.ours.median / self.limit.median


def limited(findings: Findings) -> Iterator[Limited]:
    """The operations that have a limit."""
    pairs = findings.pairs | {f"{CREATIONS} creations at once": findings.creations}
    for name, pair in pairs.items():
        if pair.limit is not None and len(pair.limit.seconds) >= _SAMPLES:
            yield Limited(name, pair.ours, pair.limit, pair.reference)
    if findings.at_once.limit is not None:
        yield Limited(SNAPSHOTS_AT_ONCE, findings.at_once.ours, findings.at_once.limit, None)


def goals(findings: Findings, commands: dict[str, Samples]) -> Table:
    """Each goal: name, wanted and measured value, and verdict."""
    return [
        ["goal", "wanted", "measured", ""],
        *_limit_goals(findings),
        *_ratio_goals(findings),
        *_copy_goals(findings),
        *_scan_goals(findings),
        *_size_goals(findings),
        *_data_path_goals(findings),
        *_other_goals(findings, commands),
    ]


def _limit_goals(findings: Findings) -> Iterator[list[str]]:
    for each in limited(findings):
        yield [each.name, f"≤ {LIMIT} of its limit", f"{each.share:.2f}", verdict(each.share, LIMIT)]


def _ratio_goals(findings: Findings) -> Iterator[list[str]]:
    for name, part in RATIOS.items():
        yield _ratio_goal(name, part, findings.pairs[name])


def _ratio_goal(name: str, part: int, pair: Pair, of: str = " of the rival") -> list[str]:
    return [name, f"≤ 1/{part}{of}", f"1/{pair.ratio:.1f}", verdict(part, pair.ratio)]


def _copy_goals(findings: Findings) -> Iterator[list[str]]:
    template = f"{VDIS_OF_TEMPLATE} VDIs from one template"
    yield _ratio_goal(template, RATIO_OF_TEMPLATE, findings.pairs[TEMPLATE])
    made = findings.template_snapshots
    yield [f"snapshots made for these {VDIS_OF_TEMPLATE}", "≤ 1", str(made), verdict(made, 1)]
    yield _ratio_goal(SNAPSHOTS_AT_ONCE, 4, findings.at_once, f" of {AT_ONCE} back to back")
    vm = findings.vm_snapshot
    growth = vm.ours.median / vm.reference.median
    yield [VM_SNAPSHOT, "≤ 2 of one disk", f"{growth:.2f}", verdict(growth, 2)]
    yield _ratio_goal(f"{CREATIONS} creations at once", RATIO_OF_CREATIONS, findings.creations)


def _scan_goals(findings: Findings) -> Iterator[list[str]]:
    scans, peaks = findings.scans, findings.peaks
    if 1000 in scans:
        yield ["memory of a scan of 1,000 VDIs", "≤ 64 MiB", mib(peaks[1000]), verdict(peaks[1000], 64 * MIB)]
    if 4000 in scans and 1000 in scans:
        growth = scans[4000].ours.median / scans[1000].ours.median
        yield ["scan of 4,000 VDIs / of 1,000", "≤ 4.5", f"{growth:.1f}", verdict(growth, 4.5)]
    if 10000 in scans:
        yield ["memory of a scan of 10,000 VDIs", "≤ 96 MiB", mib(peaks[10000]), verdict(peaks[10000], 96 * MIB)]
    rate = findings.objects / findings.pairs[COUNT].ours.median
    yield ["objects that are counted in a second", f"≥ {RATE:,}", f"{rate:,.0f}", verdict(RATE, rate)]


def _size_goals(findings: Findings) -> Iterator[list[str]]:
    for operation, limit in (("delete", 0.5), ("revert", 1.0)):
        sizes = findings.by_size[operation]
        large = sizes[LARGE].median
        yield [f"{operation} of {LARGE}", f"≤ {limit:g} s", ms(large), verdict(large, limit)]
        for size in (LARGE, HUGE):
            growth = sizes[size].median / sizes[SMALL].median
            name = f"{operation} of {size} / of {SMALL}"
            yield [name, f"independent of size: ≤ {_NOISE}", f"{growth:.2f}", verdict(growth, _NOISE)]


def _data_path_goals(findings: Findings) -> Iterator[list[str]]:
    for name, pair in findings.data_path.items():
        if name in (MAP, UNMAP):
            continue  # they have no goal
        share = pair.ours.median / pair.reference.median
        spread = max(pair.reference.p95 / pair.reference.median, _SAME)
        yield [name, f"as mapped by hand, whose p95 is {spread:.2f}", f"{share:.2f}", verdict(share, spread)]


def _other_goals(findings: Findings, commands: dict[str, Samples]) -> Iterator[list[str]]:
    prints = findings.footprints.values()
    processes = max(ours.processes for ours, _ in prints)
    yield ["child processes of an operation", "0", str(processes), "missed" if processes else "met"]
    one_client = findings.footprints["stat"][1].monitor_connections  # that of one `ceph`
    clients = max(ours.monitor_connections for ours, _ in prints) / one_client
    yield ["cluster connections of an operation", "≤ 1", f"{clients:.1f}", verdict(clients, 1)]
    recovery = max(max(samples.seconds) for samples in findings.recoveries.values())
    yield ["recovery after a killed operation, longest", "≤ 3 s", ms(recovery), verdict(recovery, 3)]
    extra = commands["sr_get_driver_info"].median - commands[BARE_IMPORTS].median
    yield ["sr_get_driver_info over the bare imports of sm", "≤ 60 ms", ms(extra), verdict(extra, 0.060)]
    imported = findings.single["import of smblock._core"].median
    yield ["import of smblock._core", "≤ 1 ms", ms(imported), verdict(imported, 0.001)]


def ms(seconds: float) -> str:
    """Milliseconds as a text."""
    return f"{1000 * seconds:.1f} ms"


def mib(size: int) -> str:
    """Bytes as a text."""
    return f"{size / MIB:.0f} MiB"


def markdown(table: Table) -> str:
    """A table of Markdown, in columns of equal width."""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in table
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])
