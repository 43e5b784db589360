"""An SR that is created without shared=true: its administrator gets an alert."""

from __future__ import annotations

import pytest

from lab.cephrbd import RbdPool
from lab.crucible import VOLUMES, CrucibleLab
from lab.xapi.lab_pool import LabPool

NAME = "SMBLOCK_SR_NOT_SHARED"


def alerts(lab: LabPool, sr: str) -> list[str]:
    with lab.xapi.session() as session:
        records = session.message.get_all_records().values()
    return [record["body"] for record in records if (record["name"], record["obj_uuid"]) == (NAME, sr)]


def forget(lab: LabPool, sr: str) -> None:
    for pbd in lab.list("pbd", f"sr-uuid={sr}"):
        lab.xe("pbd-unplug", f"uuid={pbd}")
    lab.xe("sr-forget", f"uuid={sr}")


@pytest.mark.parametrize("shared", [False, True])
def test_a_ceph_sr_without_shared_raises_an_alert_with_the_fix(rbd_pool: RbdPool, shared: bool) -> None:
    lab = rbd_pool.lab
    words = ["type=cephrbd", "name-label=alone", *rbd_pool.device_config, *(["shared=true"] if shared else [])]
    sr = lab.xe("sr-create", *words)
    found = alerts(lab, sr)
    forget(lab, sr)
    assert len(found) == (0 if shared else 1)
    for text in found:
        assert f"xe sr-param-set uuid={sr} shared=true" in text
        assert f"only host {lab.hosts[0].uuid} can use it" in text


def test_a_crucible_sr_without_shared_raises_an_alert(crucible_lab: CrucibleLab) -> None:
    crucible_lab.declare(crucible_lab.storage.create_volume("alone"))
    lab = crucible_lab.pool
    sr = lab.xe("sr-create", "type=crucible", "name-label=alone", f"device-config:volumes={VOLUMES}")
    found = alerts(lab, sr)
    forget(lab, sr)
    assert len(found) == 1
