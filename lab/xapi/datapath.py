"""Disks on hosts: attach, activate, deactivate, detach, each once for each VDI and host.

Several VBDs of one host may use one VDI: like xapi, only the first attaches it and only the last
detaches it.
"""

from __future__ import annotations

import uuid as uuids
from dataclasses import dataclass, field
from typing import Any

from lab.xapi import sm_exec
from lab.xapi.errors import ApiError, Unimplemented
from lab.xapi.pool import Pool


@dataclass
class _State:
    """The users of one VDI on one host, and the reply of its attach."""

    attachment: dict[str, Any]
    writable: bool
    attached: set[str] = field(default_factory=set)
    active: set[str] = field(default_factory=set)


class Datapaths:
    """The attached disks of the pool's hosts; `dp` names the user of one, a VBD's reference."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._states: dict[tuple[str, str], _State] = {}

    def attach(self, host: str, vdi: str, dp: str, *, writable: bool) -> str:
        """vdi_attach; returns the backend's path on the host."""
        pool, db = self._pool, self._pool.db
        with pool.exclusive(("VDI", vdi)):
            state = self._states.get((host, vdi))
            if state is None:
                reply = self._run(host, "vdi_attach", vdi, args=[_flag(writable)])
                state = _State(sm_exec.expect_attachment(reply), writable)
                self._states[(host, vdi)] = state
                self._note_read_caching(host, vdi, state.attachment)
            elif writable and not state.writable:
                raise ApiError("VDI_IN_USE", vdi, "attach")
            state.attached.add(dp)
            db.get("VDI", vdi, "uuid")
            return str(state.attachment.get("params") or state.attachment["params_nbd"])

    def activate(self, host: str, vdi: str, dp: str) -> None:
        """vdi_activate, if the driver has it."""
        pool, db = self._pool, self._pool.db
        with pool.exclusive(("VDI", vdi)):
            state = self._state(host, vdi)
            if not state.active:
                if state.writable:
                    db.remove_key("VDI", vdi, "other_config", "content_id")
                if pool.has_feature(db.get("VDI", vdi, "SR"), "VDI_ACTIVATE"):
                    reply = self._run(host, "vdi_activate", vdi, args=[_flag(state.writable)])
                    sm_exec.expect_nil(reply)
            state.active.add(dp)

    def deactivate(self, host: str, vdi: str, dp: str) -> None:
        """vdi_deactivate, if the driver has it and no other VBD of the host has the disk active.

        Nothing is done for a user that the host does not have, as after a boot: xapi only looks for it in its own
        state (`| None -> None`, destroy_sr, storage_smapiv1_wrapper.ml:1020), which is below /var/run.
        """
        pool, db = self._pool, self._pool.db
        with pool.exclusive(("VDI", vdi)):
            state = self._states.get((host, vdi))
            if state is None or dp not in state.attached:
                return
            if state.active == {dp}:
                if "content_id" not in db.get("VDI", vdi, "other_config"):
                    content = str(uuids.uuid4())
                    db.replace_key("VDI", vdi, "other_config", "content_id", content)
                if pool.has_feature(db.get("VDI", vdi, "SR"), "VDI_DEACTIVATE"):
                    sm_exec.expect_nil(self._run(host, "vdi_deactivate", vdi))
            state.active.discard(dp)

    def detach(self, host: str, vdi: str, dp: str) -> None:
        """vdi_detach, if no other VBD of the host has the disk attached. Nothing as above."""
        db = self._pool.db
        with self._pool.exclusive(("VDI", vdi)):
            state = self._states.get((host, vdi))
            if state is None or dp not in state.attached:
                return
            if state.attached == {dp}:
                sm_exec.expect_nil(self._run(host, "vdi_detach", vdi))
                for prefix in ("read-caching-enabled-on", "read-caching-reason"):
                    db.remove_key("VDI", vdi, "sm_config", f"{prefix}-{self._uuid(host)}")
                del self._states[(host, vdi)]
            state.attached.discard(dp)

    def epoch(self, host: str, vdi: str, event: str) -> None:
        """vdi_epoch_begin or vdi_epoch_end (`event`), around a VM's life."""
        with self._pool.exclusive(("VDI", vdi)):
            sm_exec.expect_nil(self._run(host, f"vdi_epoch_{event}", vdi))

    def forget_host(self, host: str) -> None:
        """A host died: its disks are detached."""
        for key in [key for key in self._states if key[0] == host]:
            del self._states[key]

    def _state(self, host: str, vdi: str) -> _State:
        try:
            return self._states[(host, vdi)]
        except KeyError:
            raise ApiError("INTERNAL_ERROR", f"VDI {vdi} is not attached on {host}") from None

    def _run(self, host: str, command: str, vdi: str, **extra: Any) -> Any:
        sr = self._pool.db.get("VDI", vdi, "SR")
        self._pool.require_plugged(sr, host)
        try:
            return self._pool.sm(host, command, sr=sr, vdi=vdi, **extra)
        except Unimplemented as error:
            raise ApiError("UNIMPLEMENTED_IN_SM_BACKEND", sr) from error

    def _note_read_caching(self, host: str, vdi: str, attachment: dict[str, Any]) -> None:
        db = self._pool.db
        direct = bool(attachment.get("o_direct", True))
        uuid = self._uuid(host)
        db.replace_key("VDI", vdi, "sm_config", f"read-caching-enabled-on-{uuid}", _flag(not direct))
        if direct:
            reason = str(attachment.get("o_direct_reason", ""))
            db.replace_key("VDI", vdi, "sm_config", f"read-caching-reason-{uuid}", reason)

    def _uuid(self, host: str) -> str:
        return str(self._pool.db.get("host", host, "uuid"))


def _flag(value: bool) -> str:
    return "true" if value else "false"
