"""A snapshot over NBD, as Xen Orchestra reads it.

In a pool, xapi-nbd serves it: it plugs the snapshot read-only into the control domain of its host, and serves the
device under the name `/UUID?session_id=…` (xen-api e2ee48d688, ocaml/nbd/src/main.ml:37-57 and 79).  Here qemu's
server has its place, without TLS and sessions.  The client is libnbd.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from lab import run
from lab.disk import Disk
from lab.dom0 import Dom0

# Offset and length in bytes.
Extent = tuple[int, int]
# Reads extents of a snapshot, one behind the other.
Read = Callable[[Sequence[Extent]], bytes]
Reader = Callable[[Disk], AbstractContextManager[Read]]
# Executes a command. Its second argument is the input. Returns the output.
Execute = Callable[[Sequence[str], bytes], bytes]

_SECONDS = 120
# libnbd is a module of the system's Python.
_CLIENT = """
import sys, nbd
h = nbd.NBD()
h.set_export_name(sys.argv[2])
h.connect_unix(sys.argv[1])
assert h.is_read_only()
for line in sys.stdin:
    offset, length = map(int, line.split())
    sys.stdout.buffer.write(h.pread(length, offset))
h.shutdown()
"""


@contextmanager
def unplugged(snapshot: Disk) -> Iterator[Read]:
    """Reads a snapshot for hosts without a kernel: a file with its data has the place of the device."""
    with tempfile.TemporaryDirectory(prefix="nbd-") as name:
        file = Path(name) / "snapshot"
        file.write_bytes(snapshot.export())
        with _served(_here, snapshot, str(file), f"{name}/socket") as read:
            yield read


def plugged(host: Dom0) -> Reader:
    """Reads snapshots as xapi-nbd of that host serves them: from the device of its control domain."""

    def execute(argv: Sequence[str], data: bytes) -> bytes:
        return host.exec(argv, input=data, timeout=_SECONDS).check()

    @contextmanager
    def reader(snapshot: Disk) -> Iterator[Read]:
        with (
            snapshot.plugged(host, "RO") as device,
            _served(execute, snapshot, device, f"/run/nbd-{snapshot.uuid}") as read,
        ):
            yield read

    return reader


def _here(argv: Sequence[str], data: bytes) -> bytes:
    return run(argv, timeout=_SECONDS, input=data).stdout


@contextmanager
def _served(execute: Execute, snapshot: Disk, source: str, socket: str) -> Iterator[Read]:
    name, process = f"/{snapshot.uuid}", f"{socket}.pid"
    server = ["qemu-nbd", "--fork", "--persistent", "--read-only", "--format=raw", "--cache=none"]
    execute([*server, f"--socket={socket}", f"--pid-file={process}", f"--export-name={name}", source], b"")

    def read(extents: Sequence[Extent]) -> bytes:
        lines = "".join(f"{offset} {length}\n" for offset, length in extents)
        return execute(["/usr/bin/python3", "-c", _CLIENT, socket, name], lines.encode())

    try:
        yield read
    finally:
        # The device is free when it has ended. It takes a second to end by itself.
        end = f'pid=$(cat {process}); kill -9 "$pid"; while kill -0 "$pid"; do sleep 0.01; done 2>&-; rm {socket}'
        execute(["sh", "-c", end], b"")
