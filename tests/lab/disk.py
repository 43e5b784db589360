"""A disk of the driver, plugged into hosts as xapi does it, and looked at from outside."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.lab import krbd, run
from tests.lab.cephrbd import CephSr
from tests.lab.dom0 import Dom0
from tests.lab.xapi import ApiError

MIB = 1 << 20


@dataclass(frozen=True)
class Disk:
    """A VDI of an SR."""

    sr: CephSr
    uuid: str

    @classmethod
    def create(cls, sr: CephSr, size: int = 16 * MIB) -> Disk:
        """`xe vdi-create`; `size` in bytes."""
        return cls(sr, sr.create_vdi(size=str(size)))

    @property
    def image(self) -> str:
        """The RBD image that it was made with, POOL/NAME."""
        return f"{self.sr.pool.name}/{self.sr.image(self.uuid)}"

    # Making others of it

    def snapshot(self) -> Disk:
        """`xe vdi-snapshot`"""
        return Disk(self.sr, self.sr.lab.xe("vdi-snapshot", f"uuid={self.uuid}"))

    def clone(self) -> Disk:
        """`xe vdi-clone`"""
        return Disk(self.sr, self.sr.lab.xe("vdi-clone", f"uuid={self.uuid}"))

    def destroy(self) -> None:
        self.sr.destroy_vdi(self.uuid)

    # Plugging

    def attach_to(self, vm: str, mode: str = "RW") -> str:
        """`xe vbd-create` for a VM: the VBD's uuid."""
        return self.sr.lab.xe("vbd-create", f"vm-uuid={vm}", f"vdi-uuid={self.uuid}", "device=autodetect",
                              f"mode={mode}")  # fmt: skip

    def plug(self, host: Dom0, mode: str = "RW") -> str:
        """Plug it into a host's control domain: the VBD's uuid.  A VBD that fails to plug goes."""
        vbd = self.attach_to(host.control_domain_uuid, mode)
        try:
            self.sr.lab.xe("vbd-plug", f"uuid={vbd}")
        except BaseException:
            self.sr.lab.xe("vbd-destroy", f"uuid={vbd}")
            raise
        return vbd

    def unplug(self, vbd: str) -> None:
        self.sr.lab.xe("vbd-unplug", f"uuid={vbd}")
        self.sr.lab.xe("vbd-destroy", f"uuid={vbd}")

    @contextmanager
    def plugged(self, host: Dom0, mode: str = "RW") -> Iterator[str]:
        """Meanwhile it is plugged into a host's control domain: the path of the device a VM gets."""
        vbd = self.plug(host, mode)
        try:
            yield self.device(host, vbd)
        finally:
            self.unplug(vbd)

    def device(self, host: Dom0, vbd: str) -> str:
        """The block device that a plugged VBD leads to.

        Where SM tells xapi of tapdisk's NBD server only, the device is the one of that tapdisk.
        """
        with self.sr.lab.xapi.session() as session:
            path = str(session.VBD.get_runtime_properties(session.VBD.get_by_uuid(vbd))["params"])
        if path.startswith("/"):
            return path
        socket = path.removeprefix("nbd:unix:").partition(":")[0]
        minor = host.exec(["readlink", socket]).check().decode().strip().rpartition(".")[2]
        return f"/dev/xen/blktap-2/tapdev{minor}"

    # SM's commands, one by one, past xapi's own checks

    def command(self, host: Dom0, name: str, *args: str) -> Any:
        """Send an SM command about it to a host; `ApiError` where it is refused."""
        pool = self.sr.lab.xapi.pool
        sr, vdi = pool.db.by_uuid("SR", self.sr.uuid), pool.db.by_uuid("VDI", self.uuid)
        return pool.sm(pool.db.by_uuid("host", host.uuid), name, sr=sr, vdi=vdi, args=args)

    def refusal(self, host: Dom0, name: str, *args: str) -> str:
        """The driver's words where it refuses a command, of which xapi passes on less."""
        try:
            answer = self.command(host, name, *args)
        except ApiError as refused:
            return str(refused.__cause__)
        raise AssertionError(f"{name} {' '.join(args)}: was to be refused, and answered {answer!r}")

    def forget_tags(self) -> None:
        """Drop SM's own record of who has the disk open, as a crash of SM may."""
        with self.sr.lab.xapi.session() as session:
            vdi = session.VDI.get_by_uuid(self.uuid)
            for key in session.VDI.get_sm_config(vdi):
                if key.startswith("host_"):
                    session.VDI.remove_from_sm_config(vdi, key)

    # From outside

    def record(self) -> dict[str, Any]:
        """What the catalogue holds of it."""
        record = self.sr.pool.rados("getomapval", self.sr.catalogue, f"vdi.{self.uuid}", "/dev/stdout")
        return dict(json.loads(record[record.index("{") :]))

    def claimed_by(self) -> str | None:
        """The uuid of the host whose claim the catalogue holds."""
        claim = self.record().get("claim")
        return None if claim is None else str(claim["host"])

    def is_paused(self) -> bool:
        """Whether SM has noted in XAPI that its I/O is held back."""
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
        """What an export of the image, or the snapshot, holds that it is now."""
        volume = self.record()["volume"]
        spec = f"{self.sr.pool.name}/{volume['image']['name']}"
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


def read(host: Dom0, device: str, size: int, offset: int = 0) -> bytes:
    """Bytes of a device, past the page cache; `size` and `offset` are multiples of 1 MiB."""
    where = [f"skip={offset // MIB}", f"count={size // MIB}"]
    return host.exec(["dd", f"if={device}", "bs=1M", "iflag=direct", "status=none", *where]).check()


def write(host: Dom0, device: str, data: bytes, offset: int = 0) -> None:
    """Write whole MiB to a device, past the page cache, at a multiple of 1 MiB."""
    how = ["bs=1M", "iflag=fullblock", "oflag=direct", "conv=notrunc", "status=none"]
    host.exec(["dd", f"of={device}", f"seek={offset // MIB}", *how], input=data).check()
