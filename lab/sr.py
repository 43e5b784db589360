"""An SR of the lab, of any type, and its disks, used through `xe`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lab.dom0 import Dom0
from lab.xapi.lab_pool import LabPool


class LabSr:
    """An SR of a pool; subclasses add what is special to their type."""

    uuid: str

    @property
    def lab(self) -> LabPool:
        """The pool that has it."""
        raise NotImplementedError

    def create_vdi(self, name: str = "disk", size: str = "1GiB", *words: str) -> str:
        """`xe vdi-create`: the disk's uuid."""
        return self.lab.xe("vdi-create", f"sr-uuid={self.uuid}", f"name-label={name}", f"virtual-size={size}", *words)

    def destroy_vdi(self, vdi: str) -> None:
        self.lab.xe("vdi-destroy", f"uuid={vdi}")

    def vdis(self) -> set[str]:
        """The uuids of the disks in XAPI."""
        return set(self.lab.list("vdi", f"sr-uuid={self.uuid}"))

    def names(self) -> set[str]:
        """Their names."""
        return {self.lab.get("vdi", "name-label", vdi) for vdi in self.vdis()}

    def get(self, name: str) -> str:
        """One parameter of the SR."""
        return self.lab.get("sr", name, self.uuid)

    def scan(self) -> None:
        self.lab.xe("sr-scan", f"uuid={self.uuid}")

    def command(self, host: Dom0, name: str) -> Any:
        """Send an SM command about it to a host; `ApiError` if it is refused."""
        pool = self.lab.xapi.pool
        return pool.sm(pool.db.by_uuid("host", host.uuid), name, sr=pool.db.by_uuid("SR", self.uuid))

    def unplug(self) -> None:
        for pbd in self.lab.list("pbd", f"sr-uuid={self.uuid}"):
            self.lab.xe("pbd-unplug", f"uuid={pbd}")

    def plug(self) -> None:
        for pbd in self.lab.list("pbd", f"sr-uuid={self.uuid}"):
            self.lab.xe("pbd-plug", f"uuid={pbd}")

    def replug(self, *device_config: str) -> None:
        """Unplugs the SR, and plugs it with another device-config (`device-config:KEY=VALUE`) on the same hosts."""
        self.unplug()
        for pbd in self.lab.list("pbd", f"sr-uuid={self.uuid}"):
            host = self.lab.get("pbd", "host-uuid", pbd)
            self.lab.xe("pbd-destroy", f"uuid={pbd}")
            new = self.lab.xe("pbd-create", f"sr-uuid={self.uuid}", f"host-uuid={host}", *device_config)
            self.lab.xe("pbd-plug", f"uuid={new}")

    def forget(self) -> None:
        self.unplug()
        self.lab.xe("sr-forget", f"uuid={self.uuid}")


@contextmanager
def fist_point(host: Dom0, name: str) -> Iterator[None]:
    """Inside the `with` block SM's commands on the host die at that fist point of the driver."""
    # All hosts share the machine's /tmp.
    host.exec(["mount", "-t", "tmpfs", "fist", "/tmp"]).check()
    try:
        host.put(f"/tmp/fist_smblock_{name}", b"")
        yield
    finally:
        host.exec(["umount", "--lazy", "/tmp"]).check()
