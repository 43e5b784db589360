"""Host, secret, message and session calls."""

from __future__ import annotations

import xmlrpc.client
from collections.abc import Mapping
from typing import Any
from xml.parsers.expat import ExpatError

from tests.lab.xapi.datapath import Datapaths
from tests.lab.xapi.errors import ApiError
from tests.lab.xapi.hooks import Hooks
from tests.lab.xapi.pool import Pool
from tests.lab.xapi.sr import PbdCalls
from tests.lab.xapi.tasks import Tasks, now
from tests.lab.xapi.vm import VmCalls

PLUGIN_DIR = "/etc/xapi.d/plugins"


class HostCalls:
    """The XenAPI class host."""

    API = ("call_plugin", "declare_dead", "destroy")

    def __init__(self, pool: Pool, vms: VmCalls, pbds: PbdCalls, datapaths: Datapaths, tasks: Tasks) -> None:
        self._pool = pool
        self._vms = vms
        self._pbds = pbds
        self._datapaths = datapaths
        self._tasks = tasks
        self._hooks = Hooks(pool)

    def started(self, host: str) -> list[str]:
        """The host's toolstack has just started, after a boot: look at the drivers, plug the SRs.

        Whatever ran there before is gone.  Returns the plug tasks, whose failures xapi only notes.
        """
        db = self._pool.db
        self._reset(host)
        db.set("host_metrics", db.get("host", host, "metrics"), "live", True)
        db.set("host", host, "enabled", True)
        self._pool.load_drivers(host)
        return [self._tasks.run("Async.PBD.plug", self._pbds.plug, pbd) for pbd in db.find("PBD", host=host)]

    def _reset(self, host: str) -> None:
        """Nothing runs on the host any more, and nothing is plugged or attached there."""
        db = self._pool.db
        control_domain = db.get("host", host, "control_domain")
        for vm in db.find("VM", resident_on=host):
            if vm == control_domain:
                for vbd in db.find("VBD", VM=vm):
                    db.destroy("VBD", vbd)
            else:
                self._vms.power_state_reset(vm)
        for pbd in db.find("PBD", host=host):
            db.set("PBD", pbd, "currently_attached", False)
        self._datapaths.forget_host(host)

    def call_plugin(self, host: str, plugin: str, function: str, args: Mapping[str, str]) -> str:
        """Run a plugin on a host, with a session of its own, and return the string it answers."""
        path = f"{PLUGIN_DIR}/{plugin}"
        machine = self._pool.machines[host]
        if machine.exec(["test", "-x", path]).returncode != 0:
            raise ApiError("XENAPI_MISSING_PLUGIN", plugin)
        session = self._pool.db.create("session", auth_user_name="root", originator="plugin")
        call = xmlrpc.client.dumps((session, dict(args)), methodname=function)
        done = self._pool.plugin(host, path, call)
        stdout = done.stdout.decode(errors="replace")
        if done.returncode != 0:
            stderr = done.stderr.decode(errors="replace")
            raise ApiError("XENAPI_PLUGIN_FAILURE", "non-zero exit", stdout, stderr)
        return _plugin_answer(stdout)

    def declare_dead(self, host: str) -> None:
        """Take a host as dead.

        xapi_host.ml:1160 (e2ee48d): refused while the host replies; the pre hook; its VMs are halted;
        it is disabled; the post hook.  `host_metrics.live` is not touched.
        """
        self._require_dead(host)
        self._hooks.run("host-pre-declare-dead", host, "user")
        self._reset(host)
        self._pool.db.set("host", host, "enabled", False)
        self._hooks.run("host-post-declare-dead", host, "user")

    def destroy(self, host: str) -> None:
        """Forget a host for good (`xe host-forget`).

        xapi_host.ml:1135 (e2ee48d): as declare_dead, with both hooks before the record goes.
        """
        db = self._pool.db
        self._require_dead(host)
        control_domain = db.get("host", host, "control_domain")
        if any(vm != control_domain for vm in db.find("VM", resident_on=host)):
            raise ApiError("HOST_HAS_RESIDENT_VMS", host)
        for hook in ("host-pre-declare-dead", "host-post-declare-dead"):
            self._hooks.run(hook, host, "dbdestroy")
        self._reset(host)
        for pbd in db.find("PBD", host=host):
            db.destroy("PBD", pbd)
        db.destroy("host", host)
        db.destroy("VM", control_domain)

    def fence(self, host: str) -> None:
        """What HA does once a host has left the liveset.

        xapi_ha_vm_failover.ml:1305-1366: the pre hook, live:=false, VMs halted, the post hook.  An
        exception of the pre hook is logged, and skips live:=false and the post hook.
        """
        db = self._pool.db
        try:
            self._hooks.run("host-pre-declare-dead", host, "fenced")
        except ApiError:
            self._reset(host)
            return
        db.set("host_metrics", db.get("host", host, "metrics"), "live", False)
        self._reset(host)
        self._hooks.run("host-post-declare-dead", host, "fenced")

    def miss_heartbeats(self, host: str) -> None:
        """What xapi does without HA if a host was silent for 600 s: no hook runs.

        db_gc.ml:117-126, `host_assumed_dead_interval`.
        """
        db = self._pool.db
        db.set("host_metrics", db.get("host", host, "metrics"), "live", False)

    def _require_dead(self, host: str) -> None:
        """xapi_host.ml:1109 precheck_destroy_declare_dead"""
        if host == self._pool.master or self._hooks.replies(host):
            raise ApiError("HOST_IS_LIVE", host)


class SecretCalls:
    """The XenAPI class secret."""

    API = ("create", "destroy")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def create(self, record: Mapping[str, Any]) -> str:
        """Keep a value."""
        return self._pool.db.create("secret", **record)

    def destroy(self, secret: str) -> None:
        """Forget it."""
        self._pool.db.destroy("secret", secret)


class MessageCalls:
    """The XenAPI class message: the alerts drivers raise."""

    API = ("create", "destroy")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def create(self, name: str, priority: str | int, cls: str, obj_uuid: str, body: str) -> str:
        """Add an alert about an object."""
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
        """A task of the caller's own."""
        return self._pool.db.create("task", name_label=label, name_description=description, created=now())

    def destroy(self, task: str) -> None:
        """Drop it."""
        self._pool.db.destroy("task", task)


def _plugin_answer(stdout: str) -> str:
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
