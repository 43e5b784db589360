"""A Crucible volume is not served with a foreign region, a wrong key, a frozen target, or by two hosts."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from lab import wait_for
from lab.crucible import CrucibleLab, CrucibleSr, Volume, declaration, open_claims, sm_config
from lab.dom0 import Dom0
from lab.vdi import Vdi
from tests.alarms import alarms_after_check
from tests.test_crucible_sr import leaves_nothing

KEY = base64.b64encode(b"k" * 32).decode()
OTHER_KEY = base64.b64encode(b"o" * 32).decode()
# These hosts have no NBD in their kernel: an activation that fails for that has passed every check before.
AS_FAR_AS_THE_KERNEL = "connecting a device"
UNKNOWN = "9f0cf4b5-2a4c-4b7e-8f0b-6d9a6b1f7a01"


@pytest.fixture(scope="module")
def volume(crucible_lab: CrucibleLab) -> Volume:
    return crucible_lab.storage.create_volume("web1 root")


@pytest.fixture
def sr(crucible_lab: CrucibleLab, volume: Volume) -> Iterator[CrucibleSr]:
    crucible_lab.declare(volume)
    sr = crucible_lab.create_sr("safety")
    yield sr
    sr.forget()


@pytest.fixture
def disk(sr: CrucibleSr, volume: Volume) -> Vdi[CrucibleSr]:
    return Vdi(sr, volume.uuid)


@pytest.fixture
def host(crucible_lab: CrucibleLab) -> Dom0:
    return crucible_lab.hosts[0]


def refusal(disk: Vdi[CrucibleSr], host: Dom0) -> str:
    return disk.refusal(host, "vdi_activate", "true")


def digest(region: Path) -> str:
    """A digest of all data of one copy. Files of a region differ between Crucible's programs and the simulator's."""
    content = hashlib.sha256()
    for file in sorted(region.rglob("*")):
        if file.is_file():
            content.update(file.read_bytes())
    return content.hexdigest()


def test_another_volumes_region_behind_a_target_is_refused(
    disk: Vdi[CrucibleSr], volume: Volume, crucible_lab: CrucibleLab, host: Dom0
) -> None:
    assert AS_FAR_AS_THE_KERNEL in refusal(disk, host)
    other = crucible_lab.storage.create_volume("web2 root")
    other.stop(1)
    volume.stop(2)
    volume.start(2, region=other.region(1))
    before = [digest(region) for region in (volume.region(0), other.region(1))]
    with leaves_nothing(disk.sr, volume, host):
        complaint = refusal(disk, host)
    assert f"target {volume.targets[2]} serves region " in complaint
    assert "which is not one of this volume's" in complaint
    assert [digest(region) for region in (volume.region(0), other.region(1))] == before
    assert f"target {volume.targets[2]} serves region " in alarms_after_check(host, disk.sr)
    volume.stop(2)
    volume.start(2)
    assert AS_FAR_AS_THE_KERNEL in refusal(disk, host)


def test_declared_regions_are_compared_before_a_volume_was_ever_served(
    crucible_lab: CrucibleLab, volume: Volume, host: Dom0
) -> None:
    fresh = crucible_lab.storage.create_volume("web3 root")
    text = declaration([fresh]) + f"regions = {[UNKNOWN] * 3!r}\n"
    crucible_lab.pool.provide("/etc/smblock/volumes.toml", text.encode())
    sr = crucible_lab.create_sr("declared regions")
    with leaves_nothing(sr, fresh, host):
        complaint = refusal(Vdi(sr, fresh.uuid), host)
    assert complaint.count("which is not one of this volume's") == 3
    sr.forget()


def test_a_target_that_is_frozen_is_named_within_seconds_and_before_a_claim(
    disk: Vdi[CrucibleSr], volume: Volume, host: Dom0
) -> None:
    claims = {key for key in sm_config(disk) if key.startswith("crucible_claim_")}
    volume.freeze(1)
    try:
        begin = time.monotonic()
        with leaves_nothing(disk.sr, volume, host):
            complaint = refusal(disk, host)
        assert time.monotonic() - begin < 10, "including SM's start"
        text = alarms_after_check(host, disk.sr)
    finally:
        volume.thaw(1)
    assert f"target {volume.targets[1]} is down (it accepts connections and does not reply" in complaint
    assert f"down: {volume.targets[1]}" in text
    assert {key for key in sm_config(disk) if key.startswith("crucible_claim_")} == claims


def test_a_check_reports_that_a_declared_size_is_not_the_regions(
    disk: Vdi[CrucibleSr], volume: Volume, crucible_lab: CrucibleLab, host: Dom0
) -> None:
    crucible_lab.declare(replace(volume, size=2 * volume.size))
    text = alarms_after_check(host, disk.sr)
    assert f"target {volume.targets[0]} has a region of {volume.size} bytes" in text


def test_a_key_that_is_not_the_recorded_one_is_refused_at_once(crucible_lab: CrucibleLab, host: Dom0) -> None:
    volume = crucible_lab.storage.create_volume("secret", key=KEY)
    crucible_lab.declare(volume)
    sr = crucible_lab.create_sr("keys")
    disk = Vdi(sr, volume.uuid)
    fingerprint = _fingerprint(volume.uuid, KEY)
    with sr.lab.xapi.session() as session:
        record = json.dumps({"vdi": volume.uuid, "fingerprint": fingerprint})
        session.VDI.add_to_sm_config(session.VDI.get_by_uuid(volume.uuid), "crucible_key", record)
    assert AS_FAR_AS_THE_KERNEL in refusal(disk, host)
    crucible_lab.declare(replace(volume, key=OTHER_KEY))
    with leaves_nothing(sr, volume, host):
        complaint = refusal(disk, host)
    assert "its key is not the one that it was written with" in complaint
    assert KEY not in json.dumps(sm_config(disk))
    words = [f"--sr={sr.uuid}", f"--vdi={volume.uuid}", "device-config:volumes=/etc/smblock/volumes.toml"]
    assert sr.lab.admin("accept", *words).returncode == 2, "not without --yes"
    assert sr.lab.admin("accept", *words, "--yes").returncode == 0
    assert AS_FAR_AS_THE_KERNEL in refusal(disk, host)
    sr.forget()


def _fingerprint(vdi: str, key: str) -> str:
    """The fingerprint of a key, as in rust/crucible-host/src/key.rs."""
    uuid = bytes.fromhex(vdi.replace("-", ""))
    text = b"smblock fingerprint of a Crucible volume's key\n"
    return hashlib.sha256(text + uuid + base64.b64decode(key)).hexdigest()


def claim(disk: Vdi[CrucibleSr], host: str, boot_id: str, **more: str) -> None:
    """Write a host's claim on a disk to XAPI's database."""
    entries = {"vdi": disk.uuid, "generation": 1 << 40, "host": host, "boot_id": boot_id, "since": 0, **more}
    with disk.sr.lab.xapi.session() as session:
        ref = session.VDI.get_by_uuid(disk.uuid)
        for key in session.VDI.get_sm_config(ref):
            if key.startswith(("crucible_claim_", "crucible_released_")):
                session.VDI.remove_from_sm_config(ref, key)
        session.VDI.add_to_sm_config(ref, "crucible_claim_1", json.dumps(entries))


def boot_of(host: Dom0) -> str:
    return host.get("/proc/sys/kernel/random/boot_id").decode().strip()


@contextmanager
def command_running(host: Dom0, disk: Vdi[CrucibleSr]) -> Iterator[None]:
    """A command, such as a copy, works on the disk on that host inside the `with` block."""
    lock = f"/run/smblock/crucible/{disk.uuid}.lock"
    host.exec(["mkdir", "-p", "/run/smblock/crucible"]).check()
    with ThreadPoolExecutor() as beside:
        hold = f"touch {lock}.held; while [ -e {lock}.held ]; do sleep 0.1; done"
        held = beside.submit(host.exec, ["flock", lock, "sh", "-c", hold], timeout=120)
        wait_for(lambda: host.exec(["test", "-e", f"{lock}.held"]).returncode == 0, "the lock to be held")
        try:
            yield
        finally:
            host.exec(["rm", f"{lock}.held"]).check()
            held.result()


def test_a_living_host_releases_the_claim_of_a_killed_command_if_asked(
    disk: Vdi[CrucibleSr], crucible_lab: CrucibleLab
) -> None:
    one, two = crucible_lab.hosts
    claim(disk, two.uuid, boot_of(two))
    with command_running(two, disk):
        complaint = refusal(disk, one)
        assert "The host runs and uses the disk: unplug it there" in complaint
        assert open_claims(disk) == [1 << 40]
    assert AS_FAR_AS_THE_KERNEL in refusal(disk, one)
    assert open_claims(disk) == []
    claim(disk, two.uuid, boot_of(two))
    args = {"sr": disk.sr.uuid, "vdi": disk.uuid}
    with disk.sr.lab.xapi.session() as session:
        reply = session.host.call_plugin(session.host.get_by_uuid(two.uuid), "smblock", "settle", args)
    assert json.loads(reply) == {"boot_id": boot_of(two), "in_use": False, "datapath": None, "size": None}
    assert open_claims(disk) == [], "the host released its claim before it replied"


def test_a_host_publishes_its_boot_and_a_claim_of_an_earlier_one_is_over(
    disk: Vdi[CrucibleSr], crucible_lab: CrucibleLab
) -> None:
    one, two = crucible_lab.hosts
    claim(disk, two.uuid, boot_of(two))
    with command_running(two, disk):
        assert f"host {two.uuid} has claimed it" in refusal(disk, one)
    claim(disk, two.uuid, "an earlier boot")
    assert AS_FAR_AS_THE_KERNEL in refusal(disk, one)
    assert open_claims(disk) == []


def test_a_silent_host_keeps_its_claim_until_it_is_declared_dead(
    disk: Vdi[CrucibleSr], crucible_lab: CrucibleLab
) -> None:
    one, two = crucible_lab.hosts
    with disk.sr.lab.xapi.session() as session:
        ref = session.host.get_by_uuid(two.uuid)
        claim(disk, two.uuid, session.host.get_other_config(ref)["smblock_boot"])
        session.host_metrics.set_live(session.host.get_metrics(ref), False)
        try:
            complaint = refusal(disk, one)
            assert f"host {two.uuid} has claimed it" in complaint
            assert "cannot be asked whether it uses the disk: if it is down for good" in complaint
            assert f"xe host-declare-dead uuid={two.uuid}" in complaint
            session.host.add_to_other_config(ref, "smblock_declared_dead", "a test")
            assert AS_FAR_AS_THE_KERNEL in refusal(disk, one)
        finally:
            session.host.remove_from_other_config(ref, "smblock_declared_dead")
            session.host_metrics.set_live(session.host.get_metrics(ref), True)


def test_a_forgotten_hosts_claim_is_over_but_not_that_of_another_pool(
    disk: Vdi[CrucibleSr], crucible_lab: CrucibleLab
) -> None:
    one = crucible_lab.hosts[0]
    claim(disk, UNKNOWN, "b", pool="another pool")
    complaint = refusal(disk, one)
    assert f"host {UNKNOWN} of pool another pool has claimed it" in complaint
    assert "smblock release --sr=UUID" in complaint
    with disk.sr.lab.xapi.session() as session:
        (pool,) = session.pool.get_all_records().values()
    claim(disk, UNKNOWN, "b", pool=pool["uuid"])
    assert AS_FAR_AS_THE_KERNEL in refusal(disk, one)


def test_a_scan_releases_what_a_killed_command_of_its_host_has_claimed(
    disk: Vdi[CrucibleSr], crucible_lab: CrucibleLab
) -> None:
    master = crucible_lab.hosts[0]
    claim(disk, master.uuid, master.get("/proc/sys/kernel/random/boot_id").decode().strip())
    disk.sr.scan()
    assert open_claims(disk) == []
