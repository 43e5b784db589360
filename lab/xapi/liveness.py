"""How a host of the pool dies, as xapi handles it (v25.33.2)."""

from __future__ import annotations

import logging

from lab import LabError
from lab.xapi import hooks
from lab.xapi.errors import ApiError
from lab.xapi.hooks import Hooks
from lab.xapi.pool import Pool
from lab.xapi.sr import PbdCalls
from lab.xapi.vm import VmCalls

_ASK_SECONDS = 3.0  # and 10 more for the reply
_LOG = logging.getLogger(__name__)


class Liveness:
    """Whether hosts are alive, and what xapi does if they are not."""

    def __init__(self, pool: Pool, vms: VmCalls, pbds: PbdCalls) -> None:
        self._pool = pool
        self._vms = vms
        self._pbds = pbds
        self._hooks = Hooks(pool)

    # By an administrator

    def declare_dead(self, host: str) -> None:
        """host.declare_dead (xapi_host.ml:1154-1170): hooks, the VMs' power state, and host.enabled.

        host_metrics.live, the PBDs and the disks of the host's control domain stay as they are.
        """
        self._require_dead(host)
        self._hooks.host_pre_declare_dead(host, hooks.USER)
        self._reset_vms(host)
        self._pool.db.set("host", host, "enabled", False)
        self._hooks.host_post_declare_dead(host, hooks.USER)

    def destroy(self, host: str) -> None:
        """host.destroy (xapi_host.ml:1129-1152), which `xe host-forget` calls; then the garbage collection.

        db_gc destroys the rows that refer to a host without a record: its PBDs, and the VBDs of its control
        domain.
        """
        pool, db = self._pool, self._pool.db
        self._require_dead(host)
        if db.get("pool", pool.ref, "ha_enabled"):
            raise ApiError("HA_IS_ENABLED")
        domain = db.get("host", host, "control_domain")
        if any(vm != domain for vm in db.find("VM", resident_on=host)):
            raise ApiError("HOST_HAS_RESIDENT_VMS", host)
        self._hooks.host_pre_declare_dead(host, hooks.DBDESTROY)
        self._hooks.host_post_declare_dead(host, hooks.DBDESTROY)
        for cls, column, value in (("PBD", "host", host), ("VBD", "VM", domain)):
            for ref in db.find(cls, **{column: value}):
                db.destroy(cls, ref)
        db.destroy("VM", domain)
        db.destroy("host_metrics", db.get("host", host, "metrics"))
        db.destroy("host", host)
        pool.forget_host(host)

    # By events

    def miss_heartbeats(self, host: str) -> None:
        """No heartbeat came for host_assumed_dead_interval, 600 s (db_gc.ml:117-127): no hook runs."""
        self._set_live(host, False)

    def fence(self, host: str) -> None:
        """HA treats a host that has left the live set as dead (xapi_ha_vm_failover.ml:1283-1349).

        A failure of the pre hook is ignored: then host_metrics.live and the post hook are skipped, and the
        VMs are halted.
        """
        dead = False
        try:
            if self._is_live(host):
                self._hooks.host_pre_declare_dead(host, hooks.FENCED)
                self._set_live(host, False)
                dead = True
        except Exception as error:  # noqa: BLE001 - xapi ignores any failure
            _LOG.warning("the death of %s: %s", host, error)
        self._reset_vms(host)
        if dead:
            self._hooks.host_post_declare_dead(host, hooks.FENCED)

    def shut_down(self, host: str) -> None:
        """host.shutdown of a disabled host without VMs; the caller powers it off afterwards.

        xapi unplugs its PBDs (xapi_host.ml:869), and the last heartbeat informs the master, which runs the
        hooks (xapi_host_helpers.ml:252-275).
        """
        pool, db = self._pool, self._pool.db
        if host == pool.master:
            raise LabError("the lab does not support a shutdown of the pool master")
        if db.get("host", host, "enabled"):
            raise ApiError("HOST_NOT_DISABLED")
        if len(db.find("VM", resident_on=host)) > 1:
            raise ApiError("HOST_IN_USE", host)
        for pbd in db.find("PBD", host=host, currently_attached=True):
            self._pbds.unplug(pbd)
        self._hooks.host_pre_declare_dead(host, hooks.CLEAN_SHUTDOWN)
        self._set_live(host, False)
        self._hooks.host_post_declare_dead(host, hooks.CLEAN_SHUTDOWN)

    def returned(self, host: str) -> None:
        """The host's xapi has started: its first heartbeat arrives, and it enables itself."""
        self._set_live(host, True)
        self._pool.db.set("host", host, "enabled", True)

    def _require_dead(self, host: str) -> None:
        """HOST_IS_LIVE while xapi reaches the host, and for the master (xapi_host.ml:1103-1120).

        A host whose host_metrics.live is false is dead without a check (xapi_host.ml:996-1025).
        """
        pool = self._pool
        if host == pool.master or (self._is_live(host) and self._answers(host)):
            raise ApiError("HOST_IS_LIVE", host)

    def _answers(self, host: str) -> bool:
        try:
            return self._pool.contact(host).exec(["true"], timeout=_ASK_SECONDS).returncode == 0
        except (ApiError, LabError, OSError):
            return False

    def _is_live(self, host: str) -> bool:
        return self._pool.is_live(host)

    def _set_live(self, host: str, live: bool) -> None:
        db = self._pool.db
        db.set("host_metrics", db.get("host", host, "metrics"), "live", live)

    def _reset_vms(self, host: str) -> None:
        """VM.power_state_reset of every VM that is resident there, except the control domain."""
        db = self._pool.db
        domain = db.get("host", host, "control_domain")
        for vm in db.find("VM", resident_on=host):
            if vm != domain:
                self._vms.power_state_reset(vm)
