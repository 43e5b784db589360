"""SM on a dom0 of the lab: the project's simulator, or the real one from a checkout.

A checkout has modules in one flat directory (8.3, before and after QCOW2), or a package ``sm`` (4.x).
Each runs with a simulator of tapdisk and of the few other programs of a dom0 that SM executes. tapdisk 4
runs without Xen: SM 4 uses it if TAPDISK_BIN names it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from lab import LabError, cache_directory, run
from lab.dom0 import lab_python

_LAB = Path(__file__).parent
_SIMULATOR = _LAB / "sm"
_TAPDISK = _LAB / "tapdisk"
_REAL_TAPDISK = _TAPDISK / "real"
# blktap 4 has no kernel driver: SM 4 has a file for each minor of tapdisk.
_MINOR_FILES = "/run/blktap-control/tapdisk/tapdisk-"

SM_DIR = "/opt/xensource/sm"
XAPI_DIR = "/etc/xapi.d"
PLUGIN_DIR = f"{XAPI_DIR}/plugins"
HOOK_DIR = f"{XAPI_DIR}/host-post-declare-dead"
# Replaces the site-packages of dom0's interpreter; the agent's PYTHONPATH names it.
SITE_PACKAGES = "/opt/xensource/site-packages"
_LIBEXEC = "/usr/libexec/sm"

_SHEBANG = b"#!/usr/bin/python3\n"
# What real SM imports from outside itself.  bitarray 3 does not run on Python 3.6.
_REQUIREMENTS = ("XenAPI", "bitarray>=2,<3")
_PIP_DEADLINE = 180.0


def sm_source() -> Path | None:
    """The checkout that SM_SOURCE names, or None for the simulator."""
    named = os.environ.get("SM_SOURCE")
    return Path(named) if named else None


def tapdisk_bin() -> Path | None:
    """The directory that TAPDISK_BIN names, with tapdisk 4 and its tap-ctl, or None for the simulator.

    tap-ctl looks for tapdisk in the directory that it was configured with, not beside itself.
    """
    named = os.environ.get("TAPDISK_BIN")
    return Path(named).resolve() if named else None


def runs_real_tapdisk(source: Path | None) -> bool:
    """Whether hosts with that SM run the real tapdisk: SM 4 does; older ones look for a kernel driver."""
    return tapdisk_bin() is not None and source is not None and (source / "libs" / "sm").is_dir()


def stage_sm(source: Path | None, root: Path, python: str | None = None) -> Path:
    """Install SM below the empty directory `root` as on a dom0. Returns `root`.

    `source` is a checkout of SM, or None for the simulator.  `python` is the interpreter that the
    dom0 runs SM with, by default the lab's: the first lines of the files name it, and what comes
    from PyPI is built for it.  Raises `LabError` if the checkout has an unknown layout.
    """
    python = python or lab_python()
    for directory in (SM_DIR, PLUGIN_DIR, SITE_PACKAGES):
        below(root, directory).mkdir(parents=True, exist_ok=True)
    minors = "/dev/xen/blktap-2/tapdev"
    if source is None:
        _stage_simulator(root)
    elif (source / "libs" / "sm").is_dir():
        _stage_package(source, root)
        minors = _MINOR_FILES
    elif (source / "drivers" / "SRCommand.py").is_file():
        _stage_flat(source, root)
    else:
        raise LabError(f"{source}: no checkout of SM: neither libs/sm nor drivers/SRCommand.py is there")
    site_packages = below(root, SITE_PACKAGES)
    if source is not None:
        _copy_files(source / "misc" / "fairlock", site_packages, "*.py")
        shutil.copytree(_from_pypi(python), site_packages, dirs_exist_ok=True)
    # comes with xapi, not with SM
    _install(_SIMULATOR / "XenAPIPlugin.py", site_packages / "XenAPIPlugin.py", 0o644)
    _install(_SIMULATOR / "10resetvdis", below(root, HOOK_DIR) / "10resetvdis", 0o755)
    _stage_tapdisk(root, minors)
    _name_interpreter(root, python)
    return root


def below(root: Path, path: str) -> Path:
    """The path below `root` of an absolute path of dom0."""
    return root / path.lstrip("/")


def _install(file: Path, destination: Path, mode: int) -> None:
    destination.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, destination)
    destination.chmod(mode)


def _copy_files(source: Path, destination: Path, pattern: str, mode: int = 0o644) -> None:
    """Install the files of one directory; directories inside are left out."""
    for file in source.glob(pattern):
        if file.is_file():
            _install(file, destination / file.name, mode)


def _stage_simulator(root: Path) -> None:
    for pattern in ("*.py", "*.xml"):
        _copy_files(_SIMULATOR, below(root, SM_DIR), pattern)
    (below(root, SM_DIR) / "XenAPIPlugin.py").unlink()
    (below(root, SM_DIR) / "resetvdis.py").chmod(0o755)
    for plugin in ("tapdisk-pause", "on-slave"):
        _install(_SIMULATOR / plugin, below(root, PLUGIN_DIR) / plugin, 0o755)


def _stage_flat(source: Path, root: Path) -> None:
    drivers, sm_dir = source / "drivers", below(root, SM_DIR)
    _copy_files(drivers, sm_dir, "*.py", 0o755)
    _copy_files(drivers, sm_dir, "*.xml")
    _copy_files(drivers / "plugins", sm_dir / "plugins", "*.py")
    for driver in sm_dir.glob("?*SR.py"):
        driver.with_suffix("").symlink_to(driver.name)
    (sm_dir / "on_slave.py").rename(below(root, PLUGIN_DIR) / "on-slave")
    _install(drivers / "tapdisk-pause", below(root, PLUGIN_DIR) / "tapdisk-pause", 0o755)
    _copy_files(source / "sm_typing", below(root, SITE_PACKAGES) / "sm_typing", "*.py")


def _stage_package(source: Path, root: Path) -> None:
    sm_dir, package = below(root, SM_DIR), source / "libs" / "sm"
    ignored = shutil.ignore_patterns("__pycache__", "*.xml")
    shutil.copytree(package, below(root, SITE_PACKAGES) / "sm", ignore=ignored)
    _copy_files(package / "core", root / "usr/share/sm", "*.xml")
    _copy_files(source / "compat-libs", sm_dir, "*.py", 0o755)
    _copy_files(source / "drivers", below(root, _LIBEXEC) / "drivers", "*SR", 0o755)
    for driver in (below(root, _LIBEXEC) / "drivers").iterdir():
        (sm_dir / driver.name).symlink_to(f"{_LIBEXEC}/drivers/{driver.name}")
    for command in ("cleanup", "resetvdis"):
        _install(source / "utils" / command, below(root, _LIBEXEC) / command, 0o755)
        (sm_dir / f"{command}.py").symlink_to(f"{_LIBEXEC}/{command}")
    _copy_files(source / "scripts" / "plugins", below(root, PLUGIN_DIR), "*", 0o755)


def _stage_tapdisk(root: Path, minors: str) -> None:
    real = tapdisk_bin() if minors == _MINOR_FILES else None
    for program in ("cgclassify", "uuidgen"):
        _install(_TAPDISK / program, root / "usr/bin" / program, 0o755)
    for program in ("tap-ctl", "tapdisk-prepare"):
        _install((_TAPDISK if real is None else _REAL_TAPDISK) / program, root / "usr/sbin" / program, 0o755)
    if real is None:
        (root / "etc" / "tapdisk-sim.conf").write_text(f"ALLOCATED={minors}\n")
    else:
        _install(_REAL_TAPDISK / "nbd-connect", root / "usr/libexec/tapdisk-real/nbd-connect", 0o755)
        (root / "etc" / "tapdisk-real.conf").write_text(f"BIN={real}\n")


def _name_interpreter(root: Path, python: str) -> None:
    """Write `python` into the first lines of the programs that xapi executes."""
    for directory in (SM_DIR, PLUGIN_DIR, HOOK_DIR, _LIBEXEC, f"{_LIBEXEC}/drivers"):
        for file in below(root, directory).glob("*"):
            if file.is_symlink() or not file.is_file():
                continue
            content = file.read_bytes()
            if content.startswith(_SHEBANG):
                file.write_bytes(b"#!" + python.encode() + b"\n" + content[len(_SHEBANG) :])


def _from_pypi(python: str) -> Path:
    """A directory with the PyPI packages of real SM, built for `python` once and kept."""
    tag = run([python, "-c", "import sys; print(sys.implementation.cache_tag)"], timeout=10)
    kept = cache_directory() / f"site-packages-{tag.stdout.decode().strip()}"
    if kept.is_dir():
        return kept
    with tempfile.TemporaryDirectory(dir=cache_directory()) as scratch:
        fresh = Path(scratch) / "site-packages"
        pip = [python, "-m", "pip", "install", "--quiet", "--target", str(fresh)]
        run([*pip, *_REQUIREMENTS], timeout=_PIP_DEADLINE, env=os.environ)
        try:
            fresh.rename(kept)
        except OSError:
            if not kept.is_dir():  # it is there if another session was faster
                raise
    return kept
