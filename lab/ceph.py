"""A real Ceph cluster on one node: the distribution's own daemons, in a directory, for one test run.

    with OneNodeCeph(directory) as ceph:
        keyring = ceph.create_user("xcp", "rbd")
        ceph.rbd("create", "--size", "1G", "rbd/disk")

It starts in two seconds, needs no privileges, systemd or container, uses cephx, and removes its
processes and files at the end.  Each cluster has a loopback address of its own, so several can run
in parallel.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from string import Template
from typing import Any, Literal, Self, cast

from lab import LabError, keeper, run, wait_for
from lab.ceph_daemons import Daemons
from lab.ceph_session import CephCommands
from lab.ports import AddressLease

MONITOR_PORT = 6789
_MONITOR_PORT_V2 = 3300
_DAEMON_PORTS = (6800, 6999)
_STORE_BYTES = 8 << 30  # apparent size: memory and sparse files grow as they are written
# BlueStore's log has up to four buffers of 256 MiB by default. An OSD finds out each second that it is full.
_SMALL_STORE = """
bluestore_rocksdb_options = max_write_buffer_number=2,write_buffer_size=4194304
osd_heartbeat_interval = 1
"""
_CONF_TEMPLATE = Path(__file__).with_name("ceph.conf.in")
_DEADLINE = 30.0
_PLACEMENT_GROUPS = "8"  # Nautilus has no default for a pool

Pace = Literal["fast", "default"]
# Which versions of the messenger the daemons speak.
Messenger = Literal["v1", "v2", "both"]
# Which internet protocols the monitors use. The other daemons have one address: the IPv4 one of "both".
Network = Literal["ipv4", "ipv6", "both"]

# How long the monitors gather changes before they commit them, in seconds: (paxos_propose_interval,
# paxos_min_wait).  A snapshot waits for such a commit, so the pace is its latency.
_PACES: Mapping[Pace, tuple[float, float]] = {"fast": (0.01, 0.001), "default": (1.0, 0.05)}


class OneNodeCeph:
    """A cluster of one monitor or more, `osds` OSDs and a manager, up while the `with` block lasts.

    directory      a directory of the cluster's own; created, and removed at the end
    store          "memstore" (fast; data is gone when an OSD stops) or "bluestore"
    store_bytes    the size of each OSD; a small one keeps less of it for its database
    mgr            without a manager the cluster reports no usage at all
    min_compat     `require-min-compat-client` to set, or None to leave Ceph's own default
    monitor_pace   "fast" for tests, "default" to measure what a production cluster would do
    pool           name of a first pool, initialised for RBD; None for none
    monitors       their names, one letter each; all have one address, and ports of their own
    messenger      which versions of the messenger all daemons speak; LAB_MESSENGER if None, else v1
    encrypted      whether the daemons take encrypted connections only, which v2 alone has

    LAB_NETWORK names the internet protocols of the monitors; the default is IPv4.
    """

    def __init__(
        self,
        directory: Path | str,
        *,
        osds: int = 1,
        store: Literal["memstore", "bluestore"] = "memstore",
        store_bytes: int = _STORE_BYTES,
        mgr: bool = True,
        min_compat: str | None = "mimic",
        monitor_pace: Pace = "fast",
        pool: str | None = "rbd",
        monitors: str = "a",
        messenger: Messenger | None = None,
        encrypted: bool = False,
    ) -> None:
        self.directory = Path(directory).resolve()
        self.conf = self.directory / "ceph.conf"
        self.fsid = str(uuid.uuid4())
        self.pool = pool
        self.monitors = monitors
        self._messenger: Messenger = messenger or cast("Messenger", os.environ.get("LAB_MESSENGER", "v1"))
        self._encrypted = encrypted
        self._network = cast("Network", os.environ.get("LAB_NETWORK", "ipv4"))
        self._osds = osds
        self._store = store
        self._store_bytes = store_bytes
        self._mgr = mgr
        self._min_compat = min_compat
        self._pace: Pace = monitor_pace
        self._lease: AddressLease | None = None
        self._keeper: keeper.Keeper | None = None
        self._commands = CephCommands(self.conf, self.fsid)
        self._daemons = Daemons(self.directory, self.conf)

    def __enter__(self) -> Self:
        if shutil.which("ceph-mon") is None:
            raise LabError("ceph-mon: not installed; on Debian: apt install ceph-mon ceph-osd ceph-mgr ceph-common")
        self._lease = AddressLease()
        try:
            self._keeper = keeper.Keeper(self.directory, str(self.conf))
            self._bring_up()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill the daemons and remove the directory; calling it twice is harmless."""
        self._commands.close()
        guard, self._keeper = self._keeper, None
        lease, self._lease = self._lease, None
        keeper.close(guard, lease)

    # For clients

    @property
    def address(self) -> str:
        """The loopback address of all daemons, the first if they have two; in brackets if it is IPv6."""
        return self._addresses[0]

    @property
    def _addresses(self) -> list[str]:
        if self._lease is None:
            raise LabError(f"{self.directory}: the cluster is not up")
        both = {"ipv4": self._lease.address, "ipv6": self._lease.address_v6}
        return [address for kind, address in both.items() if self._network in (kind, "both")]

    @property
    def mon_host(self) -> str:
        """The monitor as the kernel takes it: ADDRESS:PORT."""
        return f"{self.address}:{MONITOR_PORT}"

    def monitor_addresses(self, name: str = "a") -> str:
        """All addresses of one monitor, as Ceph writes them: [v2:ADDRESS:PORT,v1:ADDRESS:PORT]."""
        number = self.monitors.index(name)
        ports = {"v2": _MONITOR_PORT_V2 + number, "v1": MONITOR_PORT + number}
        spoken = [version for version in ports if self._messenger in (version, "both")]
        every = [f"{version}:{address}:{ports[version]}" for address in self._addresses for version in spoken]
        return "[" + ",".join(every) + "]"

    @property
    def _all_monitors(self) -> str:
        return ",".join(self.monitor_addresses(name) for name in self.monitors)

    def client_conf(self) -> str:
        """Text of a client's /etc/ceph/ceph.conf, as an administrator would copy it to a host."""
        return f"[global]\nfsid = {self.fsid}\nmon_host = {self._all_monitors}\n"

    def key(self, name: str) -> str:
        """The secret of `client.<name>`."""
        return str(self.admin("auth", "get-key", f"client.{name}")["key"])

    # Administration

    def admin(self, *args: str, timeout: float = _DEADLINE) -> Any:
        """Run `ceph ARGS` as the administrator. Returns the parsed reply, or its text if it is not JSON."""
        text = self._commands.run(args, timeout).strip()
        try:
            return json.loads(text)
        except ValueError:
            return text

    def rbd(self, *args: str, user: str = "admin", timeout: float = _DEADLINE) -> str:
        """Run `rbd ARGS`, as the administrator or as another user of this cluster. Returns its output."""
        output = run(["rbd", "--conf", self.conf, "--id", user, *args], timeout=timeout).stdout
        return output.decode(errors="replace")  # `rbd export` prints the data of a disk

    def create_pool(self, name: str, application: str | None = "rbd", init: bool = True) -> None:
        """Create a pool; `init` prepares it for RBD, as its administrator does once."""
        self.admin("osd", "pool", "create", name, _PLACEMENT_GROUPS)
        if application is not None and not (init and application == "rbd"):
            self.admin("osd", "pool", "application", "enable", name, application)
        if init:
            self.rbd("pool", "init", name)  # enables the application "rbd", too

    def create_erasure_pool(self, name: str, *, overwrites: bool = True) -> None:
        """Create an erasure-coded pool on three OSDs for the data of images. `overwrites`: whether it can hold them."""
        self.admin("osd", "erasure-code-profile", "set", "two-and-one", "k=2", "m=1", "crush-failure-domain=osd")
        self.admin("osd", "pool", "create", name, _PLACEMENT_GROUPS, _PLACEMENT_GROUPS, "erasure", "two-and-one")
        self.admin("osd", "pool", "application", "enable", name, "rbd")
        if overwrites:
            # The monitors accept it on BlueStore only, because nothing else verifies checksums.
            self.admin("config", "set", "mon", "mon_debug_no_require_bluestore_for_ec_overwrites", "true")
            self.admin("osd", "pool", "set", name, "allow_ec_overwrites", "true")

    def create_user(self, name: str, pool: str) -> Path:
        """Create `client.<name>` with exactly the caps that the driver needs. Returns its keyring."""
        profile = f"profile rbd pool={pool}"
        return self.write_keyring(name, {"mon": "profile rbd", "osd": profile, "mgr": profile})

    def write_keyring(self, name: str, caps: Mapping[str, str]) -> Path:
        """Create `client.<name>` with these caps. Returns its keyring."""
        words = [word for service, cap in caps.items() for word in (service, cap)]
        (user,) = self.admin("auth", "get-or-create", f"client.{name}", *words)
        keyring = self.directory / f"client.{name}.keyring"
        keyring.touch(0o600)
        keyring.write_text(f"[client.{name}]\n\tkey = {user['key']}\n")
        return keyring

    def set_quota(self, pool: str, max_bytes: int | None = None, max_objects: int | None = None) -> None:
        """Set the pool's quotas; None leaves one as it is, 0 lifts it."""
        for field, value in (("max_bytes", max_bytes), ("max_objects", max_objects)):
            if value is not None:
                self.admin("osd", "pool", "set-quota", pool, field, str(value))

    def wait_pool_stats(
        self,
        pool: str,
        until: Callable[[Mapping[str, Any]], bool] = lambda stats: True,
        timeout: float = 20.0,
    ) -> Mapping[str, Any]:
        """Wait until the manager reports the pool's usage and `until` holds for it. Returns that usage.

        The keys are those of `ceph df detail`: stored, objects, max_avail, quota_bytes, ...
        """
        end = time.monotonic() + timeout
        while True:
            pools = {entry["name"]: entry["stats"] for entry in self.admin("df", "detail")["pools"]}
            if pool in pools and until(pools[pool]):
                return dict(pools[pool])
            if time.monotonic() > end:
                raise LabError(f"pool {pool}: usage not as expected after {timeout} s: {pools.get(pool)}")
            time.sleep(0.1)

    def set_monitor_pace(self, pace: Pace) -> None:
        """Set the monitor's pace, for now and after a restart."""
        interval, wait = _PACES[pace]
        text = self.conf.read_text().splitlines(keepends=True)
        for number, line in enumerate(text):
            if line.startswith("paxos_propose_interval"):
                text[number] = f"paxos_propose_interval = {interval}\n"
            elif line.startswith("paxos_min_wait"):
                text[number] = f"paxos_min_wait = {wait}\n"
        self.conf.write_text("".join(text))
        # Nautilus' monitors take no `config set`.
        self.admin("tell", "mon.a", "injectargs", f"--paxos_propose_interval={interval}", f"--paxos_min_wait={wait}")
        self._pace = pace

    # Trouble

    def stop_monitor(self, name: str = "a") -> None:
        """Kill a monitor. Clients get no reply from the only one until `start_monitor()`."""
        self._signal(f"mon.{name}", signal.SIGKILL)

    def start_monitor(self, name: str = "a") -> None:
        """Start a monitor and wait until one replies."""
        self._daemons.start("ceph-mon", name)
        self.admin("mon", "stat")

    def pause_monitor(self, name: str = "a") -> None:
        """Freeze a monitor: it accepts connections, and is silent."""
        self._signal(f"mon.{name}", signal.SIGSTOP)

    def resume_monitor(self, name: str = "a") -> None:
        """Resume a frozen monitor."""
        self._signal(f"mon.{name}", signal.SIGCONT)

    def pause_osd(self, number: int = 0) -> None:
        """Freeze one OSD: requests to it hang, its connections stay."""
        self._signal(f"osd.{number}", signal.SIGSTOP)

    def resume_osd(self, number: int = 0) -> None:
        """Resume a frozen OSD."""
        self._signal(f"osd.{number}", signal.SIGCONT)

    @contextmanager
    def osd_option(self, name: str, value: str) -> Iterator[None]:
        """Sets an option of the first OSD inside the `with` block."""
        reply = self.admin("tell", "osd.0", "config", "get", name)
        usual = str(reply[name] if isinstance(reply, dict) else reply)  # Nautilus prints only the value
        self.admin("tell", "osd.0", "config", "set", name, value)
        try:
            yield
        finally:
            self.admin("tell", "osd.0", "config", "set", name, usual)

    def stop_mgr(self) -> None:
        """Kill the manager: usage gets stale, `rbd task` fails."""
        self._signal("mgr.x", signal.SIGKILL)

    def start_mgr(self) -> None:
        """Start the manager; it reports usage some seconds later (`wait_pool_stats`)."""
        self._daemons.start("ceph-mgr", "x")

    def takes_tasks(self) -> bool:
        """Whether the manager accepts `rbd task`, as it does some seconds after its start."""
        try:
            self.admin("rbd", "task", "list")
        except LabError:
            return False
        return True

    def tasks_error(self) -> str:
        """Why this manager never accepts `rbd task`; empty if it does, or will soon."""
        wait_for(lambda: self.admin("mgr", "dump")["available"], "a manager")
        modules = {module["name"]: module for module in self.admin("mgr", "dump")["available_modules"]}
        module = modules["rbd_support"]
        return "" if module["can_run"] else f"module rbd_support: {module['error_string']}"

    def _signal(self, daemon: str, number: signal.Signals) -> None:
        self._commands.close()
        self._daemons.send(daemon, number)

    # Start

    def _bring_up(self) -> None:
        for directory in ("run", "log", "mon", "mgr"):
            (self.directory / directory).mkdir()
        interval, wait = _PACES["fast"]
        settings = {
            "fsid": self.fsid,
            "address": self.address.strip("[]"),
            "daemons_use_ipv4": str(self._network != "ipv6").lower(),
            "daemons_use_ipv6": str(self._network == "ipv6").lower(),
            "monitors_use_ipv6": str(self._network != "ipv4").lower(),
            "monitors": self._all_monitors,
            "monitor_names": ",".join(self.monitors),
            # Ceph's own defaults, from Nautilus on.
            "modes": "secure" if self._encrypted else "crc secure",
            "monitors_modes": "secure" if self._encrypted else "secure crc",
            "speaks_v1": str(self._messenger != "v2").lower(),
            "speaks_v2": str(self._messenger != "v1").lower(),
            "daemon_port_first": _DAEMON_PORTS[0],
            "daemon_port_last": _DAEMON_PORTS[1],
            "directory": self.directory,
            "store": self._store,
            "store_bytes": self._store_bytes,
            "small_store": _SMALL_STORE if self._store_bytes < _STORE_BYTES else "",
            "fast_propose_interval": interval,
            "fast_min_wait": wait,
        }
        self.conf.write_text(Template(_CONF_TEMPLATE.read_text()).substitute(settings))
        addresses = {name: self.monitor_addresses(name) for name in self.monitors}
        self._daemons.make_monitors(self.fsid, addresses, self._osds)
        for name in self.monitors:
            self._daemons.start("ceph-mon", name)
        if self._mgr:
            self.start_mgr()
        for number in range(self._osds):
            self._add_osd(number)
        if self._min_compat is not None:
            self.admin("osd", "set-require-min-compat-client", self._min_compat)
        if self.pool is not None:
            self.create_pool(self.pool)
        if self._pace != "fast":
            self.set_monitor_pace(self._pace)

    def _add_osd(self, number: int) -> None:
        osd_uuid = str(uuid.uuid4())
        (self.directory / "osd" / str(number)).mkdir(parents=True)
        self.admin("osd", "new", osd_uuid, str(number))
        self._daemons.start("ceph-osd", str(number), "--mkfs", "--osd-uuid", osd_uuid)
        self._daemons.start("ceph-osd", str(number))
