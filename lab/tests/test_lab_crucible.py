"""Tests of the lab's Crucible volumes, and of their servers on hosts."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab import keeper, run, wait_for
from lab.crucible import SERVER, VOLUMES, CrucibleLab, CrucibleStorage, Volume, crucible_bin
from lab.dom0 import Dom0

KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
NBD_PORT = 20000


class Server:
    """A volume's server on a host, and an NBD client."""

    def __init__(self, host: Dom0) -> None:
        self._host = host

    def state(self) -> str:
        """The state in the control server's reply; "" if it does not reply."""
        try:
            with urllib.request.urlopen(f"http://{self._host.address}:{NBD_PORT + 1}/info", timeout=5) as reply:
                return str(json.load(reply)["state"])
        except OSError:
            return ""

    def client(self, *commands: str) -> str:
        """Run qemu-io commands on the disk, as an independent NBD client."""
        words = [word for command in commands for word in ("-c", command)]
        url = f"nbd://{self._host.address}:{NBD_PORT}/rustnbd"
        return run(["qemu-io", "-f", "raw", *words, url], timeout=60, check=False).stdout.decode()


@contextmanager
def served(host: Dom0, volume: Volume, generation: int) -> Iterator[Server]:
    """A host runs the volume's server inside the `with` block."""
    words = [word for target in volume.targets for word in ("-t", target)]
    words += ["-g", str(generation), "--address", f"{host.address}:{NBD_PORT}"]
    words += ["--control", f"{host.address}:{NBD_PORT + 1}", *(["-k", volume.key] if volume.key else [])]
    # In the background; its pid is kept to end it.
    started = host.exec(
        ["sh", "-c", 'exec >/dev/null 2>&1 </dev/null; "$@" & echo $! >/run/server', "sh", SERVER, *words]
    )
    assert started.returncode == 0
    server = Server(host)
    try:
        wait_for(lambda: server.state() == "active", f"the server on {host.name}")
        yield server
    finally:
        host.exec(["sh", "-c", "kill -9 $(cat /run/server)"]).check()


def test_a_volume_written_on_one_host_is_read_on_the_next(crucible_lab: CrucibleLab, crucible: CrucibleStorage) -> None:
    one, two = crucible_lab.hosts
    volume = crucible.create_volume("disk", key=KEY)
    with served(one, volume, 1) as server:
        assert "wrote 1048576/1048576" in server.client("write -P 7 0 1M", "flush")
        volume.stop(1)
        assert "wrote 4096/4096" in server.client("write -P 9 1M 4k", "flush")
        volume.start(1)
        with served(two, volume, 2) as fencing:
            wait_for(lambda: server.state() == "initializing", "the first server to be fenced")
            assert "read failed: Input/output error" in server.client("read 0 4k")
            read = fencing.client("read -P 7 0 1M", "read -P 9 1M 4k")
            assert read.count("bytes at offset") == 2
            assert "verification failed" not in read


def test_a_new_volume_reads_as_zeros_after_other_reads(crucible_lab: CrucibleLab, crucible: CrucibleStorage) -> None:
    volume = crucible.create_volume("disk")
    with served(crucible_lab.hosts[0], volume, 1) as server:
        read = server.client("write -P 7 0 64k", "read -P 7 0 64k", "read -P 0 64k 64k")
        assert read.count("bytes at offset") == 3
        assert "verification failed" not in read


def test_every_host_has_the_file_of_static_volumes(crucible_lab: CrucibleLab, crucible: CrucibleStorage) -> None:
    volume = crucible.create_volume("web1 root", key=KEY)
    crucible_lab.declare(volume)
    for host in crucible_lab.hosts:
        text = host.get(VOLUMES).decode()
        assert volume.uuid in text
        assert str(volume.targets).replace("'", '"') in text.replace("'", '"')
        assert KEY not in text
        assert host.get(f"/etc/smblock/{volume.uuid}.key").decode() == KEY


@pytest.mark.parametrize("mode", ["rw", "ro"])
def test_closed_storage_leaves_neither_files_nor_processes(tmp_path: Path, mode: str) -> None:
    with CrucibleStorage(tmp_path / "storage", crucible_bin()) as storage:
        volume = storage.create_volume("disk")
        volume.stop(0)
        volume.start(0, mode)
        assert len(keeper.processes_naming(storage.token)) >= 3
    assert keeper.processes_naming(storage.token) == []
    assert list(tmp_path.iterdir()) == []
