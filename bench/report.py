"""docs/dev/performance.md, its plot, and README's extract of them."""

from __future__ import annotations

import os
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

from bench import goals
from bench.commands import BARE_IMPORTS
from bench.copies import AT_ONCE, CREATIONS, VDIS_OF_TEMPLATE
from bench.goals import Limited, Table, markdown, ms
from bench.plot import LIMIT, OURS, RIVAL, Bars, plot
from bench.rounds import LOADING, Findings, Parts, Samples
from bench.sides import Access, Reference
from lab import LabError

PICTURE = "![the time of each operation, and of a scan]"


@dataclass(frozen=True)
class Machine:
    """The machine of the measurement; `load` is the load average at the start and at the end."""

    cores: int
    kernel: str
    python: str
    ceph: str
    store: str
    load: tuple[float, float]


def in_driver(findings: Findings) -> Table:
    """The times of each operation, first those of all sides."""
    sides = [[f"{side}, ms", "p95", "n"] for side in ("rival", "ours")]
    table = [["operation", *sides[0], *sides[1], "limit, ms", "p95", "ours / limit", "rival / ours"]]
    limited = {each.name: each for each in goals.limited(findings)}
    rows = findings.pairs | {f"{CREATIONS} creations at once": findings.creations}
    rows |= {f"{name}, in an emulated machine": pair for name, pair in findings.data_path.items()}
    for name, pair in rows.items():
        limit = [*_columns(pair.limit)[:2], ""] if pair.limit else ["", "", ""]
        if name in limited:
            limit[2] = f"{limited[name].share:.2f}"
        table.append([name, *_columns(pair.reference), *_columns(pair.ours), *limit, f"{pair.ratio:.3g}"])
    at_once = limited[goals.SNAPSHOTS_AT_ONCE]
    columns = [*_columns(at_once.ours), *_columns(at_once.limit)[:2], f"{at_once.share:.2f}"]
    table.append([at_once.name, "", "", "", *columns, ""])
    single = dict(findings.single)
    single[f"{AT_ONCE} snapshots back to back, monitors' default pace"] = findings.at_once.reference
    for name, samples in findings.recoveries.items():
        single[f"scan after a killed {name}"] = samples
    for operation, sizes in findings.by_size.items():
        for size, samples in sizes.items():
            single[f"{operation}, {size}; all sizes in turns"] = samples
    for name, samples in single.items():
        table.append([name, "", "", "", *_columns(samples), "", "", "", ""])
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
    """Whole SM commands, beside the common floor with the reference's `rbd` and `ceph`."""
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
    """docs/dev/performance.md"""
    sections = [
        "# Performance",
        f"Written by `{command}`, which starts a Ceph cluster of its own and measures three sides in turns, on one\n"
        "pool, as one user:\n\n"
        "- *rival*: the `rbd` and `ceph` commands that CephRBDSR executes for the operation;\n"
        "- *ours*: the driver;\n"
        "- *limit*: a bare program in C ([bench/limit](../../bench/limit/main.c)). It connects with the driver's\n"
        "  options, makes its calls of librados and librbd in their order, and does nothing else. `make test`\n"
        "  compares the number of each call with the driver's. What makes these calls cannot be faster.",
        f"{machine.cores} cores, Linux {machine.kernel}, Python {machine.python}, {machine.ceph}, one OSD on"
        f" {machine.store}.\nLoad average {machine.load[0]:.1f} at the start, {machine.load[1]:.1f} at the end;"
        " the bench itself keeps about one core busy.",
        f"{PICTURE}(performance.svg)",
        "## Goals",
        markdown(goals.goals(findings, commands)),
        "## In the driver",
        "Milliseconds, median and 95th percentile of n. Ours is a new process for each operation, as for an SM\n"
        "command: from the SR's object to the closed connection. It includes connecting and opening librados and\n"
        "librbd, but not the start of Python and the import. The limit, too, is a new process, from opening librados\n"
        "to the closed connection. The rival's commands have a connection each, and are measured from fork to exit.",
        markdown(in_driver(findings)),
        "## Where the time goes",
        profile(findings),
        "## Processes and connections",
        "Counted by strace. Each client of the cluster, ours or one `rbd`, connects to a monitor twice: for its\n"
        "configuration, and for the session. `make test` counts each operation's calls of librados and librbd.",
        markdown(footprints(findings)),
        "## Whole commands",
        "From the start of a command's process to its reply, on the simulators of sm and xapi. The floor is common\n"
        "to every driver: Python and sm's own modules, which take longer with the real sm of a dom0. The last\n"
        "column is computed, without the reference's own Python and its calls to XAPI.",
        markdown(whole(findings, commands)),
        "## What the reference executes",
        "\n".join(f"- {name}: " + ", then ".join(f"`{text}`" for text in texts) for name, texts in _shown()),
        "## Where the comparison is unfair",
        _UNFAIR,
    ]
    return "\n\n".join(sections) + "\n"


def profile(findings: Findings) -> str:
    """The parts of an operation's time, and the causes if it takes more than its limit allows."""
    rados = findings.single[LOADING.format("librados.so.2")].median
    rbd = findings.single[LOADING.format("librbd.so.1")].median - rados
    stat, calls = findings.pairs["stat"], findings.parts["stat"]
    limit = stat.limit.median if stat.limit else 0.0
    paragraphs = [
        f"Each operation opens librados ({ms(rados)}, the dynamic linker's work) and connects: its threads, two "
        "connections to a monitor, the maps that these send, and the shutdown. Most open librbd, too "
        f"({ms(max(rbd, 0))}). So a stat, whose calls alone take {ms(calls.limit.median)}, cannot take less than "
        f"{ms(limit)}. The table has the calls alone, on an open connection: for ours with what is between them. The "
        "driver reads and compares records, makes each call that could hang on a thread of its own, and, in a scan, "
        "converts XAPI's record of each VDI from Python, and the VDI to Python."
    ]
    table = [["operation", "its calls: ours, ms", "limit, ms", "all else: ours, ms", "limit, ms"]]
    late = []
    for each in goals.limited(findings):
        parts = findings.parts.get(each.name)
        if parts is not None:
            rest = [side.median - own.median for side, own in ((each.ours, parts.ours), (each.limit, parts.limit))]
            numbers = [parts.ours.median, parts.limit.median, *rest]
            table.append([each.name, *(f"{1000 * seconds:.1f}" for seconds in numbers)])
        if each.share > goals.LIMIT:
            late.append(_cause(each, parts))
    late = late or [f"No operation takes more than {goals.LIMIT} times its limit."]
    text = [textwrap.fill(paragraph, 112) for paragraph in paragraphs]
    return "\n\n".join([*text, markdown(table), *(textwrap.fill(paragraph, 112) for paragraph in late)])


def _cause(each: Limited, parts: Parts | None) -> str:
    """Why an operation takes more than its limit allows."""
    more = each.ours.median - each.limit.median
    text = f"*{each.name}* takes {ms(each.ours.median)}, {ms(more)} more than its limit"
    if parts is None and "at once" in each.name:
        return f"{text}: the processes share {os.cpu_count()} processors, so that the work beside the calls adds up."
    if parts is None:
        return f"{text}. Its calls take nearly all of this, and are not measured alone."
    calls = min(max(parts.ours.median - parts.limit.median, 0), more)
    return (
        f"{text}. {ms(calls)} of them are between its calls, {ms(more - calls)} in opening the libraries, checking "
        "the configuration and the keyring, connecting, and closing the connection."
    )


def bars(findings: Findings) -> list[Bars]:
    """The bars of the plot, the shortest operation first."""
    shown = [
        Bars(
            each.name,
            {OURS: each.ours.median, LIMIT: each.limit.median} | ({RIVAL: each.rival.median} if each.rival else {}),
        )
        for each in goals.limited(findings)
        if not each.name.startswith("scan of")
    ]
    return sorted(shown, key=lambda each: each.seconds[OURS])


def picture(findings: Findings) -> str:
    """The plot as SVG."""
    scans = {
        RIVAL: {number: pair.reference.median for number, pair in findings.scans.items()},
        OURS: {number: pair.ours.median for number, pair in findings.scans.items()},
        LIMIT: {number: pair.limit.median for number, pair in findings.scans.items() if pair.limit},
    }
    return plot(bars(findings), scans)


def readme(text: str, findings: Findings) -> str:
    """README with this run's ratios between its marks."""
    pairs, scans = findings.pairs, findings.scans
    largest = max(number for number in scans if number <= 1000)
    felt = {
        f"list an SR of {largest:,} disks": scans[largest],
        "create a disk": pairs["create"],
        f"make {VDIS_OF_TEMPLATE} disks from one template": pairs["clone of a template"],
        "ask how full the pool is": pairs["stat"],
        "destroy a disk of 1 TiB": pairs["delete, 1 TiB"],
    }
    table = [["", "takes, of what the commands take"]]
    table += [
        [name, f"1/{pair.ratio:.2g}" if pair.ratio < 10 else f"1/{pair.ratio:.0f}"] for name, pair in felt.items()
    ]
    table[-1][1] += "; its space is freed in the background"
    inside = f"{PICTURE}(docs/dev/performance.svg)\n\n" + markdown(table)
    marks = re.compile("(<!-- bench -->\n).*(\n<!-- /bench -->)", re.DOTALL)
    if not marks.search(text):
        raise LabError("README has no marks <!-- bench --> and <!-- /bench -->")
    return marks.sub(lambda found: found.group(1) + inside + found.group(2), text)


_UNFAIR = """\
- One node, loopback, data in memory: a request takes 0.1 ms; with a network and disks it takes 1 ms. There, requests
  to the cluster take longer for both, so create, resize and delete gain less than here.
- Monitors commit at the pace of the tests, 100 times their default. Disks from a template and snapshots at once are
  measured at the default pace. Only snapshots wait for such a commit, ours and the reference's: a single one has no
  goal.
- No image here has an object map: kernels of XCP-ng 8.3 cannot map one that has. With it, `rbd rm` is quick, too.
- `rbd rm` has freed the space when it returns; the driver has moved the image to the trash, and ceph-mgr frees it
  in the background. The cluster does the same work in the end.
- `rbd ls -l` lists a pool without other images; it would open those, too.
- The reference clones a snapshot by one `rbd`, and checks neither the quota nor other operations. Both connect once
  and call librbd's clone once, so the difference cannot be large.
- Several at once: the time starts after the Python of our processes has started; the reference's own Python is not
  counted, here and elsewhere.
- Maps: ours are whole SM commands in a process that has Python and SM loaded, because those start slowly on an
  emulated machine; `rbd map` is one program. There, all takes about twelve times as long as on a real host.
- *1 TiB, written all over* is 512 pieces of 4 KiB, each in an object of its own. The sizes are compared only with
  each other: `rbd snap rollback` and `rbd rm` go through all objects that an image could have. Meanwhile ceph-mgr
  frees earlier deletions, one object at a time.
- CephRBDSR neither lists changed blocks nor counts objects, and has no data pools: these rivals are the nearest
  commands, `rbd diff`, `rados ls`, and `rbd` with `--data-pool`.
- No limit: maps and fio, whose time is the kernel's; whole commands, whose time is Python's.
- On a pool without a quota, the reference needs one more `ceph` for each stat, create and resize."""


def _shown() -> list[tuple[str, list[str]]]:
    """The reference's sequences as an administrator would type them."""
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


def _columns(samples: Samples) -> list[str]:
    return [f"{1000 * samples.median:.1f}", f"{1000 * samples.p95:.1f}", str(len(samples.seconds))]
