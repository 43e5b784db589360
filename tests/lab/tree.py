"""The tree of an XCP-ng dom0: what is put where on a host of the lab.

`stage_sm` makes a folder that looks like dom0's root as far as SM is concerned, from the stand-in
or from a checkout of the real code; `layout` brings it to a host, with the driver, the host's
identity and its access to Ceph.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from pathlib import Path

from tests.lab import LabError, run
from tests.lab.dom0 import Dom0, lab_python

SM_DIR = "/opt/xensource/sm"
PLUGIN_DIR = "/etc/xapi.d/plugins"
SITE_PACKAGES = "/opt/xensource/site-packages"
XAPI_SOCKET = "/var/lib/xcp/xapi"
STAND_IN = Path(__file__).with_name("sm")

# What XCP-ng 9 has on dom0's module path from other packages, and Debian has not.
_PYPI = ("XenAPI", "bitarray")

# Folders dom0 makes at boot or by its packages.
_FOLDERS = (
    "/dev/sm", "/dev/xapi/sm", "/etc/xapi.conf.d", "/etc/xensource", "/run/blktap-control", "/run/fairlock",
    "/run/sm", "/run/sr-mount", "/var/lib/xcp", "/var/lock/sm", PLUGIN_DIR, SITE_PACKAGES, SM_DIR,
)  # fmt: skip

# What an SM driver imports, in the first generation that has it; the rest comes along.
_PRELOAD = ("XenAPI", "SRCommand", "SR", "VDI", "blktap2", "util", "xs_errors", "lock", "cleanup")
_STDLIB_PRELOAD = (
    "argparse",
    "json",
    "logging.handlers",
    "subprocess",
    "uuid",
    "xml.dom.minidom",
    "xmlrpc.client",
)


def cache_folder() -> Path:
    """Where downloads are kept: SMBLOCK_CACHE, or ~/.cache/smblock."""
    folder = Path(os.environ.get("SMBLOCK_CACHE", Path.home() / ".cache" / "smblock"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def stage_sm(source: Path | None, root: Path) -> Path:
    """Lay out SM below the empty folder `root` as a dom0 has it; returns `root`.

    `source` is a checkout of the real code: of 8.3 (flat `drivers/*.py`, with or without the QCOW2
    patches), or of sm 4.x (the package `libs/sm`).  None takes the stand-in.
    """
    sm = root / SM_DIR.lstrip("/")
    plugins = root / PLUGIN_DIR.lstrip("/")
    site = root / SITE_PACKAGES.lstrip("/")
    for folder in (sm, plugins, site):
        folder.mkdir(parents=True)
    if source is None:
        _stage_stand_in(sm, plugins)
    elif (source / "libs" / "sm").is_dir():
        _stage_package(source, root, sm, plugins, site)
    elif (source / "drivers" / "SRCommand.py").is_file():
        _stage_flat(source, sm, plugins, site)
    else:
        raise LabError(f"{source}: no checkout of sm: neither libs/sm nor drivers/SRCommand.py is there")
    return root


def layout(
    dom0: Dom0,
    *,
    sm_tree: Path,
    driver_tree: Path | None,
    ceph_conf: str | None,
    keyring: Path | None,
    xapi: tuple[str, int] | None = None,
) -> None:
    """Make a freshly started host a dom0.

    sm_tree       from `stage_sm`, copied to the root
    driver_tree   the driver as installed, copied to the SM folder; None for a host without
    ceph_conf     text of /etc/ceph/ceph.conf; None for a host that knows no cluster
    keyring       the keyring of the user the host may be
    xapi          address and port the host's xapi socket leads to
    """
    dom0.exec(["rm", "-rf", "/etc/ceph"]).check()  # what the machine itself may know of some cluster
    dom0.exec(["mkdir", "-p", "/etc/ceph", *_FOLDERS]).check()
    inventory = f"INSTALLATION_UUID='{dom0.uuid}'\nCONTROL_DOMAIN_UUID='{dom0.control_domain_uuid}'\n"
    dom0.put("/etc/xensource-inventory", inventory.encode())
    dom0.put_tree(sm_tree, "/")
    if driver_tree is not None:
        dom0.put_tree(driver_tree, SM_DIR)
    if ceph_conf is not None:
        dom0.put("/etc/ceph/ceph.conf", ceph_conf.encode())
    if keyring is not None:
        dom0.put(f"/etc/ceph/ceph.{_user(keyring)}.keyring", keyring.read_bytes(), mode=0o600)
    if xapi is not None:
        dom0.forward(XAPI_SOCKET, *xapi)
    dom0.preload(_preloadable(sm_tree), [SM_DIR, SITE_PACKAGES])


def _stage_stand_in(sm: Path, plugins: Path) -> None:
    shutil.copytree(STAND_IN, sm, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    # Files without a suffix are what xapi calls by name: its plugins.
    for script in [path for path in sm.iterdir() if path.is_file() and not path.suffix]:
        _executable(script.rename(plugins / script.name))


def _stage_flat(source: Path, sm: Path, plugins: Path, site: Path) -> None:
    drivers = source / "drivers"
    for module in [*drivers.glob("*.py"), drivers / "XE_SR_ERRORCODES.xml"]:
        _executable(Path(shutil.copy(module, sm)))
    for module in drivers.glob("*SR.py"):
        if module.stem != "SR":
            (sm / module.stem).symlink_to(module.name)
    shutil.copytree(drivers / "plugins", sm / "plugins")
    for script in drivers.iterdir():
        if script.is_file() and not script.suffix:
            _executable(Path(shutil.copy(script, plugins)))
    _executable(Path(shutil.copy(drivers / "on_slave.py", plugins / "on-slave")))
    shutil.copytree(source / "sm_typing", site / "sm_typing")
    shutil.copy(source / "misc" / "fairlock" / "fairlock.py", site)
    _install_pypi(site)


def _stage_package(source: Path, root: Path, sm: Path, plugins: Path, site: Path) -> None:
    shutil.copytree(source / "libs" / "sm", site / "sm")
    for module in (source / "compat-libs").glob("*.py"):
        _executable(Path(shutil.copy(module, sm)))
    data = root / "usr/share/sm"
    data.mkdir(parents=True)
    shutil.copy(next((source / "libs" / "sm").rglob("XE_SR_ERRORCODES.xml")), data)
    libexec = root / "usr/libexec/sm"
    (libexec / "drivers").mkdir(parents=True)
    for driver in (source / "drivers").glob("*SR"):
        _executable(Path(shutil.copy(driver, libexec / "drivers")))
        (sm / driver.name).symlink_to(f"/usr/libexec/sm/drivers/{driver.name}")
    for command in ("cleanup", "resetvdis"):
        _executable(Path(shutil.copy(source / "utils" / command, libexec)))
        (sm / f"{command}.py").symlink_to(f"/usr/libexec/sm/{command}")
    for script in (source / "scripts" / "plugins").iterdir():
        _executable(Path(shutil.copy(script, plugins)))
    shutil.copy(source / "misc" / "fairlock" / "fairlock.py", site)
    _install_pypi(site)


def _install_pypi(site: Path) -> None:
    """Copy the packages real sm needs, in the builds for LAB_PYTHON; downloaded once."""
    version = "import sys; print('%d.%d' % sys.version_info[:2])"
    python = run([lab_python(), "-c", version], timeout=10).stdout.decode().strip()
    kept = cache_folder() / f"site-packages-{python}"
    if not kept.is_dir():
        new = kept.with_name(f"{kept.name}.{os.getpid()}.new")
        run(
            ["/usr/bin/env", "python3", "-m", "pip", "install", "--quiet", "--target", new, "--no-deps",
             "--only-binary", ":all:", "--python-version", python, *_PYPI],
            timeout=120,
        )  # fmt: skip
        new.rename(kept)
    shutil.copytree(kept, site, dirs_exist_ok=True)


def _preloadable(sm_tree: Path) -> list[str]:
    sm, site = (sm_tree / folder.lstrip("/") for folder in (SM_DIR, SITE_PACKAGES))
    found = list(_STDLIB_PRELOAD)
    for name in _PRELOAD:
        if (site / "sm" / f"{name}.py").is_file():
            found.append(f"sm.{name}")
        elif (sm / f"{name}.py").is_file() or (site / f"{name}.py").is_file():
            found.append(name)
    return found


def _user(keyring: Path) -> str:
    name = re.search(r"^\[(client\.[^\]]+)\]", keyring.read_text(), re.MULTILINE)
    if name is None:
        raise LabError(f"{keyring}: names no client")
    return name.group(1)


def _executable(path: Path) -> None:
    path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
