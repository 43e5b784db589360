"""A disk of an SR on Ceph, plugged into hosts as xapi does it, and inspected from outside."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from lab import krbd, run
from lab.cephrbd import CephSr
from lab.dom0 import Dom0
from lab.vdi import MIB, Vdi, read, write

__all__ = ["MIB", "Disk", "read", "write"]


@dataclass(frozen=True)
class Disk(Vdi[CephSr]):
    """A VDI of an SR in a pool of the cluster."""

    @classmethod
    def create(cls, sr: CephSr, size: int = 16 * MIB) -> Disk:
        """`xe vdi-create`; `size` in bytes."""
        return cls(sr, sr.create_vdi(size=str(size)))

    @property
    def image(self) -> str:
        """The RBD image that it was made with, POOL/NAME or POOL/NAMESPACE/NAME."""
        return f"{self.sr.pool.spec}/{self.sr.image(self.uuid)}"

    # Copies

    def snapshot(self) -> Disk:
        """`xe vdi-snapshot`"""
        return Disk(self.sr, self.sr.lab.xe("vdi-snapshot", f"uuid={self.uuid}"))

    def clone(self) -> Disk:
        """`xe vdi-clone`"""
        return Disk(self.sr, self.sr.lab.xe("vdi-clone", f"uuid={self.uuid}"))

    # From outside

    def record(self) -> dict[str, Any]:
        """Its record in the catalogue."""
        record = self.sr.pool.rados("getomapval", self.sr.catalogue, f"vdi.{self.uuid}", "/dev/stdout")
        return dict(json.loads(record[record.index("{") :]))

    def claimed_by(self) -> str | None:
        """The uuid of the host whose claim the catalogue has."""
        claim = self.record().get("claim")
        return None if claim is None else str(claim["host"])

    def is_paused(self) -> bool:
        """Whether SM has set the key in XAPI that its I/O is paused."""
        return "paused" in self.sr.lab.get("vdi", "sm-config", self.uuid)

    def snapshot_names(self) -> set[str]:
        """The names of its image's snapshots."""
        listed = json.loads(self.sr.lab.ceph.rbd("snap", "ls", "--format", "json", self.image))
        return {snapshot["name"] for snapshot in listed}

    def watchers(self) -> int:
        """How many clients have the image open."""
        status = json.loads(self.sr.lab.ceph.rbd("status", "--format", "json", self.image))
        return len(status["watchers"])

    def export(self) -> bytes:
        """The data of an export of its image or snapshot."""
        volume = self.record()["volume"]
        spec = f"{self.sr.pool.spec}/{volume['image']['name']}"
        if "snapshot" in volume:
            spec += f"@{volume['snapshot']['name']}"
        argv = ["rbd", "--conf", str(self.sr.lab.ceph.conf), "export", "--no-progress", spec, "-"]
        return run(argv, timeout=60).stdout

    def devices(self, host: Dom0) -> list[str]:
        """The host's RBD devices that were mapped under the image's name."""
        return [device for device, image in krbd.devices(host).items() if image == self.image]

    def traces(self, host: Dom0) -> list[str]:
        """What a host has of it: RBD devices, links, sockets, device nodes."""
        found = host.exec(["find", "/dev/sm", "/run/blktap-control", "-name", f"*{self.uuid}*"]).check()
        return self.devices(host) + sorted(found.decode().split())
