"""A whole pool for tests: xapi, its hosts with sm and a driver on them, and `xe`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.lab.dom0 import Completed, Dom0
from tests.lab.tree import SM_DIR, layout
from tests.lab.xapi.cli.main import run
from tests.lab.xapi.pool import Settings
from tests.lab.xapi.server import Xapi


class XeError(AssertionError):
    """An `xe` command failed; the message is what it complained of."""


@dataclass(frozen=True)
class Tree:
    """What every host of the pool carries; see `tests.lab.tree.layout`."""

    sm: Path
    driver: Path
    ceph_conf: str | None = None
    keyring: Path | None = None


class LabPool:
    """A pool of hosts that have been started already, up while the `with` block lasts.

        with LocalDom0("one", folder) as one, LabPool([one], tree, lab_file) as pool:
            sr = pool.xe("sr-create", "type=cephrbd", …)

    The first host is the master.  `lab_file` is written, for the program `tests/lab/xe`.
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.xapi.stop()

    def xe(self, *words: str) -> str:
        """Type an `xe` command; its stdout without the last line's end.  Raises `XeError`."""
        done = run(words, str(self.lab_file))
        if done.status != 0:
            raise XeError(done.stderr)
        return done.stdout.rstrip("\n")

    def refused(self, *words: str) -> str:
        """Type an `xe` command that fails; what it complains of.  `AssertionError` if it does not."""
        try:
            done = self.xe(*words)
        except XeError as complaint:
            return str(complaint)
        raise AssertionError(f"xe {' '.join(words)}: was to be refused, and said: {done!r}")

    def get(self, kind: str, name: str, uuid: str) -> str:
        """One parameter of an object."""
        return self.xe(f"{kind}-param-get", f"uuid={uuid}", f"param-name={name}")

    def list(self, kind: str, *words: str) -> list[str]:
        """The uuids of the objects that match."""
        found = self.xe(f"{kind}-list", *words, "--minimal")
        return found.split(",") if found else []

    def admin(self, *words: str, host: int = 0) -> Completed:
        """Type `smblock-admin WORDS` on a host."""
        return self.hosts[host].sm([f"{SM_DIR}/smblock-admin", *words])

    def provide(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Put a file on every host, as an administrator does; also on one that starts later."""
        self._provided[path] = (data, mode)
        for host in self.hosts:
            if host.is_running:
                host.put(path, data, mode)

    def power_on(self, host: Dom0) -> None:
        """Start a host of the pool that was powered off; its SRs are plugged again.

        Raises `XeError` with the first plug that failed.
        """
        host.start()
        self._lay_out(host)
        with self.xapi.session() as session:
            for task in self.xapi.host_started(session.host.get_by_uuid(host.uuid)):
                if session.task.get_status(task) != "success":
                    raise XeError(f"{host.name}: {session.task.get_error_info(task)}")

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
