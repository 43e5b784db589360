"""Scripts that xapi runs on the pool's master when a host is dead."""

from __future__ import annotations

import subprocess

from tests.lab import LabError
from tests.lab.xapi.errors import ApiError
from tests.lab.xapi.pool import Pool

HOOKS_ROOT = "/etc/xapi.d"
LOG_AND_CONTINUE = 1
# What the stock hook of that name does is done by this simulator: see `_reset_vdis`.
RESET_VDIS = "10resetvdis"
SECONDS = 120.0
REPLY_SECONDS = 5.0


class Hooks:
    """What xapi_hooks.ml does."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def replies(self, host: str) -> bool:
        """Whether xapi can reach a host (`is_host_alive` in xapi_host.ml)."""
        try:
            return self._pool.machines[host].exec(["true"], timeout=REPLY_SECONDS).returncode == 0
        except (OSError, LabError, subprocess.SubprocessError):
            return False

    def run(self, name: str, host: str, reason: str) -> None:
        """Run the scripts of one hook.

        xapi_hooks.ml (e2ee48d) execute_hook: in the order of their names, with `-hostuuid U -reason R`;
        exit 1 is logged, any other failure raises XAPI_HOOK_FAILED.
        """
        master = self._pool.machines[self._pool.master]
        uuid = str(self._pool.db.get("host", host, "uuid"))
        listed = master.exec(["ls", f"{HOOKS_ROOT}/{name}"]).stdout.decode().split()
        stock = [RESET_VDIS] if name == "host-post-declare-dead" else []
        for script in sorted({*listed, *stock}):
            if script == RESET_VDIS:
                self._reset_vdis(host, reason)
                continue
            path = f"{HOOKS_ROOT}/{name}/{script}"
            done = master.exec([path, "-hostuuid", uuid, "-reason", reason], timeout=SECONDS)
            if done.returncode not in (0, LOG_AND_CONTINUE):
                stdout = done.stdout.decode(errors="replace")
                raise ApiError("XAPI_HOOK_FAILED", f"{name}/{script}", reason, stdout, str(done.returncode))

    def _reset_vdis(self, host: str, reason: str) -> None:
        """Simulates scripts/10resetvdis, and SM's resetvdis.py, reset_sr: the host's tags go.

        10resetvdis: `fenced`, `user` and `dbdestroy` reset the VDIs of each SR with a PBD of the host.
        """
        db = self._pool.db
        if reason not in ("fenced", "user", "dbdestroy"):
            return
        srs = {db.get("PBD", pbd, "SR") for pbd in db.find("PBD", host=host)}
        for vdi in db.refs("VDI"):
            if db.get("VDI", vdi, "SR") not in srs:
                continue
            if f"host_{host}" in db.get("VDI", vdi, "sm_config"):
                for key in (f"host_{host}", "paused"):
                    db.remove_key("VDI", vdi, "sm_config", key)
