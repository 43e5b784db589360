"""SM on a dom0 of the lab: the project's stand-in, or the real thing from a checkout.

A checkout is of one of the generations that XCP-ng has shipped or will: modules in one flat folder
(8.3, before and after QCOW2), or a package ``sm`` (4.x).  Whichever it is, it comes with a stand-in
for tapdisk, which has no source outside a kernel of Xen's own, and for the few programs of a dom0
that SM executes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.lab import LabError, run

_LAB = Path(__file__).parent
_STAND_IN = _LAB / "sm"
_TAPDISK = _LAB / "tapdisk"

SM_DIR = "opt/xensource/sm"
PLUGINS = "etc/xapi.d/plugins"
# On a dom0 these come with the system's Python; here the agent's PYTHONPATH names the folder.
SITE_PACKAGES = "opt/xensource/site-packages"

_SHEBANG = b"#!/usr/bin/python3\n"
# What real SM imports from outside itself.  bitarray 3 does not run on Python 3.6.
_REQUIREMENTS = ("XenAPI", "bitarray>=2,<3")
_PIP_DEADLINE = 180.0


def sm_source() -> Path | None:
    """The checkout that SM_SOURCE names, or None for the stand-in."""
    named = os.environ.get("SM_SOURCE")
    return Path(named) if named else None


def stage_sm(source: Path | None, destination: Path, python: str) -> None:
    """Lay out SM under `destination`, which is the root of a dom0, or will be put over one.

    `source` is a checkout of SM, or None for the stand-in.  `python` is the interpreter that the
    dom0 runs SM with: the files' first lines name it, and what comes from PyPI is built for it.
    Raises `LabError` when the checkout is none of the known layouts.
    """
    for folder in (SM_DIR, PLUGINS, SITE_PACKAGES, "opt/xensource/libexec"):
        (destination / folder).mkdir(parents=True, exist_ok=True)
    minors = "/dev/xen/blktap-2/tapdev"
    if source is None:
        _stage_stand_in(destination)
    elif (source / "libs" / "sm").is_dir():
        _stage_package(source, destination)
        # blktap 4 has no kernel driver, and names a minor by a file
        minors = "/run/blktap-control/tapdisk/tapdisk-"
    elif (source / "drivers" / "SRCommand.py").is_file():
        _stage_flat(source, destination)
    else:
        raise LabError(f"{source}: no checkout of SM: neither libs/sm nor drivers/SRCommand.py is in it")
    if source is not None:
        _copy_tree(source / "misc" / "fairlock", destination / SITE_PACKAGES, "*.py")
        shutil.copytree(_site_packages(python), destination / SITE_PACKAGES, dirs_exist_ok=True)
    # comes with xapi, not with SM
    _install(_STAND_IN / "XenAPIPlugin.py", destination / SITE_PACKAGES / "XenAPIPlugin.py", 0o644)
    _stage_tapdisk(destination, minors)
    _name_interpreter(destination, python)


def _install(file: Path, destination: Path, mode: int) -> None:
    destination.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, destination)
    destination.chmod(mode)


def _copy_tree(source: Path, destination: Path, pattern: str) -> None:
    """Copy the files of one folder, keeping their modes; folders inside are left out."""
    destination.mkdir(parents=True, exist_ok=True)
    for file in source.glob(pattern):
        if file.is_file():
            shutil.copy(file, destination / file.name)


def _link_drivers(folder: Path) -> None:
    """xapi looks for XSR, which is a link to XSR.py."""
    for file in folder.glob("?*SR.py"):
        link = folder / file.stem
        if file.name != "SHMSR.py" and not link.is_symlink():
            link.symlink_to(file.name)


def _stage_stand_in(destination: Path) -> None:
    _copy_tree(_STAND_IN, destination / SM_DIR, "*.py")
    _copy_tree(_STAND_IN, destination / SM_DIR, "*.xml")
    for plugin in ("tapdisk-pause", "on-slave"):
        _install(_STAND_IN / plugin, destination / PLUGINS / plugin, 0o755)
    (destination / SM_DIR / "XenAPIPlugin.py").unlink()


def _stage_flat(source: Path, destination: Path) -> None:
    drivers = source / "drivers"
    _copy_tree(drivers, destination / SM_DIR, "*.py")
    _copy_tree(drivers, destination / SM_DIR, "*.xml")
    _copy_tree(drivers / "plugins", destination / SM_DIR / "plugins", "*.py")
    _link_drivers(destination / SM_DIR)
    (destination / SM_DIR / "on_slave.py").unlink()
    _install(drivers / "on_slave.py", destination / PLUGINS / "on-slave", 0o755)
    _install(drivers / "tapdisk-pause", destination / PLUGINS / "tapdisk-pause", 0o755)
    _copy_tree(source / "sm_typing", destination / SITE_PACKAGES / "sm_typing", "*.py")


def _stage_package(source: Path, destination: Path) -> None:
    shutil.copytree(
        source / "libs" / "sm",
        destination / SITE_PACKAGES / "sm",
        ignore=shutil.ignore_patterns("__pycache__", "*.xml"),
    )
    errors = "XE_SR_ERRORCODES.xml"
    _install(source / "libs" / "sm" / "core" / errors, destination / "usr/share/sm" / errors, 0o644)
    _copy_tree(source / "compat-libs", destination / SM_DIR, "*.py")
    drivers = destination / "usr/libexec/sm/drivers"
    _copy_tree(source / "drivers", drivers, "*SR")
    for driver in drivers.iterdir():
        (destination / SM_DIR / driver.name).symlink_to(f"/usr/libexec/sm/drivers/{driver.name}")
    _copy_tree(source / "scripts" / "plugins", destination / PLUGINS, "*")


def _stage_tapdisk(destination: Path, minors: str) -> None:
    for program, folder in (
        ("tap-ctl", "usr/sbin"),
        ("tapdisk-prepare", "usr/sbin"),
        ("cgclassify", "usr/bin"),
        ("uuidgen", "usr/bin"),
    ):
        _install(_TAPDISK / program, destination / folder / program, 0o755)
    (destination / "etc" / "tapdisk-stand-in.conf").write_text(f"ALLOCATED={minors}\n")


def _name_interpreter(destination: Path, python: str) -> None:
    """Make what xapi executes run on `python`, whatever the machine's own is."""
    for folder in (SM_DIR, PLUGINS, "usr/libexec/sm/drivers"):
        for file in (destination / folder).glob("*"):
            if file.is_symlink() or not file.is_file():
                continue
            content = file.read_bytes()
            if content.startswith(_SHEBANG):
                file.write_bytes(b"#!" + python.encode() + b"\n" + content[len(_SHEBANG) :])


def _site_packages(python: str) -> Path:
    """A folder with what real SM needs from PyPI, built for `python` once and kept."""
    tag = subprocess.run(
        [python, "-c", "import sys; print(sys.implementation.cache_tag)"],
        check=True,
        capture_output=True,
        text=True,
        timeout=_PIP_DEADLINE,
    ).stdout.strip()
    cache = Path(os.environ.get("SMBLOCK_CACHE", Path.home() / ".cache" / "smblock"))
    kept = cache / f"sm-site-packages-{tag}"
    if kept.is_dir():
        return kept
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        fresh = Path(scratch) / "site-packages"
        pip = [python, "-m", "pip", "install", "--quiet", "--target", str(fresh)]
        run([*pip, *_REQUIREMENTS], timeout=_PIP_DEADLINE, env=dict(os.environ))
        try:
            fresh.rename(kept)
        except OSError:
            # another session was quicker
            if not kept.is_dir():
                raise
    return kept
