"""Root directories that look like a host of XCP-ng to an installation: xapi's files, and SM.

These are not hosts: xapi's files have the options that matter here, as the packages of each version write them, and SM
is the lab's simulator.
"""

from __future__ import annotations

import os
from pathlib import Path

SETUP = Path(__file__).parent.parent / "packaging" / "smblock-setup"

UPSTREAM = "ext nfs iscsi lvmoiscsi dummy file hba rawhba udev iso lvm lvmohba lvmofcoe shm smb"
XCP_NG = f"{UPSTREAM} cephfs glusterfs xfs zfs largeblock"
LINSTOR = f"{UPSTREAM} cephfs glusterfs xfs zfs ext4 largeblock linstor"
LINSTOR_FILE = "99-enable-sm-driver-linstor.conf"
# What a host has in /etc/xapi.conf.d besides: no other option than sm-plugins matters here.
OTHER_FILES = {
    "8.3": ["tracing.conf", "xcpng-ntp.conf", "ssh-auto-mode.conf"],
    "9": ["tracing.conf", "firewall-backend.conf", "xenserver9.conf"],
}
KINDS = ["8.3", "8.3-linstor", "9"]


def xapi_conf(types: str = XCP_NG) -> str:
    """The text of /etc/xapi.conf, shortened."""
    return (
        "# any changes made to this file may be overwritten\n"
        "inventory = /etc/xensource-inventory\n"
        "# sm-dir =  /opt/xensource/sm\n\n"
        f"# Whitelist of SM plugins\nsm-plugins={types}\n"
    )


def make_configuration(root: Path, kind: str) -> Path:
    """xapi's files of a version: 8.3, 8.3-linstor or 9; returns `root`."""
    directory = root / "etc" / "xapi.conf.d"
    directory.mkdir(parents=True)
    (root / "etc" / "xapi.conf").write_text(xapi_conf())
    for name in OTHER_FILES[kind.partition("-")[0]]:
        (directory / name).write_text("# nothing of SM's\nhttps-only-default = true\n")
    if kind.endswith("-linstor"):
        (directory / LINSTOR_FILE).write_text(f"# DO NOT MODIFY: Add sm linstor plugin.\nsm-plugins={LINSTOR}\n")
    return root


def types_of(kind: str) -> list[str]:
    """The types that xapi runs on a host of that kind without smblock."""
    return (LINSTOR if kind.endswith("-linstor") else XCP_NG).split()


def tree(root: Path) -> dict[str, object]:
    """Everything below a directory: a file's content and mode, a link's destination, None for a directory."""
    found: dict[str, object] = {}
    for path in root.rglob("*"):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = os.readlink(path)
        else:
            found[name] = (path.read_bytes(), path.stat().st_mode) if path.is_file() else None
    return found


def effective_types(root: Path) -> list[str]:
    """The types that xapi allows: its last line of sm-plugins. Written apart from the product's own reader."""
    found: list[str] = []
    for path in [root / "etc/xapi.conf", *sorted((root / "etc/xapi.conf.d").iterdir(), key=lambda path: bytes(path))]:
        for line in path.read_bytes().decode("latin-1").split("\n"):
            key, equals, value = line.partition("#")[0].rstrip(" \t").partition("=")
            if equals and key.split()[-1:] == ["sm-plugins"]:
                value = value.lstrip(" \t")
                quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
                found = (value[1:-1] if quoted else value).split()
    return found
