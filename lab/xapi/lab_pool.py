"""A whole pool for tests: xapi, its hosts with sm and a driver on them, and `xe`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from lab.dom0 import Completed, Dom0
from lab.tree import SM_DIR, XAPI_SOCKET, layout
from lab.xapi.cli.main import run
from lab.xapi.pool import Settings
from lab.xapi.server import Xapi

XAPI_PROGRAM = "/opt/xensource/bin/xapi"
# What the program contains: the call is in the list of all calls since 2005; its message is in programs that have it
# (xen-api 461ab30344, message_forwarding.ml:5751).
OLDER_XAPI = b"\x7fELF\0VDI.resize\0VDI.resize_online\0"
NEWER_XAPI = OLDER_XAPI + b"VDI.resize_online: VDI = '%s'; size = %Ld\0"


class XeError(AssertionError):
    """An `xe` command failed; the message is its stderr."""


@dataclass(frozen=True)
class Tree:
    """The files of every host of the pool; see `lab.tree.layout`."""

    sm: Path
    driver: Path | None
    ceph_conf: str | None = None
    keyring: Path | None = None


class LabPool:
    """A pool of hosts that have been started already, up while the `with` block lasts.

        with LocalDom0("one", directory) as one, LabPool([one], tree, lab_file) as pool:
            sr = pool.xe("sr-create", "type=cephrbd", …)

    The first host is the master.  `lab_file` is written, for the program `lab/xe`.
    """

    def __init__(self, hosts: Sequence[Dom0], tree: Tree, lab_file: Path, settings: Settings | None = None) -> None:
        self.hosts = list(hosts)
        self.xapi = Xapi(settings=settings)
        self.lab_file = lab_file
        self._tree = tree
        self._provided: dict[str, tuple[bytes, int]] = {}

    def __enter__(self) -> Self:
        self.xapi.start()
        try:
            for host in self.hosts:
                self._lay_out(host)
                self.xapi.add_host(host)
            self.xapi.write_lab_file(self.lab_file)
        except BaseException:
            self.xapi.stop()
            raise
        return self

    def __exit__(self, *_raised: object) -> None:
        self.xapi.stop()

    def xe(self, *words: str) -> str:
        """Run an `xe` command. Returns its stdout without the last line's end.  Raises `XeError`."""
        done = run(words, str(self.lab_file))
        if done.status != 0:
            raise XeError(done.stderr)
        return done.stdout.rstrip("\n")

    def refused(self, *words: str) -> str:
        """Run an `xe` command that fails. Returns its stderr.  `AssertionError` if it succeeds."""
        try:
            done = self.xe(*words)
        except XeError as complaint:
            return str(complaint)
        raise AssertionError(f"xe {' '.join(words)}: expected a failure, got {done!r}")

    def get(self, kind: str, name: str, uuid: str) -> str:
        """One parameter of an object."""
        return self.xe(f"{kind}-param-get", f"uuid={uuid}", f"param-name={name}")

    def list(self, kind: str, *words: str) -> list[str]:
        """The uuids of the objects that match."""
        found = self.xe(f"{kind}-list", *words, "--minimal")
        return found.split(",") if found else []

    def admin(self, *words: str, host: int = 0) -> Completed:
        """Run `smblock WORDS` on a host."""
        return self.hosts[host].sm([f"{SM_DIR}/smblock-admin", *words])

    def provide(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Put a file on every host, as an administrator does; also on one that starts later."""
        self._provided[path] = (data, mode)
        for host in self.hosts:
            if host.is_running:
                host.put(path, data, mode)

    def power_on(self, host: Dom0, *, plug: bool = True) -> None:
        """Start a host of the pool that was powered off; its SRs are plugged again, if `plug`.

        Raises `XeError` with the first plug that failed.
        """
        host.start()
        self._lay_out(host)
        with self.xapi.session() as session:
            for task in self.xapi.host_started(self.ref(host), plug=plug):
                if session.task.get_status(task) != "success":
                    raise XeError(f"{host.name}: {session.task.get_error_info(task)}")

    @contextmanager
    def newer_xapi(self) -> Iterator[None]:
        """Inside the `with` block the pool has a xapi newer than 26.17, with VDI.resize_online."""
        self._update_xapi(NEWER_XAPI, resize_online=True)
        try:
            yield
        finally:
            self._update_xapi(OLDER_XAPI, resize_online=False)

    def _update_xapi(self, program: bytes, *, resize_online: bool) -> None:
        """Install a xapi on all hosts, and start it."""
        self.xapi.pool.settings.resize_online = resize_online
        for host in self.hosts:
            host.exec(["mkdir", "-p", str(Path(XAPI_PROGRAM).parent)]).check()
            host.put(XAPI_PROGRAM, program, 0o755)
            self.xapi.pool.load_drivers(self.ref(host))

    # How hosts die. xapi does not notice `host.kill()`.

    def miss_heartbeats(self, host: Dom0) -> None:
        """No heartbeat of the host has come for 600 s, whether it runs or not."""
        self.xapi.liveness.miss_heartbeats(self.ref(host))

    def fence(self, host: Dom0) -> None:
        """HA: the host has left the live set, its watchdog has powered it off, and the master acts on that."""
        if host.is_running:
            host.kill()
        self.xapi.liveness.fence(self.ref(host))

    def shut_down(self, host: Dom0) -> None:
        """`xe host-disable` and `xe host-shutdown`."""
        self.xe("host-disable", f"uuid={host.uuid}")
        self.xapi.liveness.shut_down(self.ref(host))
        host.kill()

    @contextmanager
    def cut_off(self, host: Dom0) -> Iterator[None]:
        """Inside the `with` block the management network to a host is down; the host runs."""
        away = f"{XAPI_SOCKET}.cut-off"
        ref = self.ref(host)
        host.exec(["mv", XAPI_SOCKET, away]).check()
        self.xapi.pool.cut_off.add(ref)
        try:
            yield
        finally:
            self.xapi.pool.cut_off.discard(ref)
            if host.is_running:
                host.exec(["mv", away, XAPI_SOCKET]).check()

    def join(self, host: Dom0) -> None:
        """Join a running host to the pool; it gets the master's shared SRs, and plugs them."""
        self._lay_out(host)
        ref = self.xapi.add_host(host)
        if host not in self.hosts:
            self.hosts.append(host)
        with self.xapi.session() as session:
            for sr in session.SR.get_all():
                config = session.PBD.get_device_config(self.xapi.pool.pbd(sr, self.xapi.pool.master))
                pbd = session.PBD.create({"host": ref, "SR": sr, "device_config": config})
                session.PBD.plug(pbd)

    def ref(self, host: Dom0) -> str:
        """The host's reference; `ApiError` UUID_INVALID if the pool does not have it."""
        return self.xapi.pool.db.by_uuid("host", host.uuid)

    def commands_since(self, mark: int) -> Sequence[tuple[str, str]]:
        """Which SM commands ran, as (host, command), after the first `mark` of `xapi.commands`."""
        return [(command.host, command.name) for command in self.xapi.commands[mark:]]

    def _lay_out(self, host: Dom0) -> None:
        layout(
            host,
            sm_tree=self._tree.sm,
            driver_tree=self._tree.driver,
            ceph_conf=self._tree.ceph_conf,
            keyring=self._tree.keyring,
            xapi=self.xapi.endpoint,
        )
        for path, (data, mode) in self._provided.items():
            host.put(path, data, mode)
