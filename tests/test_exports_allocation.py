"""Which parts of an export are holes, as Ceph has them: by the real cluster, with a file in the place of the device."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import wait_for
from lab.cephrbd import CephSr
from lab.disk import MIB, Disk
from lab.dom0 import Dom0
from lab.tree import SM_DIR
from tests.exports_pool import CONF, PORT, client

SIZE = 16 * MIB


@pytest.fixture
def host(sr: CephSr) -> Iterator[Dom0]:
    """A host with a server."""
    host = sr.lab.hosts[0]
    host.put(CONF, f"[export]\nlisten = {host.address}\n".encode())
    host.exec(["sh", "-c", f"setsid {SM_DIR}/smblock-export-server </dev/null >/dev/null 2>&1 &"]).check()
    wait_for(lambda: host.exec(["test", "-S", "/run/smblock/export/control"]).returncode == 0, "the server")
    # The keeper ends what XAPI does not have: its first look is over.
    wait_for(lambda: host.exec(["test", "-e", "/run/smblock/export/changing"]).returncode == 0, "the keeper")
    yield host
    host.exec(["pkill", "-f", "smblock-export-server"]).check()


def parts(host: Dom0, disk: Disk, file: Path, **storage: Any) -> list[tuple[int, int, int]]:
    """What a client gets: offset and length in MiB, and the state, of each part."""
    file.write_bytes(bytes(SIZE))
    config = {"pool": disk.sr.pool.name, "user": disk.sr.pool.user}
    if disk.sr.pool.namespace:
        config["namespace"] = disk.sr.pool.namespace
    facts = {"vdi": disk.uuid, "name": disk.uuid, "device": str(file), "read_only": False}
    image = disk.record()["volume"]["image"]["id"]
    facts["storage"] = {"device_config": config, "image_id": image, "snapshot_id": None, **storage}
    host.put(f"/run/smblock/export/exports/{disk.uuid}.json", json.dumps(facts).encode())
    shown = json.loads(client("nbdinfo", "--map", "--json", f"nbd://{host.address}:{PORT}/{disk.uuid}"))
    return [(part["offset"] // MIB, part["length"] // MIB, part["type"]) for part in shown]


def test_holes_of_an_image_are_holes_for_a_client(host: Dom0, sr: CephSr, tmp_path: Path) -> None:
    disk = Disk.create(sr, SIZE)
    file = tmp_path / "device"
    assert parts(host, disk, file) == [(0, 16, 3)]
    # One MiB in the second object.
    bench = ("bench", "--io-type", "write", "--io-size", "1M", "--io-total", "1M", "--io-threads", "1")
    sr.lab.ceph.rbd(*bench, disk.image)
    assert parts(host, disk, file) == [(0, 4, 0), (4, 12, 3)]
    # A clone has its parent's data.
    clone = disk.snapshot().clone()
    assert parts(host, clone, file) == [(0, 4, 0), (4, 12, 3)]


def test_holes_of_an_image_in_a_namespace(host: Dom0, sr: CephSr, tmp_path: Path) -> None:
    disk = Disk.create(sr.pool.tenant("exports").create_sr("tenant"), SIZE)
    assert parts(host, disk, tmp_path / "device") == [(0, 16, 3)]


def test_all_is_data_if_ceph_cannot_be_asked(host: Dom0, sr: CephSr, tmp_path: Path) -> None:
    disk = Disk.create(sr, SIZE)
    assert parts(host, disk, tmp_path / "device", image_id="none") == [(0, 16, 0)]
    other = Disk.create(sr, SIZE)
    assert parts(host, other, tmp_path / "device", device_config={"pool": "no-such-pool"}) == [(0, 16, 0)]
