"""VDI calls of changed-block tracking. The rules, and the line numbers, are those of xapi_vdi.ml (e2ee48d688)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lab.xapi import sm_exec
from lab.xapi.errors import ApiError
from lab.xapi.pool import Pool

FEATURE = "VDI_CONFIG_CBT"
NO_CONTENT = "/No content: this is a cbt_metadata VDI/"


class Tracking:
    """`ready` returns the host of a VDI's commands, `run` executes one there."""

    def __init__(self, pool: Pool, ready: Callable[..., str], run: Callable[..., Any]) -> None:
        self._pool = pool
        self._ready = ready
        self._run = run

    def switch(self, vdi: str, enabled: bool) -> None:
        """vdi_enable_cbt or vdi_disable_cbt, also of a disk in use; skipped if it is so already (1388-1418)."""
        db = self._pool.db
        row = db.record("VDI", vdi)
        with self._pool.exclusive(("VDI", vdi)):
            host = self._ready(row["SR"], FEATURE, vdi)
            self.refuse_metadata(vdi)
            if row["is_a_snapshot"]:  # 446
                raise ApiError("OPERATION_NOT_ALLOWED", f"VDI is a snapshot: {vdi}")
            if row["type"] not in ("user", "system"):  # 449
                raise ApiError("VDI_INCOMPATIBLE_TYPE", vdi, row["type"])
            if row["on_boot"] == "reset":  # 454
                raise ApiError("VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION")
            if row["cbt_enabled"] == enabled:
                return
            command = "vdi_enable_cbt" if enabled else "vdi_disable_cbt"
            sm_exec.expect_nil(self._run(host, command, row["SR"], vdi))
            db.set("VDI", vdi, "cbt_enabled", enabled)

    def data_destroy(self, vdi: str) -> None:
        """vdi_data_destroy; the type is cbt_metadata before it, and again what it was if it fails (1032-1047)."""
        db = self._pool.db
        row = db.record("VDI", vdi)
        with self._pool.exclusive(("SR", row["SR"]), ("VDI", vdi)):
            host = self._ready(row["SR"], FEATURE, vdi)
            if not row["is_a_snapshot"]:  # 403
                raise ApiError("OPERATION_NOT_ALLOWED", f"VDI is not a snapshot: {vdi}")
            if not row["cbt_enabled"]:  # 408
                raise ApiError("VDI_NO_CBT_METADATA", vdi)
            if row["type"] == "cbt_metadata":
                return
            if db.find("VBD", VDI=vdi, currently_attached=True):
                raise ApiError("VDI_IN_USE", vdi, "data_destroy")
            db.set("VDI", vdi, "type", "cbt_metadata")
            try:
                sm_exec.expect_nil(self._run(host, "vdi_data_destroy", row["SR"], vdi))
            except BaseException:
                db.set("VDI", vdi, "type", row["type"])
                raise
            # storage_smapiv1.ml:1125-1129
            db.replace_key("VDI", vdi, "other_config", "content_id", NO_CONTENT)
            for vbd in db.find("VBD", VDI=vdi):
                db.destroy("VBD", vbd)

    def list_changed_blocks(self, vdi_from: str, vdi_to: str) -> str:
        """vdi_list_changed_blocks of `vdi_from`, with `vdi_to` as argument: no plugged disk, unless of a snapshot."""
        db = self._pool.db
        sr = db.get("VDI", vdi_to, "SR")
        host = self._ready(sr, FEATURE, vdi_to)
        for vbd in db.find("VBD", VDI=vdi_to, currently_attached=True):  # 263-273
            if not db.get("VM", db.get("VBD", vbd, "VM"), "is_a_snapshot"):
                raise ApiError("VDI_IN_USE", vdi_to, "list_changed_blocks")
        reply = self._run(host, "vdi_list_changed_blocks", sr, vdi_from, args=[vdi_to])
        return sm_exec.expect_string(reply)

    def refuse_metadata(self, vdi: str) -> None:
        """Refuse what needs the data of a VDI whose data was destroyed (304-338)."""
        if self._pool.db.get("VDI", vdi, "type") == "cbt_metadata":
            raise ApiError("VDI_INCOMPATIBLE_TYPE", vdi, "cbt_metadata")
