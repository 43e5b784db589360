"""The goals, and whether they are met."""

from __future__ import annotations

from collections.abc import Iterator

from bench.commands import BARE_IMPORTS
from bench.copies import AT_ONCE, CHANGED_BLOCKS, CREATIONS, HUGE, LARGE, SMALL, VDIS_OF_TEMPLATE
from bench.datapath import MAP, UNMAP
from bench.rounds import Findings, Pair, Samples

MIB = 1 << 20
# Operations, and the divisor of the reference's time that gives the limit.
PARTS = {"create": 5, "resize": 5, "stat": 15, "clone of a snapshot": 4}
PART_OF_TEMPLATE = 5
PART_OF_CREATIONS = 5
PART_OF_SCAN = 50
# The allowed ratio of two times that should be equal: of different disks, and of one disk's device.
_NOISE, _SAME = 1.2, 1.1

Table = list[list[str]]


def verdict(value: float, limit: float) -> str:
    """Whether a limit is met, or by how much it is missed."""
    return "met" if value <= limit else f"missed by {100 * (value / limit - 1):.0f} %"


def goals(findings: Findings, commands: dict[str, Samples]) -> Table:
    """Each goal: name, limit, measured value and verdict."""
    return [
        ["goal", "wanted", "measured", ""],
        *_ratio_goals(findings),
        *_copy_goals(findings),
        *_scan_goals(findings),
        *_size_goals(findings),
        *_data_path_goals(findings),
        *_other_goals(findings, commands),
    ]


def _ratio_goals(findings: Findings) -> Iterator[list[str]]:
    for name, part in PARTS.items():
        yield _ratio_goal(name, part, findings.pairs[name])


def _ratio_goal(name: str, part: int, pair: Pair, of: str = "") -> list[str]:
    return [name, f"≤ 1/{part}{of}", f"1/{pair.ratio:.1f}", verdict(part, pair.ratio)]


def _copy_goals(findings: Findings) -> Iterator[list[str]]:
    template = f"{VDIS_OF_TEMPLATE} VDIs from one template"
    yield _ratio_goal(template, PART_OF_TEMPLATE, findings.pairs["clone of a template"])
    made = findings.template_snapshots
    yield [f"snapshots made for these {VDIS_OF_TEMPLATE}", "≤ 1", str(made), verdict(made, 1)]
    at_once = f"{AT_ONCE} snapshots at once, monitors at their default pace"
    yield _ratio_goal(at_once, 4, findings.at_once, f" of {AT_ONCE} back to back")
    yield _ratio_goal(f"{CREATIONS} creations at once", PART_OF_CREATIONS, findings.creations)


def _scan_goals(findings: Findings) -> Iterator[list[str]]:
    scans, peaks = findings.scans, findings.peaks
    if 1000 in scans:
        ratio = scans[1000].ratio
        yield ["scan of 1,000 VDIs", f"≤ 1/{PART_OF_SCAN} of rbd ls -l", f"1/{ratio:.0f}", verdict(PART_OF_SCAN, ratio)]
        yield ["memory of a scan of 1,000 VDIs", "≤ 64 MiB", mib(peaks[1000]), verdict(peaks[1000], 64 * MIB)]
    if 4000 in scans and 1000 in scans:
        growth = scans[4000].ours.median / scans[1000].ours.median
        yield ["scan of 4,000 VDIs / of 1,000", "≤ 4.5", f"{growth:.1f}", verdict(growth, 4.5)]
    if 10000 in scans:
        yield ["memory of a scan of 10,000 VDIs", "≤ 96 MiB", mib(peaks[10000]), verdict(peaks[10000], 96 * MIB)]


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
    listed = findings.pairs[CHANGED_BLOCKS]
    share = listed.ours.median / listed.reference.median
    yield [CHANGED_BLOCKS, f"≤ {_SAME} of librbd alone", f"{share:.2f}", verdict(share, _SAME)]
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
