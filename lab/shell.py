"""A shell with a running lab: `make lab`, or by hand

    python -m lab.shell [--hosts guests|local]

Starts a one-node Ceph with a pool and a user for it, and two hosts with the driver. In the shell, `xe` is the
pool's, `ceph`, `rbd` and `rados` use the cluster as its administrator, and `host1 COMMAND` runs a command on
that host. `host1 --power-off` and `host1 --power-on` switch it off and on. Without a terminal the shell reads
commands from stdin. At its end everything is removed.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.ceph import OneNodeCeph
from lab.dom0 import Dom0, LocalDom0
from lab.session import Session, run_session
from lab.sm_source import SM_DIR
from lab.wheel import REPOSITORY
from lab.xapi.cli.main import LAB_FILE
from lab.xapi.lab_pool import LabPool, Tree

POOL = "vms"
USER = "xcp"
QUOTA = 4 << 30
SOCKET = "SMBLOCK_LAB_HOSTS"
COMMAND_SECONDS = 3600
# A lab's host has no /usr/bin/smblock, which the installation makes.
SMBLOCK = f'smblock() {{ {SM_DIR}/smblock-admin "$@"; }}'
HINTS = f"""
Two hosts, {{hosts}}, and a Ceph cluster with the pool {POOL} and the user client.{USER}. Try

  xe sr-create type=cephrbd shared=true name-label=ceph device-config:pool={POOL} device-config:ceph_user={USER}
  xe vdi-create sr-uuid=UUID name-label=disk virtual-size=10GiB
  rbd ls {POOL}
  {{first}} smblock check device-config:pool={POOL} device-config:ceph_user={USER}

{{first}} COMMAND runs a command on that host; {{first}} --power-off and --power-on switch it off and on.
'exit' ends the shell and removes everything.
"""
WITHOUT_KERNEL = "These hosts have no kernel: no disk can be plugged. 'make lab' starts hosts that have one.\n"


class HostCommands:
    """Runs commands on the lab's hosts for the programs `host1`, `host2`, …: see `lab.on_host`."""

    def __init__(self, pool: LabPool, path: Path) -> None:
        self._pool = pool
        self._hosts = {host.name: host for host in pool.hosts}
        self._listener = Listener(str(path), "AF_UNIX")
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):  # closed
            while True:
                threading.Thread(target=self._run, args=[self._listener.accept()], daemon=True).start()

    def _run(self, connection: Connection) -> None:
        with connection, suppress(EOFError, OSError):  # the program was interrupted
            name, command = connection.recv()
            try:
                connection.send(self._execute(self._hosts[name], command))
            except Exception as error:  # the program waits for a reply
                connection.send((1, b"", f"{error}\n".encode()))

    def _execute(self, host: Dom0, command: str) -> tuple[int, bytes, bytes]:
        if command == "--power-off":
            host.kill()
        elif command == "--power-on":
            self._pool.power_on(host)
        elif not host.is_running:
            return 1, b"", f"{host.name} is powered off: '{host.name} --power-on' starts it\n".encode()
        else:
            done = host.exec(["sh", "-c", f"{SMBLOCK}; {command}"], timeout=COMMAND_SECONDS)
            return done.returncode, done.stdout, done.stderr
        return 0, b"", b""


def programs(hosts: list[Dom0], directory: Path) -> None:
    """The programs of the shell: `xe`, and one for each host."""
    python = shlex.quote(sys.executable)
    texts = {"xe": f'exec {python} {shlex.quote(str(REPOSITORY / "lab" / "xe"))} "$@"'}
    program = f"cd {shlex.quote(str(REPOSITORY))} && exec {python} -m lab.on_host"
    texts |= {host.name: f'{program} {host.name} "$@"' for host in hosts}
    for name, text in texts.items():
        (directory / name).write_text(f"#!/bin/sh\n{text}\n")
        (directory / name).chmod(0o755)


def run_shell(pool: LabPool, ceph_conf: Path, directory: Path, stdin: bytes | None = None) -> int:
    """Run a shell in the lab until it ends. Returns its exit status.

    directory    an empty directory for the shell's files
    stdin        its commands; without them it has this process's terminal or stdin
    """
    directory_of_programs = directory / "bin"
    directory_of_programs.mkdir()
    programs(pool.hosts, directory_of_programs)
    # After the user's own, which may set PATH.
    rc = f"[ ! -f ~/.bashrc ] || . ~/.bashrc\nPS1='lab$ '\nPATH={directory_of_programs}:$PATH\n"
    (directory / "rc").write_text(rc)
    interactive = stdin is None and sys.stdin.isatty()
    shell = ["bash", "--rcfile", str(directory / "rc"), "-i"] if interactive else ["bash"]
    environment = {
        **os.environ,
        "PATH": f"{directory_of_programs}:{os.environ['PATH']}",
        "CEPH_CONF": str(ceph_conf),
        LAB_FILE: str(pool.lab_file),
        SOCKET: str(directory / "hosts"),
    }
    with HostCommands(pool, directory / "hosts"):
        done = subprocess.run(shell, env=environment, input=stdin, check=False)
    # The status of an interactive shell is that of its last command: no failure of the lab.
    return 0 if interactive else done.returncode


class Lab(Session):
    """A cluster, and a pool of two hosts with the driver."""

    def __init__(self, directory: Path, stack: ExitStack, *, local: bool) -> None:
        super().__init__(directory, stack)
        self.cluster = OneNodeCeph(self.part("ceph"), pool=None)
        sm, driver = self.install()
        with self.timed("a real one-node Ceph"):
            stack.enter_context(self.cluster)
            self.cluster.create_pool(POOL)
            self.cluster.set_quota(POOL, max_bytes=QUOTA)
            keyring = self.cluster.create_user(USER, POOL)
        kind = "two hosts in namespaces of this machine" if local else "two hosts with a kernel of their own"
        with self.timed(kind):
            hosts = self._hosts(local=local)
            self.open_pool(hosts, Tree(sm, driver, self.cluster.client_conf(), keyring))

    def _hosts(self, *, local: bool) -> list[Dom0]:
        names = ["host1", "host2"]
        if not local:
            return list[Dom0](self.start(names))
        return [self.stack.enter_context(LocalDom0(name, self.part(name), in_memory=True)) for name in names]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.shell", description=__doc__.splitlines()[0])
    parser.add_argument("--hosts", choices=("guests", "local"), default="guests", help="virtual machines or not")
    local = parser.parse_args().hosts == "local"
    status = 0

    def show(directory: Path, stack: ExitStack) -> None:
        nonlocal status
        lab = Lab(directory, stack, local=local)
        names = [host.name for host in lab.pool.hosts]
        print(HINTS.format(hosts=" and ".join(names), first=names[0]) + (WITHOUT_KERNEL if local else ""), flush=True)
        status = run_shell(lab.pool, lab.cluster.conf, lab.part("shell"))

    return run_session(show, "lab") or status


if __name__ == "__main__":
    sys.exit(main())
