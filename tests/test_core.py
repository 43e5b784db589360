"""The core's classes and functions, called from Python without an SR, a cluster or XAPI."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.wheel import built_wheel, unpack

CEPHRBD = {"pool": "vms", "ceph_conf": "/nonexistent/ceph.conf"}
CRUCIBLE = {"volumes": "/nonexistent/volumes.toml"}
# Runs `body`, a function of the module, and prints its result, or the key and the text of its error.
PROGRAM = """
import json, sys, types, smblock
SR, VDI, HOST = ("%08d-0000-4000-8000-000000000000" % number for number in (1, 2, 3))
TOOLSTACK = types.SimpleNamespace(server_supervisor=["/bin/false"])
DISK = types.SimpleNamespace(label="x", description="", ty="user", read_only=False, shareable=False, managed=True,
                             metadata_of_pool="", is_a_snapshot=False, snapshot_time="")
def sr(sr_type, config):
    return smblock.Sr(sr_type, SR, HOST, config, TOOLSTACK)
try:
    print(json.dumps(eval(sys.argv[1])))
except smblock.Error as error:
    print(json.dumps([error.key, str(error)]))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(built_wheel(), tmp_path_factory.mktemp("core"))


def result(installed: Path, expression: str) -> Any:
    """The result of an expression, or the key and the text of the core's error."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}
    argv = [sys.executable, "-c", PROGRAM, expression]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("size", ["-1", "0", "2**63", "2**64", "2**200", "-2**200"])
def test_a_size_that_no_volume_can_have_is_refused_with_sms_error(installed: Path, size: str) -> None:
    key, text = result(installed, f"sr('crucible', {CRUCIBLE}).create_vdi(VDI, {size}, DISK)")
    assert key == "VDISize"
    assert "the size must be from 1 to 9223372036854775807 bytes" in text


def test_an_operation_that_a_type_lacks_names_the_capability(installed: Path) -> None:
    key, text = result(installed, f"sr('crucible', {CRUCIBLE}).snapshot_vdi(VDI, VDI)")
    assert (key, "VDI_SNAPSHOT" in text) == ("Unimplemented", True)
    assert text.startswith("SMB-P002: ")
    key, text = result(installed, f"sr('crucible', {CRUCIBLE}).require('fence')")
    assert (key, "smblock release" in text) == ("Unimplemented", True)
    assert result(installed, f"sr('cephrbd', {CEPHRBD}).require('fence')") is None


def test_an_unknown_sr_type_is_refused_with_those_that_exist(installed: Path) -> None:
    _, text = result(installed, f"sr('lvm', {CEPHRBD})")
    assert "cephrbd and crucible" in text
    assert text.startswith("SMB-P003: ")


def test_the_type_of_a_device_config_is_that_of_its_keys(installed: Path) -> None:
    assert result(installed, f"smblock.sr_type_of({CEPHRBD})") == "cephrbd"
    assert result(installed, f"smblock.sr_type_of({CRUCIBLE})") == "crucible"
    assert result(installed, "smblock.sr_type_of({})") == "cephrbd"


def test_a_disk_of_type_phy_is_served_by_blkback(installed: Path) -> None:
    for sr_type, config in (("cephrbd", CEPHRBD), ("crucible", CRUCIBLE)):
        assert result(installed, f"sr({sr_type!r}, {config}).sm_config") == {}
        phy = {**config, "datapath": "phy"}
        assert result(installed, f"sr({sr_type!r}, {phy}).sm_config") == {"backend-kind": "vbd"}
        key, _ = result(installed, f"sr({sr_type!r}, {phy}).attach(['aio'])")
        assert key == "InvalidArg"


def test_the_description_of_a_key_has_its_default(installed: Path) -> None:
    keys = dict(result(installed, "smblock.configuration('cephrbd')"))
    assert keys["pool"] == "Ceph pool that holds the disks (required)"
    assert keys["ceph_conf"] == "Ceph's configuration file on each host (default: /etc/ceph/ceph.conf)"
    assert keys["datapath"] == "aio (tapdisk) or phy (blkback) (default: aio)"
    keys = dict(result(installed, "smblock.configuration('crucible')"))
    assert keys["server"] == "Crucible's NBD server (default: /usr/local/bin/crucible-nbd-server)"


def test_an_sr_without_a_mapped_disk_is_unplugged_without_a_cluster(installed: Path) -> None:
    assert result(installed, f"sr('cephrbd', {CEPHRBD}).detach()") is None


@pytest.mark.parametrize(("sr_type", "config"), [("cephrbd", CEPHRBD), ("crucible", CRUCIBLE)])
def test_the_health_of_an_sr_that_cannot_be_read_is_down_with_the_reason(
    installed: Path, sr_type: str, config: dict[str, str]
) -> None:
    health = json.loads(result(installed, f"smblock._core.health_of(sr({sr_type!r}, {config}))"))
    (finding,) = health["findings"]
    assert (health["up"], health["sr_type"], finding["id"]) == (False, sr_type, "SMB-F105")
    assert "/nonexistent/" in finding["found"]
    assert [health[key] for key in ("size", "free", "disks")] == [None, None, 0]
