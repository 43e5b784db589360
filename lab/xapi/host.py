"""Host, secret, message and session calls."""

from __future__ import annotations

import xmlrpc.client
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from xml.parsers.expat import ExpatError

from lab.xapi.datapath import Datapaths
from lab.xapi.errors import ApiError
from lab.xapi.liveness import Liveness
from lab.xapi.pool import CALLER, Pool
from lab.xapi.sr import PbdCalls
from lab.xapi.tasks import Tasks, now
from lab.xapi.vm import VmCalls

PLUGIN_DIR = "/etc/xapi.d/plugins"


class HostCalls:
    """The XenAPI class host."""

    API = ("call_plugin", "declare_dead", "destroy", "disable", "enable")

    def __init__(self, pool: Pool, vms: VmCalls, pbds: PbdCalls, datapaths: Datapaths, tasks: Tasks) -> None:
        self._pool = pool
        self._vms = vms
        self._pbds = pbds
        self._datapaths = datapaths
        self._tasks = tasks
        self.liveness = Liveness(pool, vms, pbds)
        self.declare_dead = self.liveness.declare_dead
        self.destroy = self.liveness.destroy

    def started(self, host: str, *, plug: bool = True) -> list[str]:
        """The host's toolstack has just started, after a boot: read the drivers' capabilities, plug the SRs.

        Its earlier processes are gone.  Returns the plug tasks, whose failures xapi only records; without
        `plug` the SRs are not plugged yet.
        """
        db = self._pool.db
        self._reset(host)
        self.liveness.returned(host)
        self._pool.load_drivers(host)
        if not plug:
            return []
        return [self._tasks.run("Async.PBD.plug", self._pbds.plug, pbd) for pbd in db.find("PBD", host=host)]

    def _reset(self, host: str) -> None:
        """After a reset no VM runs on the host, and nothing is plugged or attached there.

        The VBDs of the control domain stay `currently_attached`, with the device of before: a VM that is not running
        loses that (force_state_reset, xapi_vm_lifecycle.ml:877), but at a start the control domain is set to Running
        only (`Db.VM.set_power_state ~__context ~self:domain_zero_ref ~value:`Running`, create_misc.ml:402), and
        `List.filter (fun self -> self <> domain0)` leaves it out of what xenopsd corrects (resync_resident_on,
        xapi_xenops.ml:3125).
        """
        db = self._pool.db
        control_domain = db.get("host", host, "control_domain")
        for vm in db.find("VM", resident_on=host):
            if vm != control_domain:
                self._vms.power_state_reset(vm)
        for pbd in db.find("PBD", host=host):
            db.set("PBD", pbd, "currently_attached", False)
        self._datapaths.forget_host(host)

    def call_plugin(self, host: str, plugin: str, function: str, args: Mapping[str, str]) -> str:
        """Run a plugin on a host. Returns its string.

        On the master the plugin gets the caller's own session (xapi_host.ml:1496); for another host xapi makes
        one that lasts as long as the call (message_forwarding.ml:84-98).
        """
        path = f"{PLUGIN_DIR}/{plugin}"
        self._pool.require_live(host)
        if self._pool.execute(host, ["test", "-e", path]).returncode != 0:
            raise ApiError("XENAPI_MISSING_PLUGIN", plugin)
        with self._plugin_session(host) as session:
            call = xmlrpc.client.dumps((session, dict(args)), methodname=function)
            done = self._pool.plugin(host, path, call)
        stdout = done.stdout.decode(errors="replace")
        if done.returncode != 0:
            stderr = done.stderr.decode(errors="replace")
            what = "non-zero exit" if done.returncode > 0 else f"signal: {-done.returncode}"
            raise ApiError("XENAPI_PLUGIN_FAILURE", what, stdout, stderr)
        return _plugin_reply(stdout)

    def disable(self, host: str, _auto_enable: bool = True) -> None:
        """Let no VM start on the host."""
        self._pool.db.set("host", host, "enabled", False)

    def enable(self, host: str) -> None:
        """Let VMs start on the host again."""
        self._pool.db.set("host", host, "enabled", True)

    @contextmanager
    def _plugin_session(self, host: str) -> Iterator[str]:
        db, caller = self._pool.db, CALLER.get()
        if host == self._pool.master and caller:
            yield caller
            return
        session = db.create("session", auth_user_name="", originator="plugin")
        try:
            yield session
        finally:
            if db.exists("session", session):
                db.destroy("session", session)


class SecretCalls:
    """The XenAPI class secret."""

    API = ("create", "destroy")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def create(self, record: Mapping[str, Any]) -> str:
        """Store a secret."""
        return self._pool.db.create("secret", **record)

    def destroy(self, secret: str) -> None:
        """Remove a secret."""
        self._pool.db.destroy("secret", secret)


class MessageCalls:
    """The XenAPI class message: the alerts drivers raise."""

    API = ("create", "destroy")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def create(self, name: str, priority: str | int, cls: str, obj_uuid: str, body: str) -> str:
        """Add an alert about an object, as xapi_message.ml does: UTF-8, and the object exists."""
        table = {"Host": "host", "Pool": "pool"}.get(cls, cls)
        if table not in ("VM", "host", "SR", "pool", "VDI"):
            raise ApiError("INVALID_VALUE", "cls", cls)
        self._pool.db.by_uuid(table, obj_uuid)
        return self._pool.db.create(
            "message",
            name=name,
            priority=priority,
            cls=cls,
            obj_uuid=obj_uuid,
            body=body,
            timestamp=now(),
        )

    def destroy(self, message: str) -> None:
        """Dismiss it."""
        self._pool.db.destroy("message", message)


class TaskCalls:
    """The XenAPI class task."""

    API = ("create", "destroy")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def create(self, label: str, description: str) -> str:
        """Create a task of the caller."""
        return self._pool.db.create("task", name_label=label, name_description=description, created=now())

    def destroy(self, task: str) -> None:
        """Drop it."""
        self._pool.db.destroy("task", task)


def _plugin_reply(stdout: str) -> str:
    """The value in a plugin's reply, which wraps it as a XenAPI reply does."""
    try:
        (reply,), _method = xmlrpc.client.loads(stdout)
    except xmlrpc.client.Fault as fault:
        code = str(fault.faultCode)
        raise ApiError("XENAPI_PLUGIN_FAILURE", "fault", code, fault.faultString) from None
    except (ExpatError, xmlrpc.client.Error, ValueError) as error:
        reason = "failed to parse plugin output"
        raise ApiError("XENAPI_PLUGIN_FAILURE", reason, stdout, str(error)) from None
    if isinstance(reply, dict) and reply.get("Status") == "Failure":
        code, *params = [str(part) for part in reply["ErrorDescription"]]
        raise ApiError(code, *params)
    if isinstance(reply, dict) and isinstance(reply.get("Value"), str):
        return str(reply["Value"])
    raise ApiError("XENAPI_PLUGIN_FAILURE", "unexpected XMLRPC result", stdout)
