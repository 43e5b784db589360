"""Where the pages are followed: a real Ceph, and hosts of XCP-ng without smblock.

Real: Ceph and its programs, smblock's packages, dnf and rpm. Simulated by the lab: xapi, `xe`, SM. Fakes: `scp`,
`xe-toolstack-restart`, `modinfo`, `systemctl`. The hosts have no kernel with RBD: no disk can be plugged.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from lab.ceph import OneNodeCeph
from lab.dom0 import Dom0, LocalDom0
from lab.shell import SOCKET, HostCommands
from lab.tree import stage_sm
from lab.wheel import REPOSITORY
from lab.xapi.lab_pool import LabPool, Tree
from tests.pages.fakes import HOME, HOST_LAB_FILE, host_tree, make_scp
from tests.rpm_packages import SharedPackages

_SECONDS = 120.0
# One command, in the directory in which the last one ended.
_SHELL = """exec 2>&1
cd "$HOME" && [ ! -f .directory ] || cd "$(cat .directory)"
{command}
status=$?
pwd >"$HOME/.directory"
exit $status
"""


class Place:
    """The machines of the pages: `ceph`, `build`, `host1` and `host2` of a pool, `host3` of a pool of its own."""

    def __init__(self, stack: ExitStack, directory: Path, ceph: OneNodeCeph, packages: SharedPackages) -> None:
        self._ceph = ceph
        self._sm = stage_sm(None, directory / "sm", "/usr/bin/python3")
        # A unix socket has a short path.
        self._bin = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pages-")))
        self._base = host_tree(directory / "base", packages.host, self._on_host)
        self._local: dict[str, Path] = {}
        for name in ("ceph", "build"):
            self._local[name] = directory / name
            self._local[name].mkdir()
        make_scp(self._bin, self._on_host)
        dist = self._local["build"] / "target/dist"
        dist.mkdir(parents=True)
        for file in (*packages.smblock.parent.iterdir(), packages.newer):
            (dist / file.name).symlink_to(file)
        names = ("host1", "host2", "host3")
        self.hosts = {name: LocalDom0(name, directory / f"{name}-files", in_memory=True) for name in names}
        for host in self.hosts.values():
            stack.enter_context(host)
        first, second, third = self.hosts.values()
        tree = Tree(self._sm, None)
        self.pool = stack.enter_context(LabPool([first, second], tree, directory / "lab.json"))
        self.other = stack.enter_context(LabPool([third], tree, directory / "other.json"))
        stack.enter_context(_Fakes(self, self._bin / "hosts"))
        for host in self.hosts.values():
            self._prepare(host)

    @property
    def _on_host(self) -> str:
        """The command that asks this process, by its socket, to do something with a host."""
        variables = f"PYTHONPATH={REPOSITORY} {SOCKET}={self._bin / 'hosts'}"
        return f"env {variables} {sys.executable} -m lab.on_host"

    def pool_of(self, host: Dom0) -> LabPool:
        return self.pool if host in self.pool.hosts else self.other

    def run(self, place: str, command: str) -> tuple[int, str]:
        """Types a command; returns its exit status and what it prints."""
        script = _SHELL.format(command=command)
        if place in self.hosts:
            done = self.hosts[place].exec(["bash", "-c", script], env={"HOME": HOME}, timeout=_SECONDS)
            return done.returncode, done.stdout.decode(errors="replace")
        here = {"HOME": str(self._local[place]), "PATH": f"{self._bin}:{os.environ['PATH']}"}
        environment = {**os.environ, **here, "CEPH_CONF": str(self._ceph.conf), "LC_ALL": "C.UTF-8"}
        local = subprocess.run(
            ["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
        return local.returncode, local.stdout

    def write(self, place: str, path: str, text: str) -> None:
        """Writes a file of a page."""
        self.hosts[place].put(path, text.encode())

    def act(self, action: str) -> None:
        """Does what the lab does before or instead of a block: an action, and a host or an image."""
        name, _, argument = action.partition(" ")
        actions = {"reinstall": self._reinstall, "join": self._join, "power-off": self._power_off, "write": self._write}
        actions[name](argument)

    def _write(self, image: str) -> None:
        """Writes somewhere to an image, as a VM does."""
        bench = ("bench", "--io-type", "write", "--io-total", "256K", "--io-pattern", "rand")
        self._ceph.rbd(*bench, f"vms/{image}")

    def _power_off(self, name: str) -> None:
        self.hosts[name].kill()

    def _reinstall(self, name: str) -> None:
        """As the ISO's installer: a new dom0, of which XAPI has all records of before."""
        host = self.hosts[name]
        host.kill()
        self.pool_of(host).power_on(host, plug=False)
        self._prepare(host)

    def _join(self, name: str) -> None:
        """`xe pool-join`: the host gets the master's shared SRs, and plugs them."""
        host, pool = self.hosts[name], self.pool
        self.other.hosts.remove(host)
        pool.hosts.append(host)
        self._connect(host)
        ref = pool.xapi.add_host(host)
        with pool.xapi.session() as session:
            for sr in session.SR.get_all():
                config = session.PBD.get_device_config(pool.xapi.pool.pbd(sr, pool.xapi.pool.master))
                session.PBD.plug(session.PBD.create({"host": ref, "SR": sr, "device_config": config}))

    def _prepare(self, host: Dom0) -> None:
        host.exec(["rm", "-rf", "/var/lib/rpm", "/etc/yum.repos.d", "/etc/xapi.conf.d"]).check()
        host.put_tree(self._base, "/")
        self._connect(host)

    def _connect(self, host: Dom0) -> None:
        """The host's xapi is that of its pool."""
        pool = self.pool_of(host)
        host.put(HOST_LAB_FILE, pool.lab_file.read_bytes())
        host.forward("/var/lib/xcp/xapi", *pool.xapi.endpoint)


class _Fakes(HostCommands):
    """Serves the fakes that need this process."""

    def __init__(self, place: Place, path: Path) -> None:
        super().__init__(place.pool, path)
        self._hosts = dict(place.hosts)
        self._place = place

    def _execute(self, host: Dom0, command: str) -> tuple[int, bytes, bytes]:
        action, *words = command.split(" ")
        if action == "--restart-toolstack":
            _restart_toolstack(self._place.pool_of(host), host)
        elif action == "--put":
            source, directory = Path(words[0]), words[1] or HOME
            host.put(f"{directory}/{source.name}", source.read_bytes(), mode=source.stat().st_mode & 0o777)
        else:
            raise ValueError(command)
        return 0, b"", b""


def _restart_toolstack(pool: LabPool, host: Dom0) -> None:
    """xapi of a host reads its list of SR types, and asks the drivers. All hosts of a pool have one list here."""
    listed = host.exec(["sh", "-c", "for f in /etc/xapi.conf /etc/xapi.conf.d/*; do cat $f; echo; done"]).check()
    lines = [line for line in listed.decode().splitlines() if line.startswith("sm-plugins")]
    pool.xapi.pool.settings.plugins = lines[-1].partition("=")[2].split()
    pool.xapi.restart_toolstack(pool.ref(host))
