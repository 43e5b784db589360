"""A Crucible volume has the same data on each host, and at most one host serves it.  On hosts with a real kernel."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab import wait_for
from lab.crucible import CrucibleLab, CrucibleSr, Volume, open_claims, sm_config
from lab.dom0 import Dom0
from lab.vdi import MIB, Vdi, read, write
from tests.alarms import Alarm, alarms, check_srs

RUN = "/run/smblock/crucible"
KEPT = b"kept" * (MIB // 4)


@pytest.fixture(scope="module")
def volume(crucible_guests: CrucibleLab) -> Volume:
    """An encrypted volume."""
    key = base64.b64encode(os.urandom(32)).decode()
    return crucible_guests.storage.create_volume("web1 root", key=key)


@pytest.fixture(scope="module")
def sr(crucible_guests: CrucibleLab, volume: Volume) -> Iterator[CrucibleSr]:
    crucible_guests.declare(volume)
    sr = crucible_guests.create_sr()
    yield sr
    sr.forget()


@pytest.fixture
def disk(sr: CrucibleSr, volume: Volume) -> Vdi[CrucibleSr]:
    return Vdi(sr, volume.uuid)


@pytest.mark.slow  # test_crucible_safety.py refuses a second host; make test-crucible
def test_a_vms_disk_migrates_with_it_and_one_host_at_a_time_serves_it(
    disk: Vdi[CrucibleSr], one: Dom0, two: Dom0
) -> None:
    lab = disk.sr.lab
    vm = lab.xe("vm-create", "name-label=guest")
    vbd = disk.attach_to(vm)
    lab.xe("vm-start", f"uuid={vm}", f"on={one.name}")
    written = os.urandom(2 * MIB)
    write(one, disk.device(one, vbd), written)
    complaint = disk.refusal(two, "vdi_activate", "true")
    assert f"is in use on host {one.name} ({one.uuid})" in complaint
    lab.xe("vm-migrate", f"uuid={vm}", f"host-uuid={two.uuid}")
    assert traces(disk, one) == []
    assert read(two, disk.device(two, vbd), 2 * MIB) == written
    lab.xe("vm-shutdown", f"uuid={vm}", "force=true")
    lab.xe("vm-destroy", f"uuid={vm}")
    assert traces(disk, two) == []
    assert open_claims(disk) == []


def test_a_disk_whose_server_dies_fails_at_once_and_loses_no_data(disk: Vdi[CrucibleSr], one: Dom0) -> None:
    zeros = ["dd", "if=/dev/zero", "bs=1M", "count=1", "oflag=direct"]
    with disk.plugged(one) as device, ThreadPoolExecutor() as beside:
        write(one, device, KEPT)
        one.exec(["sync", device]).check()
        server = str(json.loads(one.get(f"{RUN}/{disk.uuid}/state.json"))["server"]["pid"])
        one.exec(["kill", "-STOP", server]).check()
        on_its_way = beside.submit(one.exec, [*zeros, f"of={device}"], timeout=120)
        wait_for(lambda: requests_under_way(one) > 0, "the write to wait for the server")
        one.exec(["kill", "-KILL", server]).check()
        killed = time.monotonic()
        failed = on_its_way.result()
        assert time.monotonic() - killed < 30, "the kernel alone would take an hour"
        assert b"Input/output error" in failed.stderr
        assert one.exec([*zeros, f"of={device}"]).returncode != 0, "new writes fail, too"
        wait_for(lambda: bool(server_alarms(disk, one)), "the alarm about the server's death")
    with disk.plugged(one) as device:
        assert read(one, device, MIB) == KEPT


@pytest.mark.slow  # the next test has a wrong key, too
def test_a_disk_is_refused_with_another_key_and_leaves_nothing_behind(disk: Vdi[CrucibleSr], one: Dom0) -> None:
    key_file = f"/etc/smblock/{disk.uuid}.key"
    right = one.get(key_file)
    with disk.plugged(one) as device:
        write(one, device, KEPT)
    one.put(key_file, base64.b64encode(os.urandom(32)), 0o600)
    complaint = disk.refusal(one, "vdi_activate", "true")
    one.put(key_file, right, 0o600)
    assert "its key is not the one that it was written with" in complaint
    assert traces(disk, one) == []
    assert open_claims(disk) == []


def test_a_wrong_key_is_refused_within_seconds_before_any_key_is_recorded(disk: Vdi[CrucibleSr], one: Dom0) -> None:
    key_file = f"/etc/smblock/{disk.uuid}.key"
    right = one.get(key_file)
    with disk.plugged(one) as device:
        write(one, device, KEPT)
    with disk.sr.lab.xapi.session() as session:
        session.VDI.remove_from_sm_config(session.VDI.get_by_uuid(disk.uuid), "crucible_key")
    one.put(key_file, base64.b64encode(os.urandom(32)), 0o600)
    begin = time.monotonic()
    complaint = disk.refusal(one, "vdi_activate", "true")
    took = time.monotonic() - begin
    one.put(key_file, right, 0o600)
    assert "its server has ended" in complaint or "Input/output error" in complaint
    assert "the volume's key may be another than it was written with" in complaint
    assert took < 25, "the kernel alone waits for 30 s"
    assert "crucible_key" not in sm_config(disk), "a key that cannot read the volume is not recorded"
    assert traces(disk, one) == []
    with disk.plugged(one) as device:
        assert read(one, device, MIB) == KEPT
    assert "crucible_key" in sm_config(disk)


def test_the_next_check_reports_a_frozen_target_of_a_plugged_disk(
    disk: Vdi[CrucibleSr], volume: Volume, one: Dom0
) -> None:
    with disk.plugged(one) as device:
        volume.freeze(0)
        try:
            write(one, device, KEPT)
            check_srs(disk.sr.lab.hosts[0], disk.sr)
            texts = [alarm.text for alarm in alarms(disk.sr.lab, disk.sr.uuid)]
        finally:
            volume.thaw(0)
        assert any(f"down: {volume.targets[0]}" in text for text in texts)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_hundred_plugs_leave_nothing_behind(disk: Vdi[CrucibleSr], one: Dom0, two: Dom0) -> None:
    for _ in range(50):
        for host in (one, two):
            with disk.plugged(host):
                pass
    for host in (one, two):
        assert traces(disk, host) == []
    assert open_claims(disk) == []
    assert len(sm_config(disk)) <= 3


def traces(disk: Vdi[CrucibleSr], host: Dom0) -> list[str]:
    """What a host has of a disk: server processes, run directories, records and links of devices."""
    found = host.exec(["find", "/dev/sm", "/run/blktap-control", RUN, "/run/smblock/nbd", "-name", f"*{disk.uuid}*"])
    processes = host.exec(["pgrep", "-af", "crucible-nbd-server|smblock-crucible-server"])
    lines = (found.stdout + processes.stdout).decode().splitlines()
    return sorted(line for line in lines if not line.endswith(".lock"))


def requests_under_way(host: Dom0) -> int:
    """The number of requests of a host's NBD devices that have no reply yet."""
    counts = host.exec(["sh", "-c", "cat /sys/block/nbd*/inflight"]).check().split()
    return sum(map(int, counts))


def server_alarms(disk: Vdi[CrucibleSr], host: Dom0) -> list[Alarm]:
    """The alarms about the server of the disk on a host."""
    found = alarms(disk.sr.lab, host.uuid)
    return [alarm for alarm in found if alarm.name == "smblock_crucible_server" and disk.uuid in alarm.text]
