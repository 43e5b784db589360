"""Released versions of smblock, kept in fixtures/releases, and hosts of the lab that run them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.dom0 import Dom0
from lab.tree import SM_DIR
from lab.xapi.lab_pool import LabPool

_ARCHIVES = Path(__file__).with_name("fixtures") / "releases"
OLDEST = "0.1.0"


def unpack(version: str, directory: Path) -> Path:
    """Unpacks a release; returns the directory with its install.sh."""
    archive = _ARCHIVES / f"smblock-{version}.tar.xz"
    subprocess.run(["tar", "-xf", archive, "-C", directory], check=True, capture_output=True, timeout=60)
    return directory / f"smblock-{version}"


def installed(version: str, directory: Path) -> Path:
    """The root that a release's own install.sh makes."""
    argv = [str(unpack(version, directory) / "install.sh"), "--root", str(directory / "root")]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    return directory / "root"


@contextmanager
def running(lab: LabPool, host: Dom0, release: Path, present: Path) -> Iterator[None]:
    """Inside the `with` block a host has a release's driver; after it the `present` one. Both are roots."""
    _place(lab, host, release)
    try:
        yield
    finally:
        _place(lab, host, present)


def _place(lab: LabPool, host: Dom0, root: Path) -> None:
    """Replaces the driver of a host, and restarts its toolstack."""
    host.exec(["rm", "-rf", f"{SM_DIR}/smblock"]).check()
    for directory in (SM_DIR, "/etc/xapi.d"):
        host.put_tree(root / directory.lstrip("/"), directory)
    lab.xapi.pool.load_drivers(lab.ref(host))


@contextmanager
def master(lab: LabPool, host: Dom0) -> Iterator[None]:
    """Inside the `with` block that host is the master: xapi runs the commands of shared SRs on it."""
    pool = lab.xapi.pool
    before = pool.master
    pool.db.set("pool", pool.ref, "master", lab.ref(host))
    try:
        yield
    finally:
        pool.db.set("pool", pool.ref, "master", before)
