"""An SR that is created without shared=true: its administrator gets an alert."""

from __future__ import annotations

import pytest

from lab.cephrbd import RbdPool
from lab.crucible import VOLUMES, CrucibleLab
from lab.xapi.lab_pool import LabPool
from tests.alarms import Alarm, alarms


def warnings(lab: LabPool, sr: str) -> list[Alarm]:
    return [alarm for alarm in alarms(lab, sr) if alarm.name == "smblock_sr_not_shared"]


def forget(lab: LabPool, sr: str) -> None:
    for pbd in lab.list("pbd", f"sr-uuid={sr}"):
        lab.xe("pbd-unplug", f"uuid={pbd}")
    lab.xe("sr-forget", f"uuid={sr}")


@pytest.mark.parametrize("shared", [False, True])
def test_a_ceph_sr_without_shared_raises_an_alert_with_the_fix(rbd_pool: RbdPool, shared: bool) -> None:
    lab = rbd_pool.lab
    words = ["type=cephrbd", "name-label=alone", *rbd_pool.device_config, *(["shared=true"] if shared else [])]
    sr = lab.xe("sr-create", *words)
    found = warnings(lab, sr)
    forget(lab, sr)
    assert len(found) == (0 if shared else 1)
    for alarm in found:
        assert f"xe sr-param-set uuid={sr} shared=true" in alarm.rows["fix"]
        assert f"only host {lab.hosts[0].uuid} can use it" in alarm.rows["problem"]


def test_a_crucible_sr_without_shared_raises_an_alert(crucible_lab: CrucibleLab) -> None:
    crucible_lab.declare(crucible_lab.storage.create_volume("alone"))
    lab = crucible_lab.pool
    sr = lab.xe("sr-create", "type=crucible", "name-label=alone", f"device-config:volumes={VOLUMES}")
    found = warnings(lab, sr)
    forget(lab, sr)
    assert len(found) == 1
