"""Crucible volumes, their downstairs, and a pool of hosts with the driver for them.

The programs are those of lab/crucible-sim, or Crucible's own from the directory that
CRUCIBLE_BIN names.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.request
import uuid as uuids
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from lab import LabError, keeper, run, wait_for
from lab.dom0 import Dom0
from lab.keeper import Keeper
from lab.ports import AddressLease
from lab.sr import LabSr
from lab.vdi import Vdi
from lab.xapi.lab_pool import LabPool

SERVER = "/usr/local/bin/crucible-nbd-server"
VOLUMES = "/etc/smblock/volumes.toml"
BLOCK = 4096
EXTENT_BLOCKS = 1024
REPAIR_PORT_OFFSET = 4000

_FIRST_PORT = 3810
_REPOSITORY = Path(__file__).resolve().parents[1]
_BUILD_SECONDS = 600.0


def crucible_bin() -> Path:
    """The directory of Crucible's programs: CRUCIBLE_BIN, or the simulator's, built if needed."""
    named = os.environ.get("CRUCIBLE_BIN")
    if named:
        return Path(named)
    manifest = f"--manifest-path={_REPOSITORY}/Cargo.toml"
    # The whole workspace, as `make test` builds it: with other features, cargo would build the crates again.
    run(["cargo", "build", "--quiet", "--locked", manifest, "--workspace", "--bins"], timeout=_BUILD_SECONDS)
    return Path(os.environ.get("CARGO_TARGET_DIR", _REPOSITORY / "target")) / "debug"


@dataclass
class Volume:
    """A volume of three regions, each with a downstairs that can be stopped and started again.

    `size` is in bytes, a multiple of an extent's 4 MiB; `key` in base64, None without encryption.
    """

    storage: CrucibleStorage
    uuid: str
    name: str
    size: int
    first_port: int
    key: str | None = None
    _downstairs: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def targets(self) -> list[str]:
        """Where its downstairs listen, ADDRESS:PORT; the same for every host."""
        return [f"{self.storage.address}:{self.first_port + index}" for index in range(3)]

    def stop(self, index: int) -> None:
        """Kill one downstairs."""
        process = self._downstairs[index]
        if not keeper.kill(process.pid, self.storage.token, signal.SIGKILL):
            raise LabError(f"downstairs {self.targets[index]}: not running")
        process.wait()

    def start(self, index: int, mode: str = "rw", region: Path | None = None) -> None:
        """Start one downstairs, writable or read-only ("ro"), and wait until it replies.

        It serves `region`, or its own.
        """
        port = self.first_port + index
        directory = str(region or self.region(index))
        process = self.storage.popen(
            "run", "-a", self.storage.address, "-p", str(port), "-d", directory, "--mode", mode
        )
        self._downstairs[index : index + 1] = [process]
        wait_for(lambda: _replies(self.storage.address, port), f"downstairs {self.targets[index]}")

    def freeze(self, index: int) -> None:
        """Freeze one downstairs; its kernel still accepts connections."""
        self._downstairs[index].send_signal(signal.SIGSTOP)

    def thaw(self, index: int) -> None:
        """Resume a frozen downstairs."""
        self._downstairs[index].send_signal(signal.SIGCONT)

    def create(self) -> None:
        """Make the regions and start all downstairs.

        A block that was never written reads as stale data of the server's last request. So an administrator
        writes a new volume once before it is used, here with zeros.  Without the server this works only
        without encryption.
        """
        words = ["--block-size", str(BLOCK), "--extent-size", str(EXTENT_BLOCKS)]
        words += ["--extent-count", str(self.size // (BLOCK * EXTENT_BLOCKS))]
        zeros = self.storage.directory / "zeros"
        with zeros.open("wb") as sparse:
            sparse.truncate(self.size)
        words += ["--encrypted"] if self.key else ["--import-path", str(zeros)]
        for index in range(3):
            self.storage.downstairs("create", "-d", str(self.region(index)), "-u", str(uuids.uuid4()), *words)
            self.start(index)

    def region(self, index: int) -> Path:
        """The directory of one copy."""
        return self.storage.directory / self.uuid / str(index)


class CrucibleStorage:
    """Storage for volumes: three downstairs for each, on one address, while the `with` block lasts.

    directory      a directory of its own; created, and removed at the end
    binaries       the directory of Crucible's programs, or the simulator's
    """

    def __init__(self, directory: Path, binaries: Path) -> None:
        self.directory = directory.resolve()
        self.binaries = binaries
        self.token = str(self.directory / "downstairs")
        self._lease: AddressLease | None = None
        self._keeper: Keeper | None = None
        self._volumes = 0

    def __enter__(self) -> Self:
        self._lease = AddressLease()
        self._keeper = Keeper(self.directory, self.token)
        return self

    def __exit__(self, *_raised: object) -> None:
        guard, self._keeper = self._keeper, None
        lease, self._lease = self._lease, None
        keeper.close(guard, lease)

    @property
    def address(self) -> str:
        """The loopback address that all downstairs listen on; hosts with kernels reach it, too."""
        if self._lease is None:
            raise LabError(f"{self.directory}: the storage is not up")
        return self._lease.address

    def create_volume(self, name: str, size: int = 16 << 20, key: str | None = None) -> Volume:
        """A volume whose three downstairs run."""
        first_port = _FIRST_PORT + 3 * self._volumes
        self._volumes += 1
        volume = Volume(self, str(uuids.uuid4()), name, size, first_port, key)
        volume.create()
        return volume

    def downstairs(self, *words: str) -> bytes:
        """Run `crucible-downstairs WORDS` to its end. Returns its output."""
        return run([self.binaries / "crucible-downstairs", *words], timeout=60).stdout

    def popen(self, *words: str) -> subprocess.Popen[bytes]:
        """Start `crucible-downstairs WORDS`, which ends with the storage."""
        with (self.directory / "log").open("ab") as log:
            return subprocess.Popen(
                # The keeper finds the process by this name.
                [self.token, *words],
                executable=self.binaries / "crucible-downstairs",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )


class CrucibleLab:
    """A pool of hosts that have Crucible's server and a file of static volumes."""

    def __init__(self, pool: LabPool, storage: CrucibleStorage) -> None:
        self.pool = pool
        self.storage = storage
        pool.provide(SERVER, (storage.binaries / "crucible-nbd-server").read_bytes(), mode=0o755)

    @property
    def hosts(self) -> list[Dom0]:
        """Those of the pool."""
        return self.pool.hosts

    def declare(self, *volumes: Volume) -> None:
        """Write the file of static volumes on every host, with exactly these volumes."""
        for volume in volumes:
            if volume.key is not None:
                self.pool.provide(_key_file(volume), volume.key.encode(), mode=0o600)
        self.pool.provide(VOLUMES, declaration(volumes).encode())

    def create_sr(self, name: str = "crucible", **device_config: str) -> CrucibleSr:
        """`xe sr-create` of the static volumes, shared by all hosts."""
        config = {"volumes": VOLUMES, **device_config}
        words = [f"device-config:{key}={value}" for key, value in config.items()]
        uuid = self.pool.xe("sr-create", "type=crucible", "shared=true", f"name-label={name}", *words)
        return CrucibleSr(self.pool, uuid)


@dataclass(frozen=True)
class CrucibleSr(LabSr):
    """An SR of Crucible volumes."""

    pool: LabPool
    uuid: str

    @property
    def lab(self) -> LabPool:
        return self.pool

    def destroy(self) -> None:
        self.unplug()
        self.lab.xe("sr-destroy", f"uuid={self.uuid}")


def sm_config(disk: Vdi[CrucibleSr]) -> dict[str, str]:
    """As XAPI's database has it."""
    with disk.sr.lab.xapi.session() as session:
        return dict(session.VDI.get_sm_config(session.VDI.get_by_uuid(disk.uuid)))


def open_claims(disk: Vdi[CrucibleSr]) -> list[int]:
    """The generations of the claims on a disk that are not released."""
    entries = sm_config(disk)
    claims = [json.loads(value)["generation"] for key, value in entries.items() if key.startswith("crucible_claim_")]
    return [generation for generation in claims if f"crucible_released_{generation}" not in entries]


def declaration(volumes: Sequence[Volume]) -> str:
    """The text of a file of static volumes."""
    return "".join(_table(volume) for volume in volumes)


def _table(volume: Volume) -> str:
    entries: dict[str, Any] = {
        "uuid": volume.uuid,
        "name": volume.name,
        "size": volume.size,
        "targets": volume.targets,
    }
    if volume.key is not None:
        entries["key_file"] = _key_file(volume)
    lines = [f"{key} = {value!r}" for key, value in entries.items()]
    return "\n".join(["[[volume]]", *lines, "", ""])


def _key_file(volume: Volume) -> str:
    return f"/etc/smblock/{volume.uuid}.key"


def _replies(address: str, port: int) -> bool:
    url = f"http://{address}:{port + REPAIR_PORT_OFFSET}/region-mode"
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False
