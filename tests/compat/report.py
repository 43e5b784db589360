"""The printed table, and docs/user/compatibility.md."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from lab.wheel import REPOSITORY
from tests.compat.cells import CLIENTS, DEADLINES, KERNELS, KEYS, MONITORS, PYTHON, Cell, all_cells
from tests.compat.results import Result

_PAGE = REPOSITORY / "docs" / "user" / "compatibility.md"
_INTRODUCTION = """\
# Compatibility

`make test-compat` runs the tests of smblock with the versions of Ceph, Linux and Python that Debian 11, 12, 13
and unstable ship, and writes this page. Each field has the number of tests that passed and the day of the run.
Failed and skipped tests are named below their table. `not supported` is a limit of Ceph or Linux, not of smblock; its
test shows that smblock refuses it with an error that names the cause and the fix.
"""
_ABOUT = {
    CLIENTS: "Rows are the client libraries on the hosts, columns the version of the cluster, whose keys have the type "
    "`aes`. The tests are those of the control plane.",
    DEADLINES: "A call to a cluster without a working monitor ends within its deadline.",
    KERNELS: "Disks are plugged, written, snapshotted and moved between two hosts with this kernel. The cluster and "
    "the client libraries are 16.2.",
    KEYS: "A cluster of Ceph 20.2 makes keys of type `aes256k` unless it is configured otherwise. Such a cluster "
    "makes a key of type `aes` with `--key-type aes`, if its monitors allow that type.",
    MONITORS: "The cluster is of 16.2; that of the other tables has one monitor, with messenger v1 and IPv4. With each "
    "kernel a disk is written on one host and read on another; with each client library an SR is created, used, "
    "forgotten, introduced again and destroyed.",
    PYTHON: "The wheel is loaded, and an SR is created, used, forgotten, introduced again and destroyed.",
}


def table(results: Sequence[Result]) -> str:
    """One line for each cell."""
    width = max((len(result.cell) for result in results), default=0)
    return "\n".join(f"{result.cell:{width}}  {result.outcome:13}  {result.text}" for result in results)


def write(results: Mapping[str, Result]) -> None:
    """Write the page from every stored result."""
    _PAGE.parent.mkdir(parents=True, exist_ok=True)
    _PAGE.write_text(page(results))


def page(results: Mapping[str, Result]) -> str:
    """The text of the page."""
    cells = all_cells()
    parts = [_INTRODUCTION]
    for name in dict.fromkeys(cell.table for cell in cells):
        parts.append(_section(name, [cell for cell in cells if cell.table == name], results))
    return "\n".join(parts)


def _section(name: str, cells: Sequence[Cell], results: Mapping[str, Result]) -> str:
    columns = list(dict.fromkeys(cell.column for cell in cells))
    lines = [f"## {name}", "", _ABOUT[name], "", "| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for row in dict.fromkeys(cell.row for cell in cells):
        here = {cell.column: cell for cell in cells if cell.row == row}
        fields = [_field(here[column], results) if column in here else "" for column in columns]
        lines.append(f"| {row} | " + " | ".join(fields) + " |")
    notes = _notes(cells, results)
    for reason in dict.fromkeys(cell.limit for cell in cells if cell.limit):
        notes.append(f"- Not supported: {reason}.")
    versions = _versions(cells, results)
    return "\n".join([*lines, "", *notes, *([""] if notes else []), *([versions, ""] if versions else [])])


def _field(cell: Cell, results: Mapping[str, Result]) -> str:
    result = results.get(cell.name)
    if result is None or result.outcome == "skipped":
        text = "not tried"
    else:
        text = f"{result.text}, {result.date}"
        if result.outcome != "passed":
            text = f"failed: {text}"
    return f"not supported; its error: {text}" if cell.limit else text


def _versions(cells: Sequence[Cell], results: Mapping[str, Result]) -> str:
    """The full versions of a table's cells."""
    found: dict[str, set[str]] = {}
    for cell in cells:
        for what, version in (results[cell.name].versions if cell.name in results else {}).items():
            found.setdefault(what, set()).add(version.partition("+")[0])
    texts = [f"{what} {', '.join(sorted(versions, key=_by_number))}" for what, versions in found.items()]
    return f"Full versions: {'; '.join(texts)}." if texts else ""


def _by_number(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def _notes(cells: Sequence[Cell], results: Mapping[str, Result]) -> list[str]:
    """What was skipped or failed, each with its fields of the table."""
    where: dict[str, list[str]] = {}
    for cell in cells:
        result = results.get(cell.name)
        notes = []
        if result is not None:
            if result.outcome == "failed":
                notes.append("failed: " + (", ".join(f"`{test}`" for test in result.failures) or result.text))
            if result.outcome == "skipped":
                notes.append(f"not tried: {result.text}")
            notes += [f"skipped: `{test}`: {reason}" for test, reason in result.skips.items()]
        for note in notes:
            where.setdefault(note, []).append(f"{cell.row}, {cell.column}")
    return [f"- {'; '.join(places)}: {note}." for note, places in where.items()]
