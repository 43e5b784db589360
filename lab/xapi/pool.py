"""The state of the xapi simulator: database, hosts, locks, and SM execution."""

from __future__ import annotations

import queue
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, cast

from lab import LabError
from lab.xapi import features, sm_exec
from lab.xapi.database import Database
from lab.xapi.dom0 import Host, read_inventory
from lab.xapi.errors import ApiError, ToolstackGone
from lab.xapi.schema import NULL

SM_USER = "__sm__backend"
# The session of the current call of the XenAPI.
CALLER: ContextVar[str] = ContextVar("CALLER", default="")
_ENVIRONMENT = {"ORIGINATOR": "SM"}
# How often a call checks whether its xapi has ended, in seconds.
_LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class Command:
    """One executed SM command, for tests that count or order them.

    calls   methods of the XenAPI that were called with its session, in their order
    """

    host: str
    name: str
    sr_uuid: str
    vdi_uuid: str
    seconds: float
    error: str
    calls: tuple[str, ...]


@dataclass
class Settings:
    """Settings of a lab.

    `plugins` is xapi.conf's sm-plugins; `revert` whether this xapi is new enough (26.16) for
    VDI_REVERT, `resize_online` whether it is newer than 26.17 and has VDI.resize_online; `sm_timeout` the
    deadline of one SM command, `lock_timeout` how long an operation waits for another one on the same SR or VDI,
    both in seconds.
    """

    plugins: Sequence[str] = ("cephrbd", "crucible")
    revert: bool = False
    resize_online: bool = False
    sm_timeout: float = 300.0
    lock_timeout: float = 300.0


@dataclass
class Pool:
    """A pool of hosts; the first one added is the master."""

    settings: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        self.db = Database()
        self.dom0s: dict[str, Host] = {}
        # Hosts that xapi cannot reach, though they run.
        self.cut_off: set[str] = set()
        self.drivers: dict[str, dict[str, features.Driver]] = {}
        self.commands: list[Command] = []
        self._calls: dict[str, list[str]] = {}
        # Set when the xapi of a host ends: {host: event}.
        self._gone: defaultdict[str, threading.Event] = defaultdict(threading.Event)
        self._orphans: list[threading.Thread] = []
        self._locks: defaultdict[tuple[str, str], threading.RLock] = defaultdict(threading.RLock)
        self._locks_guard = threading.Lock()
        self.ref = self.db.create("pool", name_label="lab")

    # Hosts

    @property
    def master(self) -> str:
        """The pool master's reference."""
        return str(self.db.get("pool", self.ref, "master"))

    def add_host(self, dom0: Host) -> str:
        """Join a host to the pool, with its control domain and its drivers.  Returns its reference."""
        identity = read_inventory(dom0)
        metrics = self.db.create("host_metrics")
        host = self.db.create(
            "host",
            uuid=identity.host_uuid,
            name_label=dom0.name,
            hostname=dom0.name,
            address=dom0.address,
            metrics=metrics,
        )
        domain = self.db.create(
            "VM",
            uuid=identity.control_domain_uuid,
            name_label=f"Control domain on host: {dom0.name}",
            is_control_domain=True,
            power_state="Running",
            resident_on=host,
            domid=0,
        )
        self.db.set("host", host, "control_domain", domain)
        self.dom0s[host] = dom0
        if self.master == NULL:
            self.db.set("pool", self.ref, "master", host)
        self.load_drivers(host)
        return host

    def load_drivers(self, host: str) -> None:
        """Read the capabilities of a host's drivers, as the toolstack does when it starts.

        The SM records come from the master's replies; a record whose driver is gone is dropped unless an SR
        of its type exists.
        """
        settings = self.settings
        found = features.discover(self.dom0s[host], settings.plugins, revert=settings.revert)
        self.drivers[host] = found
        if host != self.master:
            return
        for ref, row in self.db.records("SM").items():
            if row["type"] not in found and not self.db.find("SR", type=row["type"]):
                self.db.destroy("SM", ref)
        for driver in found.values():
            for ref in self.db.find("SM", type=driver.type):
                self.db.destroy("SM", ref)
            self.db.create(
                "SM",
                type=driver.type,
                name_label=driver.info["name"],
                name_description=driver.info["description"],
                vendor=driver.info["vendor"],
                copyright=driver.info["copyright"],
                version=driver.info["driver_version"],
                required_api_version=driver.info["required_api_version"],
                capabilities=list(driver.features),
                features=driver.features,
                configuration=driver.configuration,
                driver_filename=driver.filename,
            )

    def forget_host(self, host: str) -> None:
        """Drop the state of a host whose record is gone."""
        del self.dom0s[host]
        self.drivers.pop(host, None)
        self.cut_off.discard(host)

    # Which hosts can be reached

    def is_live(self, host: str) -> bool:
        """host_metrics.live, which heartbeats and HA set: not whether the host runs."""
        return bool(self.db.get("host_metrics", self.db.get("host", host, "metrics"), "live"))

    def require_live(self, host: str) -> None:
        """Refuse to forward a call to a host that is not live (message_forwarding.ml:127-134, v25.33.2)."""
        if host != self.master and not self.is_live(host):
            raise ApiError("HOST_OFFLINE", host)

    def contact(self, host: str) -> Host:
        """The dom0 of a host, unless the network to it is cut."""
        if host in self.cut_off:
            raise ApiError("CANNOT_CONTACT_HOST", host)
        return self.dom0s[host]

    def execute(self, host: str, argv: Sequence[str]) -> sm_exec.DriverReply:
        """Run a command on a host; CANNOT_CONTACT_HOST if xapi cannot reach it."""
        try:
            return self.contact(host).exec(argv)
        except (OSError, LabError) as error:
            raise ApiError("CANNOT_CONTACT_HOST", host, str(error)) from error

    # What an SR's type can do

    def has_feature(self, sr: str, feature: str) -> bool:
        """Whether the driver of an SR advertises a capability."""
        rows = self.db.find("SM", type=self.db.get("SR", sr, "type"))
        return bool(rows) and feature in self.db.get("SM", rows[0], "features")

    def require_feature(self, sr: str, feature: str) -> None:
        """Refuse an operation whose capability the driver does not advertise, as xapi does."""
        if not self.has_feature(sr, feature):
            raise ApiError("SR_OPERATION_NOT_SUPPORTED", sr)

    # Plugged hosts

    def pbd(self, sr: str, host: str) -> str:
        """The PBD of an SR on a host; SR_HAS_NO_PBDS if it has none."""
        pbds = self.db.find("PBD", SR=sr, host=host)
        if not pbds:
            raise ApiError("SR_HAS_NO_PBDS", sr)
        return pbds[0]

    def sr_master(self, sr: str) -> str:
        """The host that runs an SR's master-only commands."""
        if self.db.get("SR", sr, "shared"):
            return self.master
        pbds: list[str] = self.db.get("SR", sr, "PBDs")
        if not pbds:
            raise ApiError("SR_HAS_NO_PBDS", sr)
        return str(self.db.get("PBD", pbds[0], "host"))

    def require_plugged(self, sr: str, host: str) -> None:
        """Refuse when the SR is not plugged on the host."""
        if not self.db.get("PBD", self.pbd(sr, host), "currently_attached"):
            raise ApiError("SR_HAS_NO_PBDS", sr)

    # Execution

    def sm(
        self,
        host: str,
        command: str,
        *,
        sr: str = "",
        vdi: str = "",
        sr_type: str = "",
        device_config: Mapping[str, str] | None = None,
        is_master: bool | None = None,
        args: Sequence[str] = (),
        **extra: Any,
    ) -> Any:
        """Run one SM command on a host and return its reply's value.

        `sr_type`, `device_config` and `is_master` default to those of `sr` on that host; `extra` are
        the parameters particular to the command (`vdi_sm_config`, `driver_params`, …).
        """
        db = self.db
        sr_type = sr_type or str(db.get("SR", sr, "type"))
        driver = self.drivers.get(host, {}).get(sr_type.lower())
        if driver is None:
            raise ApiError("SR_UNKNOWN_DRIVER", sr_type)
        if device_config is None:
            device_config = db.get("PBD", self.pbd(sr, host), "device_config")
        if is_master is None:
            is_master = self.sr_master(sr) == host
        params: dict[str, Any] = {
            "host_ref": host,
            "args": list(args),
            "device_config": {"SRmaster": "true" if is_master else "false", **device_config},
            **extra,
        }
        if sr:
            params |= {"sr_ref": sr, "sr_uuid": db.get("SR", sr, "uuid")}
        if vdi:
            params |= self._about_vdi(vdi)
        with self._session(sr) as session:
            params["session_ref"] = session
            return self._execute(host, driver.filename, command, params)

    def _about_vdi(self, vdi: str) -> dict[str, str]:
        row = self.db.record("VDI", vdi)
        return {
            "vdi_ref": vdi,
            "vdi_location": row["location"],
            "vdi_uuid": row["uuid"],
            "vdi_on_boot": row["on_boot"],
            "vdi_allow_caching": "true" if row["allow_caching"] else "false",
        }

    def _execute(self, host: str, path: str, command: str, params: dict[str, Any]) -> Any:
        self.require_live(host)
        dom0 = self.contact(host)
        began = time.monotonic()
        failure = ""
        try:
            done = self._on_host(host, [path, sm_exec.build_call(command, params)])
            return sm_exec.read_reply(done, sr=params.get("sr_ref", ""), vdi=params.get("vdi_ref", ""))
        except Exception as error:
            failure = str(error)
            raise
        finally:
            self.commands.append(
                Command(
                    dom0.name,
                    command,
                    params.get("sr_uuid", ""),
                    params.get("vdi_uuid", ""),
                    time.monotonic() - began,
                    failure,
                    tuple(self._calls.get(params["session_ref"], ())),
                )
            )

    def _on_host(self, host: str, argv: list[str]) -> sm_exec.DriverReply:
        """Run a command on the host; it keeps running if the xapi that waits for it ends."""
        dom0, came, gone = self.contact(host), queue.SimpleQueue[Any](), self._gone[host]
        master_gone = self._gone[self.master]

        def run() -> None:
            try:
                came.put(dom0.sm(argv, self.settings.sm_timeout, env=_ENVIRONMENT))
            except (OSError, LabError) as error:
                came.put(ApiError("CANNOT_CONTACT_HOST", host, str(error)))

        command = threading.Thread(target=run, name=f"{dom0.name}: {argv[0]}", daemon=True)
        command.start()
        while True:
            with suppress(queue.Empty):
                reply = came.get(timeout=_LOOK_SECONDS)
                if isinstance(reply, ApiError):
                    raise reply
                return cast(sm_exec.DriverReply, reply)
            if master_gone.is_set():
                self._orphans.append(command)
                raise ToolstackGone
            if gone.is_set():
                self._orphans.append(command)
                raise ApiError("CANNOT_CONTACT_HOST", host)

    def lose_toolstack(self, host: str) -> None:
        """The xapi of a host ends and starts again, as by xe-toolstack-restart.

        Commands that run on its hosts keep running.  The master's xapi loses the locks of every operation and all
        sessions, which are not in its database file (datamodel.ml:239-241 PersistNothing, v25.33.2).  Another
        host's xapi loses the calls that it waits for; the session of its command is the master's, and stays.
        """
        self._gone.pop(host, threading.Event()).set()
        if host != self.master:
            return
        with self._locks_guard:
            self._locks = defaultdict(threading.RLock)
        for session in self.db.refs("session"):
            with suppress(ApiError):
                self.db.destroy("session", session)

    def join_orphans(self, seconds: float) -> None:
        """Wait for the commands whose xapi has ended."""
        end = time.monotonic() + seconds
        for command in self._orphans:
            command.join(max(0.0, end - time.monotonic()))
            if command.is_alive():
                raise LabError(f"{command.name}: still running after {seconds} s")
        self._orphans.clear()

    def plugin(self, host: str, path: str, call: str) -> sm_exec.DriverReply:
        """Run an xapi plugin (`call` is its XML-RPC argument) on a host."""
        return self._on_host(host, [path, call])

    def note_call(self, session: str, method: str) -> None:
        """Record a call of the XenAPI if an SM command made it."""
        if session in self._calls:
            self._calls[session].append(method)

    @contextmanager
    def _session(self, sr: str) -> Iterator[str]:
        """A session for one SM command, marked as the driver's own for `sr`."""
        session = self.db.create("session", auth_user_name=SM_USER, originator="xapi", other_config={"_sm_sr": sr})
        self._calls[session] = []
        try:
            yield session
        except ToolstackGone:
            raise  # the session is not logged out
        except ApiError as error:
            if error.code == "CANNOT_CONTACT_HOST":
                raise  # nor here: it is the session of the host's own xapi
            self._log_out(session)
            raise
        except BaseException:
            self._log_out(session)
            raise
        else:
            self._log_out(session)
        finally:
            self._calls.pop(session, None)

    def _log_out(self, session: str) -> None:
        with suppress(ApiError):
            self.db.destroy("session", session)

    # Serialisation

    @contextmanager
    def exclusive(self, *objects: tuple[str, str]) -> Iterator[None]:
        """Hold the operation locks of objects (class, reference), in the order given.

        xapi lets one operation at a time change an SR's VDIs and one change a VDI: others wait, and
        give up with OTHER_OPERATION_IN_PROGRESS.
        """
        held: list[threading.RLock] = []
        try:
            for cls, ref in objects:
                with self._locks_guard:
                    lock = self._locks[(cls, ref)]
                if not lock.acquire(timeout=self.settings.lock_timeout):
                    raise ApiError("OTHER_OPERATION_IN_PROGRESS", cls, ref)
                held.append(lock)
            yield
        finally:
            for lock in reversed(held):
                lock.release()
