"""A VDI, plugged into hosts as xapi does it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from lab.dom0 import Dom0
from lab.sr import LabSr
from lab.xapi import ApiError
from lab.xapi.cli.failures import explain

MIB = 1 << 20


SrT = TypeVar("SrT", bound=LabSr)


@dataclass(frozen=True)
class Vdi(Generic[SrT]):
    """A VDI of an SR of any type."""

    sr: SrT
    uuid: str

    def destroy(self) -> None:
        self.sr.destroy_vdi(self.uuid)

    # Plugging

    def attach_to(self, vm: str, mode: str = "RW") -> str:
        """`xe vbd-create` for a VM. Returns the VBD's uuid."""
        return self.sr.lab.xe("vbd-create", f"vm-uuid={vm}", f"vdi-uuid={self.uuid}", "device=autodetect",
                              f"mode={mode}")  # fmt: skip

    def start_vm(self, host: Dom0) -> tuple[str, str]:
        """Start a VM with the disk on a host. Returns the uuids of the VM and of its VBD.

        xapi keeps a disk of the control domain plugged until the host boots again. A VM is halted when its host is
        declared dead, and its disk is free for another host.
        """
        vm = self.sr.lab.xe("vm-create", "name-label=guest")
        vbd = self.attach_to(vm)
        self.sr.lab.xe("vm-start", f"uuid={vm}", f"on={host.name}")
        return vm, vbd

    def plug(self, host: Dom0, mode: str = "RW") -> str:
        """Plug it into a host's control domain. Returns the VBD's uuid.  A VBD that fails to plug is destroyed."""
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
        """Inside the `with` block it is plugged into a host's control domain. Returns the path of its device."""
        vbd = self.plug(host, mode)
        try:
            yield self.device(host, vbd)
        finally:
            self.unplug(vbd)

    def device(self, host: Dom0, vbd: str) -> str:
        """The block device of a plugged VBD.

        If SM returns only tapdisk's NBD server to xapi, the device is that of the tapdisk.
        """
        with self.sr.lab.xapi.session() as session:
            path = str(session.VBD.get_runtime_properties(session.VBD.get_by_uuid(vbd))["params"])
        if path.startswith("/"):
            return path
        socket = path.removeprefix("nbd:unix:").partition(":")[0]
        minor = host.exec(["readlink", socket]).check().decode().strip().rpartition(".")[2]
        return f"/dev/xen/blktap-2/tapdev{minor}"

    # Single SM commands, without xapi's own checks

    def command(self, host: Dom0, name: str, *args: str) -> Any:
        """Send an SM command about it to a host; `ApiError` if it is refused."""
        pool = self.sr.lab.xapi.pool
        sr, vdi = pool.db.by_uuid("SR", self.sr.uuid), pool.db.by_uuid("VDI", self.uuid)
        return pool.sm(pool.db.by_uuid("host", host.uuid), name, sr=sr, vdi=vdi, args=args)

    def refusal(self, host: Dom0, name: str, *args: str) -> str:
        """What `xe` prints when the driver refuses a command."""
        try:
            reply = self.command(host, name, *args)
        except ApiError as refused:
            return explain(refused)
        raise AssertionError(f"{name} {' '.join(args)}: expected a refusal, got {reply!r}")


def read(host: Dom0, device: str, size: int, offset: int = 0) -> bytes:
    """Bytes of a device, past the page cache; `size` and `offset` are multiples of 1 MiB."""
    where = [f"skip={offset // MIB}", f"count={size // MIB}"]
    return host.exec(["dd", f"if={device}", "bs=1M", "iflag=direct", "status=none", *where]).check()


def write(host: Dom0, device: str, data: bytes, offset: int = 0) -> None:
    """Write whole MiB to a device, past the page cache, at a multiple of 1 MiB."""
    how = ["bs=1M", "iflag=fullblock", "oflag=direct", "conv=notrunc", "status=none"]
    host.exec(["dd", f"of={device}", f"seek={offset // MIB}", *how], input=data).check()
