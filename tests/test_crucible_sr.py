"""An SR of Crucible volumes has the disks that are declared, and says what it cannot do."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.lab.crucible import VOLUMES, CrucibleLab, CrucibleSr, Volume, declaration

MIB = 1 << 20


@pytest.fixture(scope="module")
def volumes(crucible_lab: CrucibleLab) -> list[Volume]:
    return [crucible_lab.storage.create_volume(name) for name in ("web1 root", "web1 data")]


@pytest.fixture
def sr(crucible_lab: CrucibleLab, volumes: list[Volume]) -> Iterator[CrucibleSr]:
    crucible_lab.declare(*volumes)
    sr = crucible_lab.create_sr()
    yield sr
    sr.forget()


def test_an_sr_has_every_declared_volume_as_a_disk_of_its_uuid_name_and_size(
    sr: CrucibleSr, volumes: list[Volume]
) -> None:
    assert sr.vdis() == {volume.uuid for volume in volumes}
    assert sr.names() == {"web1 root", "web1 data"}
    assert {sr.lab.get("vdi", "virtual-size", vdi) for vdi in sr.vdis()} == {str(16 * MIB)}
    assert sr.get("physical-size") == str(32 * MIB)


def test_a_volume_that_is_declared_later_is_found_by_a_scan(
    sr: CrucibleSr, crucible_lab: CrucibleLab, volumes: list[Volume]
) -> None:
    crucible_lab.declare(volumes[0])
    sr.scan()
    assert sr.vdis() == {volumes[0].uuid}
    crucible_lab.declare(*volumes)
    sr.scan()
    assert sr.vdis() == {volume.uuid for volume in volumes}


def test_a_name_that_was_given_in_xapi_stays(sr: CrucibleSr, volumes: list[Volume]) -> None:
    sr.lab.xe("vdi-param-set", f"uuid={volumes[0].uuid}", "name-label=renamed")
    sr.scan()
    assert sr.names() == {"renamed", "web1 data"}


def test_a_declaration_with_a_mistake_takes_no_disk_away_and_the_error_has_its_line(
    sr: CrucibleSr, crucible_lab: CrucibleLab, volumes: list[Volume]
) -> None:
    text = declaration(volumes).replace("size = 16777216", "size = 16777217", 1)
    crucible_lab.pool.provide(VOLUMES, text.encode())
    complaint = sr.lab.refused("sr-scan", f"uuid={sr.uuid}")
    assert f"{VOLUMES}, line 4: " in complaint
    assert sr.vdis() == {volume.uuid for volume in volumes}


def test_an_administrator_is_told_once_when_a_target_goes_and_once_when_it_is_back(
    sr: CrucibleSr, volumes: list[Volume]
) -> None:
    sr.scan()
    before = messages(sr, volumes[0])
    volumes[0].stop(1)
    sr.scan()
    sr.scan()
    told = messages(sr, volumes[0])[len(before) :]
    assert [name for name, _ in told] == ["SMBLOCK_CRUCIBLE_DEGRADED"]
    assert f"down: {volumes[0].targets[1]}" in told[0][1]
    volumes[0].start(1)
    sr.scan()
    assert f"down: {volumes[0].targets[1]}" not in messages(sr, volumes[0])[-1][1]


def test_a_claim_that_is_made_while_a_scan_runs_is_not_lost(sr: CrucibleSr, volumes: list[Volume]) -> None:
    """SM removes what it does not know whenever it corrects a record; a wrong size makes it do so."""
    vdi = volumes[0].uuid
    claim = json.dumps({"vdi": vdi, "generation": 7, "host": "elsewhere", "boot_id": "b", "since": 0})
    with sr.lab.xapi.session() as session:
        ref = session.VDI.get_by_uuid(vdi)
        session.VDI.add_to_sm_config(ref, "crucible_claim_1", claim)
        session.VDI.set_virtual_size(ref, "1")
    sr.scan()
    assert sr.lab.get("vdi", "virtual-size", vdi) == str(16 * MIB)
    assert "crucible_claim_1" in sr.lab.get("vdi", "sm-config", vdi)


def test_a_disk_is_neither_made_nor_deleted_without_a_provisioner_and_the_reason_is_said(
    sr: CrucibleSr, volumes: list[Volume]
) -> None:
    size = f"virtual-size={16 * MIB}"
    complaint = sr.lab.refused("vdi-create", f"sr-uuid={sr.uuid}", "name-label=new", size)
    assert "not implemented" in complaint
    complaint = sr.lab.refused("vdi-destroy", f"uuid={volumes[0].uuid}")
    assert "declared in device-config:volumes" in complaint
    assert volumes[0].uuid in sr.vdis()


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({}, "device-config names no volumes"),
        ({"volumes": "/etc/smblock/none.toml"}, "cannot read /etc/smblock/none.toml"),
        ({"volumes": VOLUMES, "pool": "vms"}, "'pool' is unknown; the valid keys are: volumes"),
        ({"volumes": VOLUMES, "provisioner_password": "x"}, "a secret must not be in it"),
    ],
)
def test_a_device_config_that_cannot_work_makes_no_sr(
    crucible_lab: CrucibleLab, config: dict[str, str], complaint: str
) -> None:
    words = [f"device-config:{key}={value}" for key, value in config.items()]
    said = crucible_lab.pool.refused("sr-create", "type=crucible", "name-label=x", *words)
    assert complaint in said


def messages(sr: CrucibleSr, volume: Volume) -> list[tuple[str, str]]:
    """Names and texts of XAPI's messages about a disk, in the order in which they came."""
    with sr.lab.xapi.session() as session:
        records = session.message.get_all_records().values()
        about = [record for record in records if record["obj_uuid"] == volume.uuid]
    return [(record["name"], record["body"]) for record in about]
