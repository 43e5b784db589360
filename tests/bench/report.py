"""The goals, what came of them, and the page that says so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench.commands import BARE_IMPORTS
from tests.bench.copies import AT_ONCE, HUGE, LARGE, SMALL, VDIS_OF_TEMPLATE
from tests.bench.rounds import Findings, Pair, Samples
from tests.bench.sides import Access, Reference

MIB = 1 << 20


@dataclass(frozen=True)
class Machine:
    """Where it was measured; `load` is the load average at the start and at the end."""

    cores: int
    kernel: str
    python: str
    ceph: str
    store: str
    load: tuple[float, float]


Table = list[list[str]]


def verdict(value: float, limit: float) -> str:
    """Whether a goal that is a ceiling is met, or by how much it is missed."""
    return "met" if value <= limit else f"missed by {100 * (value / limit - 1):.0f} %"


def goals(findings: Findings, commands: dict[str, Samples]) -> Table:
    """Each goal: what, how it was to be, what it is, and the verdict."""
    return [
        ["goal", "wanted", "measured", ""],
        *_ratio_goals(findings),
        *_copy_goals(findings),
        *_scan_goals(findings),
        *_size_goals(findings),
        *_other_goals(findings, commands),
    ]


def _ratio_goals(findings: Findings) -> Iterator[list[str]]:
    for name, part in (("create", 5), ("resize", 5), ("stat", 15), ("clone of a snapshot", 4)):
        yield _ratio_goal(name, part, findings.pairs[name])


def _ratio_goal(name: str, part: int, pair: Pair, of: str = "") -> list[str]:
    return [name, f"≤ 1/{part}{of}", f"1/{pair.ratio:.1f}", verdict(part, pair.ratio)]


def _copy_goals(findings: Findings) -> Iterator[list[str]]:
    template = f"{VDIS_OF_TEMPLATE} VDIs from one template"
    yield _ratio_goal(template, 5, findings.pairs["clone of a template"])
    made = findings.template_snapshots
    yield [f"snapshots made for these {VDIS_OF_TEMPLATE}", "≤ 1", str(made), verdict(made, 1)]
    at_once = f"{AT_ONCE} snapshots at once, monitors at their default pace"
    yield _ratio_goal(at_once, 4, findings.at_once, f" of {AT_ONCE} back to back")


def _scan_goals(findings: Findings) -> Iterator[list[str]]:
    scans, peaks = findings.scans, findings.peaks
    if 1000 in scans:
        ratio = scans[1000].ratio
        yield ["scan of 1,000 VDIs", "≤ 1/50 of rbd ls -l", f"1/{ratio:.0f}", verdict(50, ratio)]
        yield ["memory of a scan of 1,000 VDIs", "≤ 64 MiB", _mib(peaks[1000]), verdict(peaks[1000], 64 * MIB)]
    if 4000 in scans and 1000 in scans:
        growth = scans[4000].ours.median / scans[1000].ours.median
        yield ["scan of 4,000 VDIs / of 1,000", "≤ 4.5", f"{growth:.1f}", verdict(growth, 4.5)]
    if 10000 in scans:
        yield ["memory of a scan of 10,000 VDIs", "≤ 96 MiB", _mib(peaks[10000]), verdict(peaks[10000], 96 * MIB)]


def _size_goals(findings: Findings) -> Iterator[list[str]]:
    for operation, limit in (("delete", 0.5), ("revert", 1.0)):
        sizes = findings.by_size[operation]
        large = sizes[LARGE].median
        yield [f"{operation} of {LARGE}", f"≤ {limit:g} s", _ms(large), verdict(large, limit)]
        for size in (LARGE, HUGE):
            growth = sizes[size].median / sizes[SMALL].median
            name = f"{operation} of {size} / of {SMALL}"
            yield [name, "independent of size: ≤ 1.2", f"{growth:.2f}", verdict(growth, 1.2)]


def _other_goals(findings: Findings, commands: dict[str, Samples]) -> Iterator[list[str]]:
    prints = findings.footprints.values()
    processes = max(ours.processes for ours, _ in prints)
    yield ["child processes of an operation", "0", str(processes), "missed" if processes else "met"]
    one_client = findings.footprints["stat"][1].monitor_connections  # that of one `ceph`
    clients = max(ours.monitor_connections for ours, _ in prints) / one_client
    yield ["cluster connections of an operation", "≤ 1", f"{clients:.1f}", verdict(clients, 1)]
    recovery = max(max(samples.seconds) for samples in findings.recoveries.values())
    yield ["recovery after a killed operation, longest", "≤ 3 s", _ms(recovery), verdict(recovery, 3)]
    extra = commands["sr_get_driver_info"].median - commands[BARE_IMPORTS].median
    yield ["sr_get_driver_info over the bare imports of sm", "≤ 60 ms", _ms(extra), verdict(extra, 0.060)]
    imported = findings.single["import of smblock._core"].median
    yield ["import of smblock._core", "≤ 1 ms", _ms(imported), verdict(imported, 0.001)]


def in_driver(findings: Findings) -> Table:
    """Each operation of both, ratios first."""
    late = ("delete", "revert")
    rows = {name: pair for name, pair in findings.pairs.items() if not name.startswith(late)}
    rows |= {f"scan of {number:,} VDIs": pair for number, pair in findings.scans.items()}
    rows |= {name: pair for name, pair in findings.pairs.items() if name.startswith(late)}
    table = [["operation", "ratio", "ours, ms", "p95", "n", "reference, ms", "p95", "n"]]
    for name, pair in rows.items():
        table.append([name, f"1/{pair.ratio:.1f}", *_columns(pair.ours), *_columns(pair.reference)])
    single = dict(findings.single)
    single[f"{AT_ONCE} snapshots at once, monitors' default pace"] = findings.at_once.ours
    single[f"{AT_ONCE} snapshots back to back, monitors' default pace"] = findings.at_once.reference
    for name, samples in findings.recoveries.items():
        single[f"scan after a killed {name}"] = samples
    for operation, sizes in findings.by_size.items():
        for size, samples in sizes.items():
            single[f"{operation}, {size}; all sizes in turns"] = samples
    for name, samples in single.items():
        table.append([name, "", *_columns(samples), "", "", ""])
    return table


def footprints(findings: Findings) -> Table:
    """Processes and connections of an operation."""
    table = [["operation", "child processes, ours", "reference", "monitor connections, ours", "reference"]]
    for name, (ours, reference) in findings.footprints.items():
        table.append(
            [name, str(ours.processes), str(reference.processes), str(ours.monitor_connections),
             str(reference.monitor_connections)]
        )  # fmt: skip
    return table


def whole(findings: Findings, commands: dict[str, Samples]) -> Table:
    """Whole SM commands beside the reference's: the common floor and its `rbd` and `ceph`."""
    floor = commands[BARE_IMPORTS].median
    table = [["SM command", "ms", "p95", "n", "floor + reference's commands, ms"]]
    beside = {
        "vdi_create": findings.pairs["create"],
        "vdi_resize": findings.pairs["resize"],
        "vdi_snapshot": findings.pairs["snapshot"],
        "vdi_clone": findings.pairs["clone of a snapshot"],
        "vdi_delete": findings.pairs["delete, 1 GiB"],
        "sr_update": findings.pairs["stat"],
        "sr_scan": findings.scans[10],
    }
    for name, label in (
        (BARE_IMPORTS, BARE_IMPORTS + ": the floor"),
        ("sr_get_driver_info", "sr_get_driver_info"),
        *((name, f"{name} (10 VDIs)" if name == "sr_scan" else name) for name in beside),
    ):
        reference = f"{1000 * (floor + beside[name].reference.median):.0f}" if name in beside else ""
        table.append([label, *_columns(commands[name]), reference])
    return table


def page(findings: Findings, commands: dict[str, Samples], machine: Machine, command: str) -> str:
    """docs/performance.md"""
    sections = [
        "# Performance",
        f"Written by `{command}`, which starts a Ceph cluster of its own and measures the driver beside the `rbd` and\n"
        "`ceph` commands that CephRBDSR executes for the same operation: on the same pool, as the same user, in turns.",
        f"{machine.cores} cores, Linux {machine.kernel}, Python {machine.python}, {machine.ceph}, one OSD on"
        f" {machine.store}.\nLoad average {machine.load[0]:.1f} at the start, {machine.load[1]:.1f} at the end;"
        " the bench itself keeps about one core busy.",
        "## Goals",
        markdown(goals(findings, commands)),
        "## In the driver",
        "Milliseconds, median and 95th percentile of n. Ours is a new process for each operation, as an SM command\n"
        "has it: from the SR's object to the connection closed again, with connecting and the opening of librados\n"
        "and librbd, without the start of Python and the import. The reference is its commands, each with its own\n"
        "connection, from fork to exit.",
        markdown(in_driver(findings)),
        "## Where the time goes",
        _profile(findings),
        "## Processes and connections",
        "Counted by strace. A client of the cluster connects to a monitor twice, be it ours or that of one `rbd`: for\n"
        "its configuration, and for good. `make test` counts each operation's calls of librados and librbd.",
        markdown(footprints(findings)),
        "## Whole commands",
        "From the start of a command's process to its reply, on the stand-ins for sm and xapi. The floor is common\n"
        "to every driver: Python and sm's own modules, longer with the real sm of a dom0. The last column is\n"
        "computed: the reference's own Python and its calls to XAPI are not in it.",
        markdown(whole(findings, commands)),
        "## What the reference executes",
        "\n".join(f"- {name}: " + ", then ".join(f"`{text}`" for text in texts) for name, texts in _shown()),
        "## Where the comparison is unfair",
        _UNFAIR,
    ]
    return "\n\n".join(sections) + "\n"


def _profile(findings: Findings) -> str:
    """What a stat is made of: it is little more than a connection."""
    whole = findings.pairs["stat"].ours.median
    loading = findings.single["opening librados and librbd"].median
    calls = findings.single["stat, second on one connection"].median
    rest = whole - loading - calls
    return (
        f"Of a stat's {_ms(whole)}, its own calls take {_ms(calls)}, and opening librados and librbd {_ms(loading)},\n"
        f"the dynamic linker's work. The remaining {_ms(rest)} are librados' own: its threads, the two connections\n"
        "to a monitor, the maps that these send, and the end of all that. Every operation has them."
    )


_UNFAIR = """\
- One node, loopback, data in memory: a request takes a tenth of a millisecond, where a network and disks take one.
  What waits for the cluster takes longer there for both, so create, resize and delete gain less there than here.
- Monitors commit at the pace of the tests, 100 times their default, unless something else is said. Only snapshots wait
  for such a commit, ours and the reference's: for a single one there is no goal.
- No image here has an object map: kernels of XCP-ng 8.3 cannot map one that has. With it, `rbd rm` is quick, too.
- `rbd rm` has freed the space when it returns; the driver has moved the image to the trash, and the manager frees it
  in the background. The cluster's work is the same in the end.
- `rbd ls -l` lists a pool that holds nothing else; with other images in it, it opens them, too.
- The reference clones a snapshot by one `rbd`, and looks neither at the quota nor at what else is under way. Both
  connect once for it and have librbd clone once, so the difference cannot be large.
- 1 TiB written all over is 512 pieces of 4 KiB, each in an object of its own. The sizes are compared with each other
  only: `rbd snap rollback` and `rbd rm` go through all objects that an image could have. Meanwhile the manager frees
  what was deleted before, one object at a time.
- A pool without quota costs the reference one more `ceph` for each stat, create and resize than is counted here."""


def _shown() -> list[tuple[str, list[str]]]:
    """The reference's sequences as somebody would type them."""
    gib = 1 << 30
    reference = Reference(Access(Path("CONF"), "USER", Path("KEYRING"), "POOL"))
    sequences = {
        "create": reference.create("UUID", gib),
        "resize": reference.resize("UUID", 2 * gib),
        "stat": reference.stat(),
        "snapshot": reference.snapshot("UUID", "UUID2"),
        "clone of a snapshot": reference.clone_of_snapshot("UUID", "UUID2", "UUID3"),
        "clone of a template": reference.clone_of_disk("UUID", "UUID2", "UUID3"),
        "scan": reference.scan(),
        "delete": reference.delete("UUID"),
        "revert": reference.revert("UUID", "UUID2"),
    }
    who = " -c CONF --id USER -k KEYRING"
    return [
        (name, [" ".join(argv).replace(who, "").replace(" --pool POOL", "") for argv in commands])
        for name, commands in sequences.items()
    ]


def markdown(table: Table) -> str:
    """A table of Markdown, in columns of equal width."""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in table
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def _columns(samples: Samples) -> list[str]:
    return [f"{1000 * samples.median:.1f}", f"{1000 * samples.p95:.1f}", str(len(samples.seconds))]


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms"


def _mib(size: int) -> str:
    return f"{size / MIB:.0f} MiB"
