"""VM calls: those parts of a VM's life that use its disks."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from lab.xapi.datapath import Datapaths
from lab.xapi.errors import ApiError
from lab.xapi.features import REVERT_FEATURE
from lab.xapi.pool import Pool
from lab.xapi.schema import NULL
from lab.xapi.tasks import now, operation
from lab.xapi.vbd import VbdCalls
from lab.xapi.vdi import VdiCalls

_LOG = logging.getLogger(__name__)
# Errors that VM.revert takes as "the driver has no revert".
_NOT_NATIVE = ("SR_OPERATION_NOT_SUPPORTED", "UNIMPLEMENTED_IN_SM_BACKEND")
# Errors that VM.revert passes on: no space, and a chain that is too long.
_TOLD_BY_REVERT = ("SR_BACKEND_FAILURE_44", "SR_BACKEND_FAILURE_109")


class VmCalls:
    """The XenAPI class VM."""

    API = ("create", "destroy", "start_on", "hard_shutdown", "pool_migrate", "power_state_reset", "snapshot", "revert")

    def __init__(self, pool: Pool, vdis: VdiCalls, vbds: VbdCalls, datapaths: Datapaths) -> None:
        self._pool = pool
        self._vdis = vdis
        self._vbds = vbds
        self._datapaths = datapaths

    def create(self, record: Mapping[str, Any]) -> str:
        """A halted VM without disks."""
        return self._pool.db.create(
            "VM",
            name_label=record.get("name_label", ""),
            name_description=record.get("name_description", ""),
            other_config=record.get("other_config", {}),
        )

    def destroy(self, vm: str) -> None:
        """Drop a halted VM and its VBDs; its disks stay."""
        self._require_state(vm, "Halted")
        for vbd in self._pool.db.find("VBD", VM=vm):
            self._pool.db.destroy("VBD", vbd)
        self._pool.db.destroy("VM", vm)

    def start_on(self, vm: str, host: str, _start_paused: bool = False, _force: bool = False) -> None:
        """Run the VM on a host: every disk begins an epoch, then each is attached and activated.

        The writable ones come first.
        """
        db = self._pool.db
        blocked = db.get("VM", vm, "blocked_operations")
        if "start_on" in blocked:  # before all else (xapi_vm_lifecycle.ml, check_operation_error)
            raise ApiError("OPERATION_BLOCKED", vm, blocked["start_on"])
        self._require_state(vm, "Halted")
        if not db.get("host", host, "enabled"):
            raise ApiError("HOST_DISABLED", host)
        disks = sorted(self._disks(vm), key=lambda vbd: db.get("VBD", vbd, "mode") != "RW")
        started: list[str] = []
        for vbd in disks:
            self._datapaths.epoch(host, db.get("VBD", vbd, "VDI"), "begin")
        try:
            for vbd in disks:
                self._vbds.connect(vbd, host)
                started.append(vbd)
        except ApiError:
            for vbd in started:
                self._vbds.disconnect(vbd, host)
            raise
        db.set("VM", vm, "resident_on", host)
        db.set("VM", vm, "power_state", "Running")

    def hard_shutdown(self, vm: str) -> None:
        """Stop the VM: every disk is deactivated and detached."""
        db = self._pool.db
        self._require_state(vm, "Running")
        host = db.get("VM", vm, "resident_on")
        for vbd in self._disks(vm):
            if db.get("VBD", vbd, "currently_attached"):
                self._vbds.disconnect(vbd, host)
        for vbd in self._disks(vm):
            self._datapaths.epoch(host, db.get("VBD", vbd, "VDI"), "end")
        db.set("VM", vm, "resident_on", NULL)
        db.set("VM", vm, "power_state", "Halted")

    def pool_migrate(self, vm: str, host: str, _options: Mapping[str, str] | None = None) -> None:
        """Move a running VM, with its disks, to another host of the pool."""
        db = self._pool.db
        self._require_state(vm, "Running")
        source = db.get("VM", vm, "resident_on")
        for vbd in self._disks(vm):
            if db.get("VBD", vbd, "currently_attached"):
                self._vbds.move(vbd, source, host)
        db.set("VM", vm, "resident_on", host)

    def power_state_reset(self, vm: str) -> None:
        """Set a VM's state to halted without any command."""
        db = self._pool.db
        for vbd in self._disks(vm):
            self._vbds.lose(vbd)
        db.set("VM", vm, "resident_on", NULL)
        db.set("VM", vm, "power_state", "Halted")

    def snapshot(self, vm: str, new_name: str, ignore_vdis: Sequence[str] = ()) -> str:
        """A snapshot of the VM and of each of its disks, but those of `ignore_vdis` (xapi_vm_clone.ml:448-456).

        The VM has the operation `snapshot` (message_forwarding.ml:1864). The disks are snapshotted one after the
        other, each by a subtask (safe_clone_disks, xapi_vm_clone.ml:200-222; `~subtask_of` in helpers.ml:480). If one
        fails, the snapshots so far are destroyed (delete_disks, xapi_vm_clone.ml:217).
        """
        db = self._pool.db
        copies: list[tuple[str, str]] = []
        with operation(db, "VM", vm, "snapshot") as task:
            for vbd in self._disks(vm):
                vdi = db.get("VBD", vbd, "VDI")
                if vdi in ignore_vdis:
                    continue
                try:
                    copies.append((vbd, self._vdis.snapshot(vdi, subtask_of=task)))
                except ApiError:
                    for _, copy in copies:
                        self._vdis.destroy(copy)
                    raise
        snapshot = db.create("VM", name_label=new_name, is_a_snapshot=True, snapshot_of=vm, snapshot_time=now())
        for vbd, vdi in copies:
            self._vbds.create(_like(db.record("VBD", vbd), snapshot, vdi))
        return snapshot

    def revert(self, snapshot: str) -> None:
        """Give the VM the disks of its snapshot.

        By VDI.revert if xapi and the driver have it.  Else in xapi's order: destroy the VM's disks, clone the
        snapshot's, and set snapshot_of of every snapshot to the clone, in the database only.  A failure ends
        the revert, and the VM stays without those disks.
        """
        db = self._pool.db
        vm = db.get("VM", snapshot, "snapshot_of")
        if not db.exists("VM", vm):
            raise ApiError("VM_REVERT_FAILED", snapshot, vm)
        if db.get("VM", vm, "power_state") == "Running":
            self.hard_shutdown(vm)
        try:
            self._exchange_disks(vm, snapshot)
        except ApiError as error:
            _LOG.warning("VM.revert of %s failed: %s", vm, error)
            if error.code in _TOLD_BY_REVERT:
                raise
            raise ApiError("VM_REVERT_FAILED", snapshot, vm) from error

    def _exchange_disks(self, vm: str, snapshot: str) -> None:
        db = self._pool.db

        def snapshot_of(vbd: str) -> str:
            return str(db.get("VDI", db.get("VBD", vbd, "VDI"), "snapshot_of"))

        wanted = self._disks(snapshot)
        cloned = [vbd for vbd in wanted if not self._reverted(vbd)]
        kept = {snapshot_of(vbd) for vbd in wanted if vbd not in cloned}
        lost = {snapshot_of(vbd) for vbd in cloned}
        vbds = {vbd: str(db.get("VBD", vbd, "VDI")) for vbd in self._disks(vm)}
        for vbd, vdi in vbds.items():
            if vdi not in kept:  # a disk that the snapshot does not have stays, unattached
                db.destroy("VBD", vbd)
        for vdi in sorted(lost & set(vbds.values())):
            self._vdis.destroy(vdi)
        clones = [(vbd, snapshot_of(vbd), self._vdis.clone(db.get("VBD", vbd, "VDI"))) for vbd in cloned]
        for vbd, old, clone in clones:
            for sibling in db.find("VDI", snapshot_of=old) if old != NULL else ():
                db.set("VDI", sibling, "snapshot_of", clone)
            self._vbds.create(_like(db.record("VBD", vbd), vm, clone))

    def _reverted(self, vbd: str) -> bool:
        vdi = self._pool.db.get("VBD", vbd, "VDI")
        if not self._pool.has_feature(self._pool.db.get("VDI", vdi, "SR"), REVERT_FEATURE):
            return False
        try:
            self._vdis.revert(vdi)
        except ApiError as error:
            if error.code in _NOT_NATIVE:
                return False
            raise
        return True

    def _disks(self, vm: str) -> list[str]:
        db = self._pool.db
        return [vbd for vbd in db.find("VBD", VM=vm, type="Disk") if not db.get("VBD", vbd, "empty")]

    def _require_state(self, vm: str, wanted: str) -> None:
        actual = self._pool.db.get("VM", vm, "power_state")
        if actual != wanted:
            raise ApiError("VM_BAD_POWER_STATE", vm, wanted.lower(), actual.lower())


def _like(vbd: Mapping[str, Any], vm: str, vdi: str) -> dict[str, Any]:
    """A copy of a VBD record, for `vm` and `vdi`."""
    kept = ("userdevice", "bootable", "mode", "type", "unpluggable", "empty", "other_config")
    return {name: vbd[name] for name in kept} | {"VM": vm, "VDI": vdi}
