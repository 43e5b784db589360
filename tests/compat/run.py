"""Runs the cells and writes docs/user/compatibility.md: `make test-compat`, or by hand

python -m tests.compat.run --list
python -m tests.compat.run --cell 'client-14.2-*' --cell 'kernel-5.10'
"""

from __future__ import annotations

import argparse
import dataclasses
import fnmatch
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path

from lab import LabError, cache_directory, run
from lab.wheel import pythons
from tests.compat import report, roots, used
from tests.compat.cells import Cell, all_cells, small_cells
from tests.compat.execute import log_path, run_pytest, stop_all
from tests.compat.results import Result, load, store

_MINUTES, _GIB = 60, 8  # the limits of the whole run


def main() -> int:
    """Run the cells of the command line. Returns 0 if no cell failed."""
    parser = argparse.ArgumentParser(description="Tests smblock on other versions of Ceph, Linux and Python.")
    parser.add_argument("--cell", action="append", metavar="PATTERN", help="run only these cells; may be repeated")
    parser.add_argument("--small", action="store_true", help="run the oldest client, newest cluster, oldest kernel")
    parser.add_argument(
        "--skip-absent", action="store_true", help="skip a cell if this machine cannot make its root; else it fails"
    )
    parser.add_argument("--list", action="store_true", help="list the cells and stop")
    options = parser.parse_args()
    cells = small_cells() if options.small else all_cells()
    if options.cell:
        cells = [cell for cell in cells if any(fnmatch.fnmatch(cell.name, each) for each in options.cell)]
        if not cells:
            parser.error("no cell has such a name; --list prints all")
    if options.list:
        print("\n".join(cell.name for cell in cells))
        return 0
    # As for ^C: the cell's processes and its scratch directory are removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("test-compat: ended by SIGTERM"))
    began = time.monotonic()
    results = _run_all(cells, "skipped" if options.skip_absent else "failed")
    minutes, gib = (time.monotonic() - began) / 60, _used_gib()
    if not options.small:  # small cells are not on the page
        report.write(load())
    print()
    print(report.table(results))
    print(f"took {minutes:.1f} minutes of {_MINUTES}; the cache {cache_directory()} holds {gib:.1f} GiB of {_GIB}")
    failed = [result for result in results if result.outcome == "failed"]
    for result in failed:
        print(f"FAILED {result.cell}: {', '.join(result.failures) or result.text}; the log is {log_path(result.cell)}")
    return 1 if failed else 0


def _run_all(cells: Sequence[Cell], if_absent: str) -> list[Result]:
    """Run the cells. One whose suites this machine cannot set up has the outcome `if_absent`."""
    absent = _make_roots(cells)
    # Two processes at once: a cell that has more than one file uses two by itself.
    halves = sorted((cell for cell in cells if not cell.has_several_files), key=lambda cell: cell.kernel is None)
    guests = sum(cell.kernel is not None for cell in halves)
    # Guests need processor time, other cells mostly wait: one of each runs.
    pairs = [cell for pair in zip_longest(halves[:guests], halves[guests:]) for cell in pair if cell is not None]
    results = [_run(cell, absent, if_absent) for cell in cells if cell.has_several_files]
    with ThreadPoolExecutor(max_workers=2) as pool:
        try:
            results += pool.map(lambda cell: _run(cell, absent, if_absent), pairs)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            stop_all()
            raise
    return results


def _make_roots(cells: Sequence[Cell]) -> dict[str, str]:
    """Make the roots of the cells, two at once: the reason for each suite that this machine cannot set up."""
    needed = sorted({suite for cell in cells for suite in cell.suites} - {roots.host_suite()})

    def reason_for(suite: str) -> str | None:
        began = time.monotonic()
        try:
            roots.require_entry(suite)
        except roots.UnavailableError as error:
            print(f"{suite}: not available: {error}; logs are in {roots.compat_cache()}", flush=True)
            return str(error)
        print(f"{suite}: {roots.root(suite)}, in {time.monotonic() - began:.0f} s", flush=True)
        return None

    with ThreadPoolExecutor(max_workers=2) as pool:
        return {suite: reason for suite, reason in zip(needed, pool.map(reason_for, needed), strict=True) if reason}


def _run(cell: Cell, absent: dict[str, str], if_absent: str) -> Result:
    """Run a cell, print and keep its result."""
    print(f"{cell.name} ...", flush=True)
    began = time.monotonic()
    result = dataclasses.replace(_try(cell, absent, if_absent), seconds=time.monotonic() - began)
    store(result)
    print(f"{cell.name}: {result.outcome}: {result.text}, in {result.seconds:.0f} s", flush=True)
    return result


def _try(cell: Cell, absent: dict[str, str], if_absent: str) -> Result:
    """The result of a cell; it is not run if this machine lacks its Python or a suite."""
    for suite in sorted(cell.suites & set(absent)):
        return Result.now(cell.name, if_absent, absent[suite])
    if cell.python is not None and cell.python not in pythons():
        return Result.now(cell.name, "skipped", f"this machine has no CPython {cell.python}")
    try:
        versions = used.versions(cell)  # downloads the guests' kernel if it is absent: the cell has no network
        with tempfile.TemporaryDirectory(prefix="smblock-compat-") as scratch:
            return dataclasses.replace(run_pytest(cell, Path(scratch)), versions=versions)
    except roots.UnavailableError as error:
        return Result.now(cell.name, if_absent, str(error))
    except (LabError, OSError) as error:
        return Result.now(cell.name, "failed", str(error))


def _used_gib() -> float:
    listed = run(["du", "--summarize", "--one-file-system", "--block-size=1M", cache_directory()], timeout=300)
    return int(listed.stdout.split()[0]) / 1024


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        sys.exit(f"test-compat: {error}")
