"""VBD calls: a VM's disks, plugged and unplugged on the host the VM runs on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab.xapi.datapath import Datapaths
from lab.xapi.errors import ApiError
from lab.xapi.pool import Pool
from lab.xapi.schema import NULL

_MAX_DEVICES = 255
# VDI.sm_config key by which a driver chooses the backend of the VDI's VBDs.
_BACKEND_KIND = "backend-kind"


class VbdCalls:
    """The XenAPI class VBD."""

    API = ("create", "plug", "unplug", "destroy")

    def __init__(self, pool: Pool, datapaths: Datapaths) -> None:
        self._pool = pool
        self._datapaths = datapaths

    def create(self, record: Mapping[str, Any]) -> str:
        """Give a VDI to a VM, unplugged."""
        db = self._pool.db
        vm, vdi = record["VM"], record.get("VDI", NULL)
        taken = {db.get("VBD", other, "userdevice") for other in db.find("VBD", VM=vm)}
        device = record.get("userdevice", "autodetect")
        if device == "autodetect":
            device = next(str(n) for n in range(_MAX_DEVICES) if str(n) not in taken)
        elif device in taken:
            raise ApiError("DEVICE_ALREADY_EXISTS", device)
        other_config = dict(record.get("other_config", {}))
        if vdi != NULL:
            sm_config = db.get("VDI", vdi, "sm_config")
            if _BACKEND_KIND in sm_config:
                other_config[_BACKEND_KIND] = sm_config[_BACKEND_KIND]
        return db.create(
            "VBD",
            VM=vm,
            VDI=vdi,
            userdevice=device,
            bootable=record.get("bootable", False),
            mode=record.get("mode", "RW"),
            type=record.get("type", "Disk"),
            unpluggable=record.get("unpluggable", True),
            empty=record.get("empty", False),
            other_config=other_config,
        )

    def plug(self, vbd: str) -> None:
        """Attach and activate on the host where the VBD's VM runs."""
        db = self._pool.db
        row = db.record("VBD", vbd)
        if db.get("VM", row["VM"], "power_state") != "Running":
            state = db.get("VM", row["VM"], "power_state")
            raise ApiError("VM_BAD_POWER_STATE", row["VM"], "running", state.lower())
        if row["currently_attached"]:
            raise ApiError("DEVICE_ALREADY_ATTACHED", vbd)
        self.connect(vbd, db.get("VM", row["VM"], "resident_on"))

    def unplug(self, vbd: str) -> None:
        """Deactivate and detach."""
        db = self._pool.db
        row = db.record("VBD", vbd)
        if not row["currently_attached"]:
            raise ApiError("DEVICE_ALREADY_DETACHED", vbd)
        self.disconnect(vbd, db.get("VM", row["VM"], "resident_on"))

    def destroy(self, vbd: str) -> None:
        """Drop the record of an unplugged VBD."""
        db = self._pool.db
        if db.get("VBD", vbd, "currently_attached"):
            raise ApiError("OPERATION_NOT_ALLOWED", f"VBD '{vbd}' still attached to a VM")
        db.destroy("VBD", vbd)

    # Used by the VM calls too

    def connect(self, vbd: str, host: str) -> None:
        """Attach and activate on `host`; a failed activation detaches again."""
        vdi = str(self._pool.db.get("VBD", vbd, "VDI"))
        path = self.attach(vbd, host)
        try:
            self._datapaths.activate(host, vdi, vbd)
        except ApiError:
            self._datapaths.detach(host, vdi, vbd)
            raise
        self._note(vbd, attached=True, path=path)

    def disconnect(self, vbd: str, host: str) -> None:
        """Deactivate and detach on `host`."""
        vdi = str(self._pool.db.get("VBD", vbd, "VDI"))
        self._datapaths.deactivate(host, vdi, vbd)
        self._datapaths.detach(host, vdi, vbd)
        self._note(vbd, attached=False)

    def attach(self, vbd: str, host: str) -> str:
        """Only attach; returns the backend's path."""
        db = self._pool.db
        row = db.record("VBD", vbd)
        writable = row["mode"] == "RW"
        with self._pool.exclusive(("VDI", row["VDI"])):
            self._require_sharable(vbd, row["VDI"], writable)
            return self._datapaths.attach(host, row["VDI"], vbd, writable=writable)

    def move(self, vbd: str, source: str, destination: str) -> None:
        """A disk's part of a live migration: the source deactivates it before the destination may write."""
        vdi = str(self._pool.db.get("VBD", vbd, "VDI"))
        path = self.attach(vbd, destination)
        try:
            self._datapaths.deactivate(source, vdi, vbd)
            self._datapaths.activate(destination, vdi, vbd)
        except ApiError:
            self._datapaths.detach(destination, vdi, vbd)
            self._datapaths.activate(source, vdi, vbd)
            raise
        self._datapaths.detach(source, vdi, vbd)
        self._note(vbd, attached=True, path=path)

    def lose(self, vbd: str) -> None:
        """The host died under the VBD: only the record changes."""
        self._note(vbd, attached=False)

    def _note(self, vbd: str, *, attached: bool, path: str = "") -> None:
        db = self._pool.db
        db.set("VBD", vbd, "currently_attached", attached)
        db.set("VBD", vbd, "runtime_properties", {"params": path} if attached else {})
        db.set("VBD", vbd, "device", self._device(vbd, path) if attached else "")

    def _device(self, vbd: str, path: str) -> str:
        """The guest's name of the disk. In a control domain, the device without `/dev/` (xapi_vbd.ml:45-90).

        xapi connects an NBD client there if SM returns no device. The lab has the tapdisk's own device instead.
        """
        db = self._pool.db
        vm = db.get("VBD", vbd, "VM")
        if not db.get("VM", vm, "is_control_domain"):
            return f"xvd{_letters(int(db.get('VBD', vbd, 'userdevice')))}"
        if path.startswith("nbd:unix:"):
            socket = path.removeprefix("nbd:unix:").partition(":")[0]
            host = self._pool.contact(db.get("VM", vm, "resident_on"))
            minor = host.exec(["readlink", socket]).stdout.decode().strip().rpartition(".")[2]
            path = f"/dev/xen/blktap-2/tapdev{minor}"
        return path.removeprefix("/dev/")

    def _require_sharable(self, vbd: str, vdi: str, writable: bool) -> None:
        """Control domains share a disk with all others (xapi_vbd_helpers.ml, valid_operations: is_system_domain)."""
        db = self._pool.db
        if writable and db.get("VDI", vdi, "read_only"):
            raise ApiError("VDI_READONLY", vdi)
        if db.get("VDI", vdi, "sharable") or self._is_of_control_domain(vbd):
            return
        others = [
            db.get("VBD", other, "mode")
            for other in db.find("VBD", VDI=vdi, currently_attached=True)
            if other != vbd and not self._is_of_control_domain(other)
        ]
        if others and (writable or "RW" in others):
            raise ApiError("VDI_IN_USE", vdi, "attach")

    def _is_of_control_domain(self, vbd: str) -> bool:
        db = self._pool.db
        return bool(db.get("VM", db.get("VBD", vbd, "VM"), "is_control_domain"))


def _letters(number: int) -> str:
    """a, b, … z, aa, ab, … as the kernel counts disks."""
    head, tail = divmod(number, 26)
    return (_letters(head - 1) if head else "") + chr(ord("a") + tail)
