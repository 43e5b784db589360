"""The two sides: the driver's core, and the commands that the reference driver executes.

The reference is CephRBDSR (github.com/benapetr/CephRBDSR, commit 5360985), which forks `rbd` and `ceph`
for each step.  Its commands are issued here with its options and in its order, each beside its line in
CephRBDSR.py; its Python around them, and its calls to XAPI, are not counted.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import LabError
from lab.dom0 import lab_python

PROGRAM = Path(__file__).with_name("program.py")
DEADLINE = 300.0
MIB = 1 << 20
# Seconds for each of several processes to be ready.
_START_SECONDS = 0.15


@dataclass(frozen=True)
class Reply:
    """The reply of a process with the core.  Times in seconds; `began` by this machine's monotonic clock."""

    imported: float
    began: float
    operation: float
    calls: list[float]
    listed: int | None
    peak_bytes: int


@dataclass(frozen=True)
class Footprint:
    """Child processes of an operation, and its connections to monitors."""

    processes: int
    monitor_connections: int


@dataclass(frozen=True)
class Access:
    """How both sides reach their pool: the same file, the same user, the same key."""

    conf: Path
    user: str
    keyring: Path
    pool: str
    data_pool: str | None = None


class Driver:
    """The core, in a new process for each operation, as for each SM command."""

    def __init__(self, sm_dir: Path, access: Access, sr: str) -> None:
        self.sr = sr
        self._environment = {"PATH": os.defpath, "PYTHONPATH": str(sm_dir)}
        self._argv = [lab_python(), str(PROGRAM)]
        self._request: dict[str, Any] = {
            "sr": sr,
            "device_config": {
                "pool": access.pool,
                "ceph_conf": str(access.conf),
                "ceph_user": access.user,
                "keyring": str(access.keyring),
                # As the reference's images, which are slow to remove.
                "image_features": "layering",
            },
        }
        if access.data_pool is not None:
            self._request["device_config"]["data_pool"] = access.data_pool

    def run(self, *calls: Sequence[Any]) -> Reply:
        """Calls of the core, one after the other, on one connection."""
        return self._ask({"calls": calls})

    def run_at_once(self, calls: Sequence[Sequence[Any]]) -> list[Reply]:
        """One call in each of several processes, at the same time, after Python has started in all of them."""
        moment = time.monotonic() + _START_SECONDS * len(calls)
        with ThreadPoolExecutor(len(calls)) as threads:
            return list(threads.map(lambda call: self._ask({"calls": [call], "start_at": moment}), calls))

    def image(self, vdi: str, number: int = 0) -> str:
        """The name of a disk's image after a number of reverts."""
        return f"smblock.{self._request['sr']}.{vdi}.{number}"

    def scan(self, known: Sequence[str], size: int, times: int = 1) -> Reply:
        """Scans for a XAPI that has these disks already, on one connection."""
        reply = self._ask({"known": known, "size": size, "times": times})
        if reply.listed != len(known):
            raise LabError(f"a scan of {len(known)} VDIs listed {reply.listed}")
        return reply

    def footprint(self, *calls: Sequence[Any]) -> Footprint:
        """The footprint of calls, in a process that is not counted, as SM's own is not."""
        found = _footprint([self._argv], self._environment, self._text({"calls": calls}))
        return Footprint(found.processes - 1, found.monitor_connections)

    def load(self, library: str) -> float:
        """Seconds to open a library with its dependencies, in a process that does nothing else."""
        ask = "import ctypes, time; t = time.perf_counter(); ctypes.CDLL({!r}); print(time.perf_counter() - t)"
        return float(_run([lab_python(), "-c", ask.format(library)], self._environment))

    def kill_after(self, seconds: float, *calls: Sequence[Any]) -> bool:
        """Kill a process that long after its first call of the core. Returns whether it was still running."""
        process = subprocess.Popen(
            self._argv, env=self._environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        with process:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(self._text({"calls": calls, "announce": True}))
            process.stdin.close()
            process.stdout.readline()
            time.sleep(seconds)
            process.kill()
            return process.wait(DEADLINE) != 0

    def _ask(self, what: dict[str, Any]) -> Reply:
        done = _run(self._argv, self._environment, self._text(what))
        return Reply(**json.loads(done))

    def _text(self, what: dict[str, Any]) -> bytes:
        return json.dumps({**self._request, **what}).encode()


class Reference:
    """The commands of the reference driver, each a process of its own."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._identity = ["-c", str(access.conf), "--id", access.user, "-k", str(access.keyring)]

    @staticmethod
    def image(vdi: str) -> str:
        return f"vdi-{vdi}"

    def stat(self) -> list[list[str]]:
        """For a pool with a quota; one without needs `ceph df detail` (:424), too."""
        return [self._ceph("osd", "pool", "get-quota", self._access.pool, "--format", "json")]  # :384

    def create(self, vdi: str, size: int) -> list[list[str]]:
        """The image, then the pool's usage."""
        options = ["--size", str(size // MIB), "--image-format", "2", "--image-feature", "layering", *self._data()]
        return [
            self._rbd("create", *options, self.image(vdi)),  # :603
            *self.stat(),  # :619
        ]

    def resize(self, vdi: str, size: int) -> list[list[str]]:
        """Growth, then the pool's usage."""
        return [
            self._rbd("resize", "--size", str(size // MIB), self.image(vdi)),  # :1028
            *self.stat(),  # :1040
        ]

    def scan(self) -> list[list[str]]:
        """For a whole pool: it opens every image."""
        return [self._rbd("ls", "-l", "--format", "json")]  # :225

    def delete(self, vdi: str) -> list[list[str]]:
        """For a disk without snapshots."""
        return [
            self._rbd("snap", "ls", self.image(vdi), "--format", "json"),  # :671
            self._rbd("rm", self.image(vdi)),  # :717
        ]

    def snapshot(self, vdi: str, snapshot: str) -> list[list[str]]:
        """For a disk; protected, as clones of the old format need it."""
        spec = f"{self.image(vdi)}@snap-{snapshot}"
        return [
            self._rbd("snap", "create", spec),  # :848
            self._rbd("snap", "protect", spec),  # :852
        ]

    def clone_of_snapshot(self, vdi: str, snapshot: str, clone: str) -> list[list[str]]:
        """With the pool, which the reference leaves out: then `rbd` puts the clone into its default pool."""
        words = ["--image", self.image(vdi), "--snap", f"snap-{snapshot}"]
        words += ["--dest-pool", self._access.pool, "--dest", self.image(clone), *self._data()]
        return [self._rbd("clone", *words)]  # :912

    def clone_of_disk(self, vdi: str, snapshot: str, clone: str) -> list[list[str]]:
        """By a new snapshot; the reference fails after these commands, and leaves both behind."""
        spec = f"{self.image(vdi)}@snap-clone-temp-{snapshot}"
        return [
            self._rbd("snap", "create", spec),  # :948
            self._rbd("snap", "protect", spec),  # :952
            self._rbd("clone", spec, f"{self._access.pool}/{self.image(clone)}"),  # :956
        ]

    def revert(self, vdi: str, snapshot: str) -> list[list[str]]:
        """Copies the snapshot's data."""
        words = ["--image", self.image(vdi), "--snap", f"snap-{snapshot}"]
        return [self._rbd("snap", "rollback", *words)]  # :1080

    def changed_blocks(self, image: str, older: str, newer: str) -> list[list[str]]:
        """Of any image. The reference has no such operation; this is the command for it."""
        return [self._rbd("diff", "--from-snap", older, f"{image}@{newer}", "--format", "json")]

    def objects(self) -> list[list[str]]:
        """The names of all objects. The reference does not count; this is the command that lists."""
        return [["rados", "--pool", self._access.pool, *self._identity, "ls", "--all"]]

    def run(self, commands: Sequence[Sequence[str]]) -> float:
        """Seconds that the commands take, one after the other."""
        began = time.perf_counter()
        for argv in commands:
            _run(argv, dict(os.environ))
        return time.perf_counter() - began

    def run_at_once(self, sequences: Sequence[Sequence[Sequence[str]]]) -> float:
        """Seconds of sequences that start at the same time."""
        began = time.perf_counter()
        with ThreadPoolExecutor(len(sequences)) as threads:
            list(threads.map(self.run, sequences))
        return time.perf_counter() - began

    def footprint(self, commands: Sequence[Sequence[str]]) -> Footprint:
        return _footprint(commands, dict(os.environ))

    def _data(self) -> list[str]:
        return ["--data-pool", self._access.data_pool] if self._access.data_pool else []

    def _ceph(self, *words: str) -> list[str]:
        return ["ceph", *self._identity, *words]

    def _rbd(self, *words: str) -> list[str]:
        return ["rbd", "--pool", self._access.pool, *self._identity, *words]


def _run(argv: Sequence[str], environment: dict[str, str], text: bytes = b"") -> bytes:
    done = subprocess.run(argv, env=environment, input=text, capture_output=True, timeout=DEADLINE, check=False)
    if done.returncode != 0:
        raise LabError(f"{' '.join(argv)}: exit status {done.returncode}: {done.stderr.decode(errors='replace')}")
    return done.stdout


def _footprint(commands: Sequence[Sequence[str]], environment: dict[str, str], text: bytes = b"") -> Footprint:
    """Run commands under strace. Returns what they execute, and how often they connect to a monitor."""
    processes = connections = 0
    for argv in commands:
        with tempfile.TemporaryDirectory() as directory:
            # One file for each thread: in a common one, interrupted calls have two lines.
            strace = ["strace", "-ff", "-qq", "-e", "trace=execve,connect", "-o", f"{directory}/trace", *argv]
            _run(strace, environment, text)
            lines = "".join(file.read_text(errors="replace") for file in Path(directory).iterdir())
        processes += len(re.findall(r"^execve\(.* = 0$", lines, re.MULTILINE))
        # Each connection has two calls: to connect, and to check that.
        connections += len(re.findall(r"^connect\(.*htons\(6789\).* EINPROGRESS", lines, re.MULTILINE))
    return Footprint(processes, connections)
