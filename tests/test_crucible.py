"""A Crucible volume that is plugged into a host holds what was written to it anywhere, and one host
at most serves it.  On hosts with a real kernel."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.lab.crucible import CrucibleLab, CrucibleSr, Volume
from tests.lab.dom0 import Dom0
from tests.lab.vdi import MIB, Vdi, read, write

RUN = "/run/smblock/crucible"


@pytest.fixture(scope="module")
def volume(crucible_guests: CrucibleLab) -> Volume:
    return crucible_guests.storage.create_volume("web1 root")


@pytest.fixture(scope="module")
def sr(crucible_guests: CrucibleLab, volume: Volume) -> Iterator[CrucibleSr]:
    crucible_guests.declare(volume)
    sr = crucible_guests.create_sr()
    yield sr
    sr.forget()


@pytest.fixture
def disk(sr: CrucibleSr, volume: Volume) -> Vdi[CrucibleSr]:
    return Vdi(sr, volume.uuid)


def test_a_disk_written_on_one_host_is_read_on_the_other_and_leaves_nothing_behind(
    disk: Vdi[CrucibleSr], one: Dom0, two: Dom0
) -> None:
    written = os.urandom(2 * MIB)
    with disk.plugged(one) as device:
        write(one, device, written)
        disk.forget_tags()
        complaint = disk.refusal(two, "vdi_activate", "true")
        assert f"host {one.uuid} has claimed it" in complaint
    with disk.plugged(two) as device:
        assert read(two, device, 3 * MIB) == written + bytes(MIB)
    assert traces(disk, one) == []
    assert traces(disk, two) == []
    assert open_claims(disk) == []


def traces(disk: Vdi[CrucibleSr], host: Dom0) -> list[str]:
    """What a host has of a disk: server processes, run folders, records and links of devices."""
    found = host.exec(["find", "/dev/sm", "/run/blktap-control", RUN, "/run/smblock/nbd", "-name", f"*{disk.uuid}*"])
    processes = host.exec(["pgrep", "-af", "crucible-nbd-server|smblock-crucible-server"])
    lines = (found.stdout + processes.stdout).decode().splitlines()
    return sorted(line for line in lines if not line.endswith(".lock"))


def open_claims(disk: Vdi[CrucibleSr]) -> list[str]:
    """The claims on a disk that are not released, as XAPI's database has them."""
    with disk.sr.lab.xapi.session() as session:
        sm_config = session.VDI.get_sm_config(session.VDI.get_by_uuid(disk.uuid))
    claims = [value for key, value in sm_config.items() if key.startswith("crucible_claim_")]
    released = {key.rpartition("_")[2] for key in sm_config if key.startswith("crucible_released_")}
    return [claim for claim in claims if claim.partition('"generation":')[2].partition(",")[0] not in released]
