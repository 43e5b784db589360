"""Runs pytest for one cell, in namespaces of its own, and reads its result."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from lab.wheel import REPOSITORY, pythons
from tests.compat import roots, servers
from tests.compat.cells import Cell
from tests.compat.results import Result
from tests.compat.versions import NEWEST

_CELL_SECONDS = 1800.0
_running: set[subprocess.Popen[bytes]] = set()


class KilledError(Exception):
    """The run of a cell was killed, so it has no result."""


def run_pytest(cell: Cell, scratch: Path) -> Result:
    """Run the tests of a cell; their output goes to its log."""
    client, server = roots.root(cell.client), roots.root(cell.server)
    environment = _environment(cell, scratch, client, server)
    used = sorted({root for root in (client, server) if root is not None})
    junit = scratch / "junit.xml"
    workers = ["--numprocesses", "2", "--dist", "loadfile", "--no-loadscope-reorder"] if cell.has_several_files else []
    argv = roots.enter(
        used, sys.executable, "-m", "pytest", *workers, "-p", "no:cacheprovider",
        f"--basetemp={scratch}/tests", f"--junitxml={junit}", *cell.tests,
    )  # fmt: skip
    with log_path(cell.name).open("wb") as log:
        process = subprocess.Popen(
            argv, cwd=REPOSITORY, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )  # fmt: skip
        _running.add(process)
        try:
            status = process.wait(_CELL_SECONDS)
        except subprocess.TimeoutExpired:
            return Result.now(cell.name, "failed", f"not complete after {_CELL_SECONDS:.0f} s")
        finally:
            # The lab's keepers end everything that it started.
            process.kill()
            process.wait()
            _running.discard(process)
    if not junit.exists() and status == -signal.SIGKILL:
        raise KilledError(cell.name)
    if not junit.exists():
        return Result.now(cell.name, "failed", f"pytest ended with status {status} before any result")
    return judge(cell.name, junit)


def stop_all() -> None:
    """Kill every pytest that other threads wait for."""
    for process in list(_running):
        process.kill()


def log_path(name: str) -> Path:
    """The file that keeps the output of a cell."""
    directory = roots.compat_cache() / "logs"
    directory.mkdir(exist_ok=True)
    return directory / f"{name}.log"


def judge(name: str, junit: Path) -> Result:
    """The outcome, the counts, the failed and the skipped tests of a run of pytest."""
    every, bad, skipped = set(), set(), {}
    # A test that fails, and whose fixtures fail after it, has two entries.
    for case in ElementTree.parse(junit).iter("testcase"):
        test = f"{case.get('classname')}::{case.get('name')}"
        every.add(test)
        if case.find("failure") is not None or case.find("error") is not None:
            bad.add(test)
        if (skip := case.find("skipped")) is not None:
            skipped[test] = skip.get("message") or "no reason given"
    passed = len(every - bad - set(skipped))
    counts = [(passed, "passed"), (len(bad), "failed"), (len(skipped), "skipped")]
    return Result.now(
        name,
        "passed" if passed and not bad else "failed",  # a run in which no test ran proves nothing
        ", ".join(f"{count} {what}" for count, what in counts if count) or "no test ran",
        failures=tuple(sorted(_test_name(test) for test in bad)),
        skips={_test_name(test): reason for test, reason in sorted(skipped.items())},
    )


def _test_name(test: str) -> str:
    return test.partition("::")[2]


def _environment(cell: Cell, scratch: Path, client: Path | None, server: Path | None) -> dict[str, str]:
    environment = dict(os.environ)
    for name in ("LAB_ROOT", "LAB_PYTHON", "KERNEL_ROOT"):
        environment.pop(name, None)
    environment.update(LAB_MESSENGER=cell.messenger, LAB_NETWORK=cell.network)
    if client is not None:
        environment["LAB_ROOT"] = str(client)
    if server is not None:
        choose_old_keys = cell.keys == "aes" and cell.server == NEWEST  # older Ceph makes these keys anyway
        servers.write_programs(scratch / "bin", cell.server, server, servers.OLD_KEYS if choose_old_keys else {})
        environment["PATH"] = f"{scratch}/bin:{environment['PATH']}"
    if cell.kernel is not None and (kernel := roots.root(cell.kernel)) is not None:
        environment["KERNEL_ROOT"] = str(kernel)
    if cell.python is not None:
        environment["LAB_PYTHON"] = str(pythons()[cell.python])
    return environment
