"""What xapi and a host do for high availability: disks that are attached without xapi.

STATIC_VDIS names xapi's own static-vdis; without it, its simulator `lab/static-vdis` runs.
"""

from __future__ import annotations

import os
import xmlrpc.client
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.dom0 import Dom0
from lab.sm_source import SITE_PACKAGES
from lab.sr import LabSr
from lab.tree import XAPI_SOCKET

_DIRECTORY = "/etc/xensource/static-vdis"
_PROGRAM = "/opt/xensource/bin/static-vdis"
_SIMULATOR = Path(__file__).with_name("static-vdis")
# What static-vdis reads of xapi's module: the host's UUID.
_INVENTORY = """def get_localhost_uuid():
    with open("/etc/xensource-inventory") as file:
        rows = dict(line.strip().split("=", 1) for line in file)
    return rows["INSTALLATION_UUID"].strip("'")
"""
# xapi asks for these (xapi_ha.ml, redo_log.ml), in bytes.
SIZES = {"ha_statefile": 266_240, "redo_log": 3_988_783_104}


def create(sr: LabSr, kind: str) -> str:
    """Create a disk as xapi does when high availability is switched on. Returns its uuid."""
    with sr.lab.xapi.session() as session:
        record = {
            "name_label": kind,
            "SR": session.SR.get_by_uuid(sr.uuid),
            "virtual_size": str(SIZES[kind]),
            "type": kind,
            "sharable": True,
            "sm_config": {"type": "raw"},
        }
        return str(session.VDI.get_uuid(session.VDI.create(record)))


class StaticVdis:
    """`static-vdis` on a host."""

    def __init__(self, host: Dom0) -> None:
        self._host = host
        source = Path(os.environ.get("STATIC_VDIS", _SIMULATOR))
        host.put(_PROGRAM, source.read_bytes(), 0o755)
        host.put(f"{SITE_PACKAGES}/inventory.py", _INVENTORY.encode())
        host.exec(["mkdir", "-p", "/etc/xensource"]).check()

    def add(self, vdi: str) -> None:
        """Store what attaches the disk on this host."""
        self._run("add", vdi, "HA")

    def attach(self, vdi: str) -> str:
        """Attach it. Returns its block device."""
        link = self._run("attach", vdi).strip()
        return self._host.exec(["readlink", link]).check().decode().strip()

    def detach(self, vdi: str) -> None:
        self._run("detach", vdi)

    def delete(self, vdi: str) -> None:
        """Forget what attaches the disk."""
        self._run("del", vdi)

    def change_device_config(self, vdi: str, **keys: str) -> None:
        """Change keys of the device-config that is stored for the disk."""
        found = self._host.exec(["grep", "-rl", vdi, _DIRECTORY, "--include=config"]).check()
        path = found.decode().strip()
        (call,), method = xmlrpc.client.loads(self._host.get(path))
        assert isinstance(call, dict)
        call["device_config"].update(keys)
        self._host.put(path, xmlrpc.client.dumps((call,), method).encode())

    def _run(self, *words: str) -> str:
        return self._host.sm([_PROGRAM, *words]).check().decode()


@contextmanager
def without_xapi(host: Dom0) -> Iterator[None]:
    """Inside the `with` block nothing on the host reaches xapi."""
    host.exec(["mv", XAPI_SOCKET, XAPI_SOCKET + ".away"]).check()
    try:
        yield
    finally:
        host.exec(["mv", XAPI_SOCKET + ".away", XAPI_SOCKET]).check()
