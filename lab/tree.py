"""The tree of an XCP-ng dom0: which files a host of the lab has.

`lab.sm_source.stage_sm` makes a directory with SM's files as in dom0's root. `layout` copies it to a host,
with the driver, the host's identity and its access to Ceph.
"""

from __future__ import annotations

import re
from pathlib import Path

from lab import LabError
from lab.dom0 import Dom0, GuestDom0
from lab.sm_source import PLUGIN_DIR, SITE_PACKAGES, SM_DIR, XAPI_DIR, below, stage_sm

__all__ = ["PLUGIN_DIR", "SITE_PACKAGES", "SM_DIR", "XAPI_SOCKET", "install_driver", "layout", "stage_sm"]

XAPI_SOCKET = "/var/lib/xcp/xapi"

# Directories that a dom0 makes at boot or by its packages.
_DIRECTORIES = (
    "/dev/sm", "/dev/xapi/sm", "/etc/xapi.conf.d", "/etc/xensource", "/run/blktap-control", "/run/fairlock",
    "/run/sm", "/run/sr-mount", "/var/lib/xcp", "/var/lock/sm", PLUGIN_DIR, SITE_PACKAGES, SM_DIR,
)  # fmt: skip

# What an SM driver imports, in the first generation that has it; it imports the rest.
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
    driver_tree   the root that install.sh makes: its SM directory and its /etc/xapi.d are copied; None for a
                  host without the driver
    ceph_conf     text of /etc/ceph/ceph.conf; None for a host without a cluster
    keyring       the keyring of the host's user
    xapi          address and port to which the host's xapi socket is connected
    """
    dom0.exec(["rm", "-rf", "/etc/ceph"]).check()  # the machine's own configuration of some cluster
    dom0.exec(["mkdir", "-p", "/etc/ceph", *_DIRECTORIES]).check()
    inventory = f"INSTALLATION_UUID='{dom0.uuid}'\nCONTROL_DOMAIN_UUID='{dom0.control_domain_uuid}'\n"
    dom0.put("/etc/xensource-inventory", inventory.encode())
    dom0.put_tree(sm_tree, "/")
    if driver_tree is not None:
        for directory in (SM_DIR, XAPI_DIR):
            if below(driver_tree, directory).is_dir():
                dom0.put_tree(below(driver_tree, directory), directory)
    if ceph_conf is not None:
        dom0.put("/etc/ceph/ceph.conf", ceph_conf.encode())
    if keyring is not None:
        dom0.put(f"/etc/ceph/ceph.{_user(keyring)}.keyring", keyring.read_bytes(), mode=0o600)
    if xapi is not None:
        dom0.forward(XAPI_SOCKET, *xapi)
    if isinstance(dom0, GuestDom0):
        # Only a host with block devices can have a tapdisk.
        dom0.exec(["tapdisk-prepare"]).check()
    dom0.preload(_preloadable(sm_tree), [SM_DIR, SITE_PACKAGES])


def install_driver(file: Path, root: Path) -> None:
    """Install a driver of the tests' own below `root`, as install.sh installs one: the file and its link."""
    installed = below(root, SM_DIR) / file.name
    installed.parent.mkdir(parents=True, exist_ok=True)
    installed.write_bytes(file.read_bytes())
    installed.chmod(0o755)
    installed.with_suffix("").symlink_to(file.name)


def _preloadable(sm_tree: Path) -> list[str]:
    sm, site = (sm_tree / directory.lstrip("/") for directory in (SM_DIR, SITE_PACKAGES))
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
