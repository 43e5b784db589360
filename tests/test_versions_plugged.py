"""Two versions of smblock in one pool: a claim of either one keeps the other one off the disk, on real kernels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.cephrbd import CephRbdLab, CephSr, RbdPool
from lab.disk import MIB, Disk, read, write
from lab.dom0 import Dom0
from tests.releases import OLDEST, installed, running


@pytest.fixture(scope="module", autouse=True)
def _two_versions(
    guests: CephRbdLab, one: Dom0, driver_tree: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    with running(guests, one, installed(OLDEST, tmp_path_factory.mktemp("release")), driver_tree):
        yield


@pytest.fixture(scope="module")
def sr(guests_rbd_pool: RbdPool, serves_phy: bool) -> CephSr:
    if not serves_phy:
        pytest.skip("this SM connects no block devices")
    return guests_rbd_pool.create_sr("versions", "device-config:datapath=phy")


def test_a_claim_of_one_version_keeps_the_other_off_the_disk(sr: CephSr, one: Dom0, two: Dom0) -> None:
    disk = Disk.create(sr)
    data = b"kept" * (MIB // 4)
    with disk.plugged(one) as device:
        write(one, device, data)
        assert f"host {one.uuid} has claimed it" in disk.refusal(two, "vdi_activate", "true")
        # The master, with the present version, pauses the disk on its host and has it guarded there.
        snapshot = disk.snapshot()
        assert not disk.is_paused()
    assert disk.claimed_by() is None
    with disk.plugged(two) as device:
        assert read(two, device, MIB) == data
        assert f"host {two.uuid} has claimed it" in disk.refusal(one, "vdi_activate", "true")
        assert disk.traces(one) == []
    for each in (snapshot, disk):
        each.destroy()
