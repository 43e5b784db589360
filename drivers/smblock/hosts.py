"""The pool and its hosts: XAPI's records of them, and calls of their plugin `smblock`."""

import contextlib
import socket
from concurrent.futures import ThreadPoolExecutor

from smblock.sm import XenAPI, util

# Key of host.other_config: the host was declared dead. The hook adds it, the host itself removes it.
DECLARED_DEAD = "smblock_declared_dead"
PLUGIN = "smblock"
# The name on the wire of the plugin's function `reconcile`: hosts with an older smblock have it, and call it.
RECONCILE = "settle"

NO_SUCH_HOST = ("UUID_INVALID", "HANDLE_INVALID")
# XAPI's errors for a host that cannot be asked. A disabled host can be asked.
CANNOT_BE_ASKED = ("HOST_OFFLINE", "CANNOT_CONTACT_HOST", "HOST_STILL_BOOTING", "XENAPI_MISSING_PLUGIN")
CANNOT_BE_ASKED += ("UNKNOWN_XENAPI_PLUGIN_FUNCTION", *NO_SUCH_HOST)
# Seconds. XAPI itself waits for minutes. The plugin ends after 20 s.
PLUGIN_DEADLINE = 40


def failure_code(error):
    """Returns the code of XAPI's failure, or None for any other error."""
    details = getattr(error, "details", None)
    return details[0] if details else None


class LocalSession:
    """A session with this host's xapi, for programs that xapi did not start. The first use opens it."""

    def __init__(self):
        self._session = None

    def __call__(self):
        if self._session is None:
            self._session = util.get_localAPI_session()
        return self._session

    def close(self):
        session, self._session = self._session, None
        if session is not None:
            session.xenapi.session.logout()

    def __enter__(self):
        return self()

    def __exit__(self, *_):
        with contextlib.suppress(Exception):  # xapi ends the session with this process in any case
            self.close()


@contextlib.contextmanager
def bounded(session, seconds):
    """Yields the session over another connection, whose calls end after that time."""
    own = XenAPI.xapi_local()
    own._session = session._session
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield own
    finally:
        socket.setdefaulttimeout(before)


def call_plugin(session, host_ref, function, args, seconds=PLUGIN_DEADLINE):
    """Returns the result of a host's plugin `smblock`. None, and a line in SMlog, if the host cannot be asked."""
    try:
        with bounded(session, seconds) as own:
            return own.xenapi.host.call_plugin(host_ref, PLUGIN, function, args)
    except Exception as error:
        timed_out = isinstance(error, socket.timeout)
        if not timed_out and failure_code(error) not in CANNOT_BE_ASKED:
            raise
        why = "no reply within %d s" % seconds if timed_out else str(error)
        util.SMlog("plugin %s of host %s cannot be called (%s): %s" % (PLUGIN, host_ref, function, why))
        return None


def call_plugins(session, host_refs, function, seconds, args_of=lambda _: {}):
    """Calls a function of every host's plugin `smblock` at once. Returns (result, None) or (None, error) by host.
    `args_of` returns the arguments for a host."""
    if not host_refs:
        return {}

    def call(host_ref):
        own = XenAPI.xapi_local()
        own._session = session._session
        try:
            return own.xenapi.host.call_plugin(host_ref, PLUGIN, function, args_of(host_ref)), None
        except Exception as error:
            return None, error

    # Not `bounded`, which is for one thread.
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        with ThreadPoolExecutor(len(host_refs)) as threads:
            return dict(zip(host_refs, threads.map(call, host_refs)))
    finally:
        socket.setdefaulttimeout(before)


def is_task_over(session, task):
    """Returns whether a task of XAPI has ended. XAPI forgets ended tasks, that of a call that is not Async at once."""
    try:
        return session.xenapi.task.get_status(task) not in ("pending", "cancelling")
    except Exception as error:
        if failure_code(error) == "HANDLE_INVALID":
            return True
        raise


def declared_dead(session, host_uuid):
    """Returns whether smblock's hook has noted that the host was declared dead."""
    host = session.xenapi.host
    return DECLARED_DEAD in host.get_other_config(host.get_by_uuid(host_uuid))


class Hosts:
    """The part of the core's `CephXapi` for the pool and its hosts.

    session   a function that returns the XAPI session
    sr_uuid   the SR
    """

    def __init__(self, session, sr_uuid):
        self._get_session = session
        self._sr_uuid = sr_uuid
        self._refs = {}

    @property
    def _session(self):
        return self._get_session()

    def pool_uuid(self):
        (pool,) = self._session.xenapi.pool.get_all_records().values()
        return pool["uuid"]

    def knows_host(self, host_uuid):
        try:
            self._refs[host_uuid] = self._session.xenapi.host.get_by_uuid(host_uuid)
        except Exception as error:
            if failure_code(error) in NO_SUCH_HOST:
                return False
            raise
        return True

    def declared_dead(self, host_uuid):
        # The core has called knows_host before.
        host_ref = self._refs.get(host_uuid) or self._session.xenapi.host.get_by_uuid(host_uuid)
        return DECLARED_DEAD in self._session.xenapi.host.get_other_config(host_ref)

    def revive(self):
        host = self._session.xenapi.host
        host.remove_from_other_config(host.get_by_uuid(util.get_this_host()), DECLARED_DEAD)

    def grows_in_use(self, vdi_uuid):
        """Returns whether XAPI asks for growth of a VDI that may be in use, by VDI.resize_online."""
        vdi = self._session.xenapi.VDI
        return "resize_online" in vdi.get_current_operations(vdi.get_by_uuid(vdi_uuid)).values()

    def reconcile_host(self, host_uuid, vdi_uuid):
        """Returns the reply of a host's plugin about a VDI, as JSON. Empty if the host cannot be asked."""
        host_ref = self._session.xenapi.host.get_by_uuid(host_uuid)
        args = {"sr": self._sr_uuid, "vdi": vdi_uuid}
        return call_plugin(self._session, host_ref, RECONCILE, args) or ""
