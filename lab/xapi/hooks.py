"""Hook scripts: programs in a dom0 that xapi runs when a host of the pool dies."""

from __future__ import annotations

import logging

from lab import LabError
from lab.xapi.errors import ApiError
from lab.xapi.pool import Pool

HOOKS_ROOT = "/etc/xapi.d"
PRE_DECLARE_DEAD = "host-pre-declare-dead"
POST_DECLARE_DEAD = "host-post-declare-dead"

FENCED = "fenced"
USER = "user"
DBDESTROY = "dbdestroy"
CLEAN_SHUTDOWN = "clean-shutdown"

_LOG_AND_CONTINUE = 1
_LOG = logging.getLogger(__name__)


class Hooks:
    """The hook scripts of a pool: they are on its master, and run there."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def host_pre_declare_dead(self, host: str, reason: str) -> None:
        """Before xapi acts on a host's death."""
        self._execute(PRE_DECLARE_DEAD, host, reason)

    def host_post_declare_dead(self, host: str, reason: str) -> None:
        """After xapi has acted on it."""
        self._execute(POST_DECLARE_DEAD, host, reason)

    def _execute(self, name: str, host: str, reason: str) -> None:
        """Run the scripts of one hook by name (xapi_hooks.ml:56-97, v25.33.2).

        Exit status 1 is logged; any other failure raises and skips the scripts that follow.
        """
        dom0 = self._pool.dom0s[self._pool.master]
        uuid = str(self._pool.db.get("host", host, "uuid"))
        directory = f"{HOOKS_ROOT}/{name}"
        listing = dom0.exec(["find", directory, "-mindepth", "1", "-maxdepth", "1", "-printf", "%f\\n"])
        for script in sorted(listing.stdout.splitlines()):
            path = f"{directory}/{script.decode()}"
            argv = [path, "-hostuuid", uuid, "-reason", reason]
            try:
                done = dom0.exec(argv, timeout=self._pool.settings.sm_timeout)
            except LabError as error:
                raise ApiError("INTERNAL_ERROR", f"{path}: {error}") from error
            stdout = done.stdout.decode(errors="replace")
            _LOG.info("%s: exit status %d, stdout %r, stderr %r", " ".join(argv), done.returncode, stdout, done.stderr)
            if done.returncode < 0:
                raise ApiError("INTERNAL_ERROR", f"{path}: received signal {-done.returncode}")
            if done.returncode not in (0, _LOG_AND_CONTINUE):
                raise ApiError("XAPI_HOOK_FAILED", f"{name}/{script.decode()}", reason, stdout, str(done.returncode))
