"""docs/dev/performance.md, its plot, and README's extract of them."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

from bench import goals
from bench.commands import BARE_IMPORTS
from bench.copies import AT_ONCE, CREATIONS, LIBRBD_CLONE, VDIS_OF_TEMPLATE
from bench.goals import Table, markdown, ms
from bench.plot import Bar, plot
from bench.rounds import LOADING, Findings, Samples
from bench.sides import Access, Reference
from lab import LabError


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
    """The times of each operation, first those with a ratio."""
    late = ("delete", "revert")
    rows = {name: pair for name, pair in findings.pairs.items() if not name.startswith(late)}
    rows |= {f"scan of {number:,} VDIs": pair for number, pair in findings.scans.items()}
    rows |= {name: pair for name, pair in findings.pairs.items() if name.startswith(late)}
    table = [["operation", "ratio", "ours, ms", "p95", "n", "reference, ms", "p95", "n"]]
    rows[f"{CREATIONS} creations at once"] = findings.creations
    rows |= {f"{name}, in an emulated machine": pair for name, pair in findings.data_path.items()}
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
        f"Written by `{command}`, which starts a Ceph cluster of its own and measures the driver beside the `rbd` and\n"
        "`ceph` commands that CephRBDSR executes for the same operation: on the same pool, as the same user, in turns.",
        f"{machine.cores} cores, Linux {machine.kernel}, Python {machine.python}, {machine.ceph}, one OSD on"
        f" {machine.store}.\nLoad average {machine.load[0]:.1f} at the start, {machine.load[1]:.1f} at the end;"
        " the bench itself keeps about one core busy.",
        "![ratios, and the time of a scan](performance.svg)",
        "## Goals",
        markdown(goals.goals(findings, commands)),
        "## In the driver",
        "Milliseconds, median and 95th percentile of n. Ours is a new process for each operation, as for an SM\n"
        "command: from the SR's object to the closed connection. It includes connecting and opening librados and\n"
        "librbd, but not the start of Python and the import. The reference is its commands, each with its own\n"
        "connection, from fork to exit.",
        markdown(in_driver(findings)),
        "## Where the time goes",
        _profile(findings),
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


def _profile(findings: Findings) -> str:
    """The parts of a stat's and of a clone's time."""
    stat, clone = findings.pairs["stat"], findings.pairs["clone of a snapshot"]
    rados = findings.single[LOADING.format("librados.so.2")].median
    rbd = findings.single[LOADING.format("librbd.so.1")].median - rados
    calls = findings.single["stat, second on one connection"].median
    alone = findings.single[LIBRBD_CLONE].median
    connection = stat.ours.median - rados - calls
    rest = clone.ours.median - stat.ours.median - rbd - alone + calls
    best = 1000 * (stat.ours.median - calls)
    text = (
        f"A stat takes {ms(stat.ours.median)}: {ms(calls)} are its own calls, and {ms(rados)} the dynamic linker's "
        f"work to open librados. librados takes the remaining {ms(connection)}: its threads, the two connections to "
        "a monitor, the maps that these send, and the shutdown. Every operation has them, and so has every `rbd` and "
        f"every `ceph`: an operation that is one command of the reference cannot take less than {best:.1f} ms. The "
        f"goal of a stat, a fifteenth of `ceph`, would be {ms(stat.reference.median / goals.PARTS['stat'])}.\n\n"
        f"The reference's clone of a snapshot is one command, too: {ms(clone.reference.median)}. Ours takes "
        f"{ms(clone.ours.median)}: the same connection, {ms(rbd)} to open librbd, and {ms(alone)} in which librbd "
        f"makes the clone. The remaining {ms(max(rest, 0))} are the catalogue, the journal and the clone's "
        f"image-meta. The goal, a quarter of `rbd clone`, would be {ms(clone.reference.median / 4)}: librbd's own "
        f"clone, on an open connection, takes {alone / clone.reference.median * 4:.1f} times that."
    )
    return "\n".join(textwrap.fill(paragraph, 112) for paragraph in text.split("\n"))


def bars(findings: Findings) -> list[Bar]:
    """The bars of the plot, the fastest operation first."""
    template = Bar("disk from a template", findings.pairs["clone of a template"].ratio, goals.PART_OF_TEMPLATE)
    shown = [Bar(name, findings.pairs[name].ratio, part) for name, part in goals.PARTS.items()]
    shown += [template, Bar(f"{CREATIONS} creations at once", findings.creations.ratio, goals.PART_OF_CREATIONS)]
    shown += [Bar(name, findings.pairs[name].ratio, None) for name in ("snapshot", "delete, 1 GiB", "delete, 1 TiB")]
    shown += [Bar("revert, 1 GiB", findings.pairs["revert, 1 GiB"].ratio, None)]
    for number, pair in findings.scans.items():
        goal = goals.PART_OF_SCAN if number == 1000 else None
        shown.append(Bar(f"list {number:,} VDIs", pair.ratio, goal))
    return sorted(shown, key=lambda bar: -bar.ratio)


def picture(findings: Findings) -> str:
    """The plot as SVG."""
    ours = {number: pair.ours.median for number, pair in findings.scans.items()}
    return plot(bars(findings), ours, {number: pair.reference.median for number, pair in findings.scans.items()})


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
    inside = "![ratios, and the time of a scan](docs/dev/performance.svg)\n\n" + markdown(table)
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
- The list of changed blocks is compared with librbd alone, on an open image: ours includes connecting and opening.
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
