"""Runs the cells and writes docs/user/compatibility.md: `make test-compat`, or by hand

python -m tests.compat.run --list
python -m tests.compat.run --cell 'client-14.2-*' --cell 'kernel-5.10'
"""

from __future__ import annotations

import argparse
import datetime
import fnmatch
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

from tests.compat import report, roots, servers
from tests.compat.cells import Cell, all_cells, small_cells
from tests.compat.results import Result, load, store
from tests.compat.versions import NEWEST
from tests.lab import LabError, cache_folder, run
from tests.lab.guest import image
from tests.wheel import REPOSITORY, pythons

_ENTER = Path(__file__).with_name("enter.sh")
_CELL_SECONDS = 1800.0
_MINUTES, _GIB = 60, 8  # what all of it may take


def main() -> int:
    """Run what the command line asks for: 0 if no cell failed."""
    parser = argparse.ArgumentParser(description="Tests smblock on other versions of Ceph, Linux and Python.")
    parser.add_argument("--cell", action="append", metavar="PATTERN", help="run only these cells; may be repeated")
    parser.add_argument("--small", action="store_true", help="run the oldest client, newest cluster, oldest kernel")
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
    # As for ^C: the cell's processes and its scratch folder go.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("test-compat: ended by SIGTERM"))
    return _run_all(cells)


def _run_all(cells: Sequence[Cell]) -> int:
    began = time.monotonic()
    results = []
    for number, cell in enumerate(cells, 1):
        print(f"{number}/{len(cells)} {cell.name} ...", flush=True)
        result = _run(cell)
        store(result)
        results.append(result)
        print(f"    {result.outcome} {result.text} in {result.seconds:.0f} s", flush=True)
    minutes, gib = (time.monotonic() - began) / 60, _used_gib()
    report.write(load())
    print()
    print(report.table(results))
    print(f"took {minutes:.1f} minutes of {_MINUTES}; the cache {cache_folder()} holds {gib:.1f} GiB of {_GIB}")
    failed = [result for result in results if result.outcome == "failed"]
    for result in failed:
        print(f"FAILED {result.cell}: {', '.join(result.failures) or result.text}; the log is {_log(result.cell)}")
    return 1 if failed else 0


def _run(cell: Cell) -> Result:
    """Run a cell, unless it is impossible or this machine lacks its Python."""
    today = datetime.date.today().isoformat()
    if cell.impossible:
        return Result(cell.name, today, "not supported", cell.impossible)
    if cell.python is not None and cell.python not in pythons():
        return Result(cell.name, today, "absent", f"this machine has no CPython {cell.python}")
    began = time.monotonic()
    try:
        versions = _versions(cell)  # makes what the cell needs: inside there is no network
        with tempfile.TemporaryDirectory(prefix="smblock-compat-") as scratch:
            outcome = _run_pytest(cell, Path(scratch))
    except (LabError, OSError, subprocess.TimeoutExpired) as error:
        outcome, versions = ("failed", str(error), ()), {}
    seconds = time.monotonic() - began
    return Result(cell.name, today, *outcome, versions=versions, seconds=seconds)


def _run_pytest(cell: Cell, scratch: Path) -> tuple[str, str, tuple[str, ...]]:
    client, server = roots.root(cell.client), roots.root(cell.server)
    environment = _environment(cell, scratch, client, server)
    used = sorted({str(root) for root in (client, server) if root is not None})
    junit = scratch / "junit.xml"
    several = len({test.partition("::")[0] for test in cell.tests if test.startswith("tests/")}) > 1
    workers = ["--numprocesses", "2", "--dist", "loadfile", "--no-loadscope-reorder"] if several else []
    argv = [
        str(_ENTER), tempfile.gettempdir(), *used, "--",
        sys.executable, "-m", "pytest", *workers, "-p", "no:cacheprovider",
        f"--basetemp={scratch}/tests", f"--junitxml={junit}", *cell.tests,
    ]  # fmt: skip
    with _log(cell.name).open("wb") as log:
        subprocess.run(
            argv, cwd=REPOSITORY, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            timeout=_CELL_SECONDS, check=False,
        )  # fmt: skip
    if not junit.exists():
        return "failed", "pytest did not end by itself", ()
    return _judge(junit)


def _environment(cell: Cell, scratch: Path, client: Path | None, server: Path | None) -> dict[str, str]:
    environment = dict(os.environ)
    for name in ("LAB_ROOT", "LAB_PYTHON", "KERNEL_ROOT"):
        environment.pop(name, None)
    environment.update(LAB_MESSENGER=cell.messenger, LAB_NETWORK=cell.network)
    if client is not None:
        environment["LAB_ROOT"] = str(client)
    if server is not None:
        choose_old_keys = cell.keys == "aes" and cell.server == NEWEST  # the others make no other ones
        servers.write_programs(scratch / "bin", cell.server, server, servers.OLD_KEYS if choose_old_keys else {})
        environment["PATH"] = f"{scratch}/bin:{environment['PATH']}"
    if cell.kernel is not None and (kernel := roots.root(cell.kernel)) is not None:
        environment["KERNEL_ROOT"] = str(kernel)
    if cell.python is not None:
        environment["LAB_PYTHON"] = str(pythons()[cell.python])
    return environment


def _judge(junit: Path) -> tuple[str, str, tuple[str, ...]]:
    """The outcome, the counts and the failed tests of a run of pytest."""
    found: dict[str, set[str]] = {"all": set(), "bad": set(), "skipped": set()}
    # A test that fails, and whose fixtures fail after it, is there twice.
    for case in ElementTree.parse(junit).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        found["all"].add(name)
        if case.find("failure") is not None or case.find("error") is not None:
            found["bad"].add(name)
        if case.find("skipped") is not None:
            found["skipped"].add(name)
    bad, skipped = found["bad"], len(found["skipped"])
    passed = len(found["all"] - bad - found["skipped"])
    text = f"{passed} passed" + (f", {len(bad)} failed" if bad else "") + (f", {skipped} skipped" if skipped else "")
    # A run in which no test ran proves nothing.
    return "passed" if passed and not bad else "failed", text, tuple(sorted(name.partition("::")[2] for name in bad))


def _versions(cell: Cell) -> dict[str, str]:
    """The full versions of what was used."""
    found = {"librados": _package(cell.client, "librados2"), "Ceph": _package(cell.server, "ceph-mon")}
    found["Python"] = cell.python or _package(cell.client, "python3")
    if cell.kernel is not None:
        found["Linux"] = _kernel_release(cell.kernel)
    return found


def _kernel_release(suite: str) -> str:
    """Debian's version of a suite's kernel. The guests' image is made if it is absent, which takes the network."""
    kernel = image.prepare(cache_folder(), str(roots.root(suite) or "/")).kernel.read_bytes()
    found = re.search(rb"Linux version [^\n\0]*? #\d+ SMP[ A-Z_]* Debian (\S+)", kernel)
    return found.group(1).decode() if found else "unknown"


def _package(suite: str, package: str) -> str:
    root = roots.root(suite) or Path("/")
    argv = ["dpkg-query", f"--admindir={root}/var/lib/dpkg", "-W", "-f", "${source:Upstream-Version}", package]
    version = run(argv, timeout=60).stdout.decode()
    return version.partition("+")[0]  # Debian's own mark follows


def _log(name: str) -> Path:
    folder = roots.compat_cache() / "logs"
    folder.mkdir(exist_ok=True)
    return folder / f"{name}.log"


def _used_gib() -> float:
    listed = run(["du", "--summarize", "--one-file-system", "--block-size=1M", cache_folder()], timeout=300)
    return int(listed.stdout.split()[0]) / 1024


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        sys.exit(f"test-compat: {error}")
