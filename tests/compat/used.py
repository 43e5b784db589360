"""The full versions of what a cell uses, which the page names."""

from __future__ import annotations

import re
from pathlib import Path

from lab import LabError, cache_directory, run
from lab.guest import image
from tests.compat import roots
from tests.compat.cells import Cell
from tests.compat.versions import SUITES


def versions(cell: Cell) -> dict[str, str]:
    """The programs of a cell, each with its full version.

    UnavailableError if a suite has another version by now than the cell's name, or has no kernel.
    """
    found = {"librados": _package(cell.client, "librados2"), "Ceph": _package(cell.server, "ceph-mon")}
    found["Python"] = cell.python or _package(cell.client, "python3")
    wanted = {
        "librados": (cell.client, SUITES[cell.client].ceph),
        "Ceph": (cell.server, SUITES[cell.server].ceph),
        "Python": (cell.client, cell.python or SUITES[cell.client].python),
    }
    if cell.kernel is not None:
        found["Linux"] = _kernel(cell.kernel)
        wanted["Linux"] = (cell.kernel, SUITES[cell.kernel].kernel)
    for what, (suite, series) in wanted.items():
        if not in_series(found[what], series):
            raise roots.UnavailableError(
                f"{suite} has {what} {found[what]}, not {series}: change tests/compat/versions.py"
            )
    return found


def in_series(version: str, series: str) -> bool:
    """Whether 14.2.21 is of 14.2, for example; 14.20.1 is not."""
    return re.match(re.escape(series) + r"(\W|$)", version) is not None


def kernel_release(kernel: bytes) -> str:
    """Debian's version of an uncompressed kernel, 6.1.192-2 for example; LabError if it has none."""
    # The banner names the compiler's version of Debian, too. That of the kernel follows SMP.
    found = re.search(rb"Linux version [^\n\0]*? #\d+ SMP[ A-Z_]* Debian (\d\S+)", kernel)
    if found is None:
        raise LabError("the kernel names no version of Debian: no `Linux version ... SMP ... Debian VERSION` in it")
    return found.group(1).decode()


def _kernel(suite: str) -> str:
    """The version of a suite's kernel. The guests' image is made if it is absent, which needs the network."""
    try:
        made = image.prepare(cache_directory(), str(roots.root(suite) or "/"))
    except LabError as error:
        raise roots.UnavailableError(f"kernel of {suite}: {error}") from error
    return kernel_release(made.kernel.read_bytes())


def _package(suite: str, package: str) -> str:
    root = roots.root(suite) or Path("/")
    argv = ["dpkg-query", f"--admindir={root}/var/lib/dpkg", "-W", "-f", "${source:Upstream-Version}", package]
    version = run(argv, timeout=60).stdout.decode()
    return version.partition("+")[0]  # Debian's own mark follows
