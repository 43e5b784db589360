"""A pool whose hosts serve exports, with disks that are files: no kernel is needed, and all is at full speed.

The SR is of the lab's own type: `smblock export` takes VDIs of every type. Clients are libnbd's programs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab import wait_for
from lab.dom0 import Dom0, LocalDom0
from lab.sm_source import sm_source
from lab.tree import SM_DIR, install_driver
from lab.wheel import REPOSITORY
from lab.xapi import Settings
from lab.xapi.lab_pool import LabPool, Tree

MIB = 1 << 20
DRIVER = REPOSITORY / "lab/tests/fixtures/LabFilesSR.py"
CONF = "/etc/smblock/export.conf"
PORT = 10810
# Uses an export until its stdin is closed; prints a line when it has it.
_HOLD = "import sys, nbd; h = nbd.NBD(); h.connect_uri(sys.argv[1]); print('connected', flush=True); sys.stdin.read()"
# Writes 4 KiB again and again until its stdin is closed; prints the longest time between two replies, in seconds.
_WRITE = """
import nbd, sys, threading, time
h = nbd.NBD()
h.connect_uri(sys.argv[1])
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
print("connected", flush=True)
longest, last = 0.0, time.monotonic()
while not ended.is_set():
    h.pwrite(b"a" * 4096, 0)
    now = time.monotonic()
    longest, last = max(longest, now - last), now
print(longest)
"""


def client(*argv: str | Path, check: bool = True) -> str:
    """Runs a program of libnbd outside of the hosts. Returns its output."""
    # nbdsh is a module of the system's Python. libnbd prints a server's reason with LIBNBD_DEBUG only.
    environment = {**os.environ, "PATH": "/usr/bin:/bin", "LIBNBD_DEBUG": "0" if check else "1"}
    done = subprocess.run(
        list(map(str, argv)), capture_output=True, text=True, timeout=120, check=False, env=environment
    )
    assert (done.returncode == 0) == check, done.stdout + done.stderr
    return done.stdout if check else done.stderr


def random_file(path: Path, size: int) -> bytes:
    data = os.urandom(size)
    path.write_bytes(data)
    return data


class Held:
    """A client that has an export until `end`."""

    def __init__(self, program: str, uri: str) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            ["/usr/bin/python3", "-c", program, uri], stdin=pipe, stdout=pipe, stderr=pipe, text=True
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "connected\n":
            raise AssertionError(self._process.communicate()[1])

    def end(self) -> str:
        """Ends it. Returns what it prints."""
        output, errors = self._process.communicate(timeout=60)
        assert self._process.returncode == 0, errors
        return output


@contextmanager
def held(uri: str) -> Iterator[None]:
    """Inside the `with` block a client uses an export."""
    client = Held(_HOLD, uri)
    try:
        yield
    finally:
        client._process.kill()
        client._process.wait()


def writes(uri: str) -> Held:
    """A client that writes without a pause."""
    return Held(_WRITE, uri)


class ExportsPool(LabPool):
    """A pool of two hosts, each with a server on its own address."""

    directory: Path
    sr: str

    def prepare(self, host: Dom0) -> None:
        """Has the host's server listen on the host's address: both hosts are this machine."""
        host.put(CONF, f"[export]\nlisten = {host.address}\n".encode())

    def vdi(self, size: int = 8 * MIB, name: str = "disk") -> str:
        return self.xe("vdi-create", f"sr-uuid={self.sr}", f"name-label={name}", f"virtual-size={size}")

    @contextmanager
    def new_vdi(self) -> Iterator[str]:
        """A disk inside the `with` block, whose exports are ended then."""
        vdi = self.vdi()
        yield vdi
        for name, export in self.exports().items():
            if export["vdi"] == vdi:
                self.unexport(name, "--force")
        self.xe("vdi-destroy", f"uuid={vdi}")

    def vm(self, *disks: tuple[str, str], name: str) -> str:
        """A halted VM with disks: their userdevices and VDIs."""
        vm = self.xe("vm-create", f"name-label={name}")
        for device, vdi in disks:
            self.xe("vbd-create", f"vm-uuid={vm}", f"vdi-uuid={vdi}", f"device={device}")
        return vm

    def content(self, vdi: str) -> bytes:
        return (self.directory / self.sr / f"{vdi}.img").read_bytes()

    def uri(self, name: str, host: int = 0) -> str:
        return f"nbd://{self.hosts[host].address}:{PORT}/{name}"

    def export(self, *words: str, host: int = 0) -> list[dict[str, Any]]:
        """`smblock export`. Returns its JSON."""
        done = self.admin("export", "--json", *words, host=host)
        listed: list[dict[str, Any]] = json.loads(done.check())
        return listed

    def unexport(self, *words: str, host: int = 0) -> None:
        self.admin("unexport", *words, host=host).check()

    def exports(self, host: int = 0) -> dict[str, dict[str, Any]]:
        """`smblock exports`, by name."""
        return {each["name"]: each for each in json.loads(self.admin("exports", "--json", host=host).check())}

    def states(self) -> dict[str, str]:
        return {name: export["state"] for name, export in self.exports().items()}

    def fails(self, *words: str, host: int = 0) -> str:
        """A command of smblock that fails. Returns its errors."""
        done = self.admin(*words, host=host)
        assert done.returncode == 1, (done.stdout, done.stderr)
        return done.stderr.decode()

    def server_pid(self, host: int = 0) -> int:
        """The process of a host's server, in the host's own numbers."""
        found = self.hosts[host].exec(["pgrep", "-f", "smblock-export-server"]).stdout.split()
        return int(found[0]) if found else 0

    def kill_server(self, host: int = 0) -> None:
        pid = self.server_pid(host)
        self.hosts[host].exec(["kill", "-9", str(pid)]).check()
        wait_for(lambda: self.server_pid(host) == 0, "the end of the server")

    def start_server(self, host: int = 0) -> None:
        """What systemd does after a boot, and after the server has ended."""
        self.hosts[host].exec(["sh", "-c", f"setsid {SM_DIR}/smblock-export-server </dev/null >/dev/null 2>&1 &"])

    def wait_for_server(self, name: str, host: int = 0) -> None:
        wait_for(lambda: self.exports()[name]["state"] == "served", f"export {name}", 60)


@contextmanager
def exports_pool(
    hosts: Sequence[LocalDom0], sm_tree: Path, driver_tree: Path, directory: Path
) -> Iterator[ExportsPool]:
    """A pool whose SR is a directory. Not below /tmp, which may be in memory: there is no I/O past the page cache."""
    source = sm_source()
    if source is not None and (source / "libs/sm").is_dir():
        pytest.skip("SM 4 gives xapi a socket of tapdisk, which a host without a kernel of its own has no device for")
    driver = directory / "driver"
    shutil.copytree(driver_tree, driver, symlinks=True)
    install_driver(DRIVER, driver)
    tree = Tree(sm_tree, driver)
    with ExportsPool(hosts, tree, directory / "lab.json", Settings(plugins=("labfiles",))) as pool:
        pool.directory = directory
        for host in pool.hosts:
            pool.prepare(host)
        pool.sr = pool.xe("sr-create", "type=labfiles", "shared=true", "name-label=files",
                          f"device-config:directory={directory}")  # fmt: skip
        yield pool
