"""An SR of Crucible volumes has its static volumes as disks, and names what it does not support."""

from __future__ import annotations

import base64
import json
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest

from lab import wait_for
from lab.crucible import SERVER, VOLUMES, CrucibleLab, CrucibleSr, Volume, declaration
from lab.dom0 import Completed, Dom0
from lab.sm_source import SM_DIR
from lab.vdi import Vdi
from tests.alarms import Alarm, alarms, check_srs

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


def test_doctor_and_status_show_a_crucible_sr(sr: CrucibleSr, crucible_lab: CrucibleLab, volumes: list[Volume]) -> None:
    def kinds() -> dict[str, str]:
        report = json.loads(sr.lab.admin("doctor", sr.uuid, "--json").stdout)
        return {each["id"]: each["object"] for each in report["findings"] if each["id"] >= "SMB-F100"}

    # The lab's storage is one machine.
    assert set(kinds()) == {"SMB-F312"}
    crucible_lab.declare(volumes[0])
    assert kinds()["SMB-F325"] == f"VDI {volumes[1].uuid}"
    crucible_lab.declare(*volumes)
    (seen,) = json.loads(sr.lab.admin("status", sr.uuid, "--json").check())
    assert (seen["sr_type"], seen["disks"], seen["claims"]) == ("crucible", 2, {})
    places = json.loads(sr.lab.admin("vdi", "list", sr.uuid, "--json").check())
    assert {place["uuid"] for place in places} == sr.vdis()


def test_a_name_that_was_given_in_xapi_stays(sr: CrucibleSr, volumes: list[Volume]) -> None:
    sr.lab.xe("vdi-param-set", f"uuid={volumes[0].uuid}", "name-label=renamed")
    sr.scan()
    assert sr.names() == {"renamed", "web1 data"}


def test_a_mistake_in_the_volumes_file_names_its_line_and_drops_no_disk(
    sr: CrucibleSr, crucible_lab: CrucibleLab, volumes: list[Volume]
) -> None:
    text = declaration(volumes).replace("size = 16777216", "size = 16777217", 1)
    crucible_lab.pool.provide(VOLUMES, text.encode())
    complaint = sr.lab.refused("sr-scan", f"uuid={sr.uuid}")
    assert f"{VOLUMES}, line 4: " in complaint
    assert sr.vdis() == {volume.uuid for volume in volumes}


def test_a_check_raises_one_alarm_while_a_target_is_down(sr: CrucibleSr, volumes: list[Volume]) -> None:
    hosts = sr.lab.hosts
    check_srs(hosts[0], sr)
    before = redundancy(sr)
    volumes[0].stop(1)
    try:
        for host in (hosts[1], hosts[0], hosts[0]):
            check_srs(host, sr)
        (alarm,) = redundancy(sr)
        assert f"down: {volumes[0].targets[1]}" in alarm.rows["problem"]
        assert volumes[0].uuid in alarm.rows["problem"]
        assert alarm != before
    finally:
        volumes[0].start(1)
    check_srs(hosts[0], sr)
    assert not any(f"down: {volumes[0].targets[1]}" in alarm.text for alarm in redundancy(sr))


def redundancy(sr: CrucibleSr) -> list[Alarm]:
    return [alarm for alarm in alarms(sr.lab, sr.uuid) if alarm.name == "smblock_crucible_degraded"]


def test_a_claim_that_is_made_while_a_scan_runs_is_not_lost(sr: CrucibleSr, volumes: list[Volume]) -> None:
    """When SM corrects a record, it removes keys that it does not have; a wrong size makes it do so."""
    vdi = volumes[0].uuid
    claim = json.dumps({"vdi": vdi, "generation": 7, "host": "elsewhere", "boot_id": "b", "since": 0})
    with sr.lab.xapi.session() as session:
        ref = session.VDI.get_by_uuid(vdi)
        session.VDI.add_to_sm_config(ref, "crucible_claim_1", claim)
        session.VDI.set_virtual_size(ref, "1")
    sr.scan()
    assert sr.lab.get("vdi", "virtual-size", vdi) == str(16 * MIB)
    assert "crucible_claim_1" in sr.lab.get("vdi", "sm-config", vdi)


def test_check_looks_at_each_part_that_a_host_needs(sr: CrucibleSr, volumes: list[Volume]) -> None:
    volumes[0].stop(0)
    done = sr.lab.admin("check", f"device-config:volumes={VOLUMES}")
    volumes[0].start(0)
    said = done.stdout.decode()
    assert "ok       server: " in said
    assert "ok       volumes: 2 volume(s)" in said
    assert f"VDI {volumes[0].uuid} could not be plugged: target {volumes[0].targets[0]} is down" in said
    assert "FAILED   kernel: " in said, "this host has none of its own"
    assert done.returncode == 1


def test_an_administrator_releases_the_claim_of_a_host_that_is_off(sr: CrucibleSr, volumes: list[Volume]) -> None:
    vdi = volumes[1].uuid
    claim = json.dumps({"vdi": vdi, "generation": 7, "host": "elsewhere", "boot_id": "b", "since": 0})
    with sr.lab.xapi.session() as session:
        session.VDI.add_to_sm_config(session.VDI.get_by_uuid(vdi), "crucible_claim_1", claim)
    words = ["release", f"--sr={sr.uuid}", f"--vdi={vdi}", f"device-config:volumes={VOLUMES}"]
    assert sr.lab.admin(*words).returncode == 2, "not without --yes"
    assert sr.lab.admin(*words, "--yes").stdout == b"released the claim of host elsewhere\n"
    assert sr.lab.admin(*words, "--yes").stdout == b"no host has claimed it: nothing to release\n"


def test_smblock_admin_takes_the_type_of_an_sr_from_xapi(sr: CrucibleSr) -> None:
    of_sr = [f"--sr={sr.uuid}", "--yes"]
    refused = sr.lab.admin("fence", *of_sr, "--host=elsewhere", f"device-config:volumes={VOLUMES}")
    assert refused.returncode == 1
    assert b"an SR of type crucible cannot cut a host off" in refused.stderr
    assert b"'smblock release'" in refused.stderr
    refused = sr.lab.admin("fence", *of_sr, "--host=elsewhere", "device-config:pool=vms")
    assert b"device-config:'pool' is unknown; the valid keys are: volumes" in refused.stderr
    unknown = ["--sr=00000000-0000-4000-8000-000000000000", "--host=elsewhere", f"device-config:volumes={VOLUMES}"]
    assert b"an SR of type crucible" in sr.lab.admin("fence", *unknown).stderr, "by its keys"


def test_a_provisioner_makes_copies_and_deletes_disks_beside_declared_ones(
    crucible_lab: CrucibleLab, volumes: list[Volume]
) -> None:
    storage = crucible_lab.storage
    downstairs = (storage.binaries / "crucible-downstairs").read_bytes()
    crucible_lab.pool.provide("/usr/local/bin/crucible-downstairs", downstairs, mode=0o755)
    crucible_lab.declare(volumes[0])
    sr = crucible_lab.create_sr(
        "provisioned",
        provisioner=f"{SM_DIR}/smblock-crucible-provisioner",
        provisioner_sleds=f"local={storage.address}",
        provisioner_ports="7000-7100",
    )
    made = sr.create_vdi("made", str(64 * MIB))
    try:
        sr.scan()
        assert sr.vdis() == {volumes[0].uuid, made}
        assert int(sr.get("physical-size")) > 3 * 64 * MIB, "the capacity of the sleds"
        copy = sr.lab.xe("vdi-clone", f"uuid={made}")
        sr.scan()
        assert sr.vdis() == {volumes[0].uuid, made, copy}
        sr.destroy_vdi(copy)
    finally:
        sr.destroy_vdi(made)
    sr.scan()
    assert sr.vdis() == {volumes[0].uuid}
    assert made not in crucible_lab.hosts[0].exec(["ps", "axww"]).check().decode()
    sr.forget()


def test_without_provisioner_create_clone_delete_fail_with_reason(sr: CrucibleSr, volumes: list[Volume]) -> None:
    size = f"virtual-size={16 * MIB}"
    complaint = sr.lab.refused("vdi-create", f"sr-uuid={sr.uuid}", "name-label=new", size)
    assert "device-config:provisioner" in complaint
    assert "not implemented" in sr.lab.refused("vdi-clone", f"uuid={volumes[0].uuid}")
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
def test_a_device_config_that_cannot_work_creates_no_sr(
    crucible_lab: CrucibleLab, config: dict[str, str], complaint: str
) -> None:
    words = [f"device-config:{key}={value}" for key, value in config.items()]
    said = crucible_lab.pool.refused("sr-create", "type=crucible", "name-label=x", *words)
    assert complaint in said


@pytest.fixture
def host(crucible_lab: CrucibleLab) -> Iterator[Dom0]:
    """A host without NBD in its kernel: no volume can be plugged there."""
    host = crucible_lab.hosts[0]
    program = host.get(SERVER)
    yield host
    host.put(SERVER, program, mode=0o755)


@contextmanager
def leaves_nothing(sr: CrucibleSr, volume: Volume, host: Dom0) -> Iterator[None]:
    """Checks that refused commands in the `with` block leave no process, no file and no claim."""
    yield
    found = host.exec(["find", "/run/smblock/crucible", "-mindepth", "1", "-type", "d"])
    assert found.stdout == b""
    assert volume.uuid not in host.exec(["ps", "axww"]).check().decode()
    with sr.lab.xapi.session() as session:
        sm_config = session.VDI.get_sm_config(session.VDI.get_by_uuid(volume.uuid))
    claims = [json.loads(value) for key, value in sm_config.items() if key.startswith("crucible_claim_")]
    assert all(f"crucible_released_{claim['generation']}" in sm_config for claim in claims), sm_config


def test_a_disk_with_a_target_that_is_down_is_refused_by_target(
    sr: CrucibleSr, volumes: list[Volume], host: Dom0
) -> None:
    volumes[0].stop(2)
    with leaves_nothing(sr, volumes[0], host):
        complaint = Vdi(sr, volumes[0].uuid).refusal(host, "vdi_activate", "true")
    assert f"target {volumes[0].targets[2]} is down" in complaint
    assert volumes[0].targets[0] not in complaint
    volumes[0].start(2)


def test_a_server_on_xapis_own_port_is_refused_before_it_fences(
    sr: CrucibleSr, crucible_lab: CrucibleLab, volumes: list[Volume], host: Dom0
) -> None:
    upstream = crucible_lab.storage.binaries / "crucible-nbd-server-upstream"
    if not upstream.exists():
        pytest.skip(f"{upstream} is not there: the server's program without the option --address")
    host.put(SERVER, upstream.read_bytes(), mode=0o755)
    with leaves_nothing(sr, volumes[0], host):
        complaint = Vdi(sr, volumes[0].uuid).refusal(host, "vdi_activate", "true")
    assert "it has no --address" in complaint


def test_a_host_without_the_server_names_the_path_where_it_belongs(
    sr: CrucibleSr, volumes: list[Volume], host: Dom0
) -> None:
    host.exec(["rm", SERVER]).check()
    with leaves_nothing(sr, volumes[0], host):
        complaint = Vdi(sr, volumes[0].uuid).refusal(host, "vdi_activate", "true")
    assert "Put a crucible-nbd-server there on every host, or name another" in complaint


def test_a_host_whose_kernel_has_no_nbd_stops_the_server_that_it_has_started(
    sr: CrucibleSr, volumes: list[Volume], host: Dom0
) -> None:
    with leaves_nothing(sr, volumes[0], host):
        complaint = Vdi(sr, volumes[0].uuid).refusal(host, "vdi_activate", "true")
    assert f"connecting a device to VDI {volumes[0].uuid}" in complaint
    assert "nbd" in complaint


def test_a_volume_without_its_key_is_refused_before_a_server_is_started(crucible_lab: CrucibleLab, host: Dom0) -> None:
    encrypted = crucible_lab.storage.create_volume("secret", key=base64.b64encode(b"k" * 32).decode())
    crucible_lab.declare(replace(encrypted, key=None))
    sr = crucible_lab.create_sr("without key")
    with leaves_nothing(sr, encrypted, host):
        complaint = Vdi(sr, encrypted.uuid).refusal(host, "vdi_activate", "true")
    assert "has an encrypted region, and the volume no key" in complaint
    sr.forget()


def test_a_volumes_key_may_be_a_secret_of_xapi(crucible_lab: CrucibleLab, host: Dom0) -> None:
    key = base64.b64encode(b"k" * 32).decode()
    volume = crucible_lab.storage.create_volume("secret", key=key)
    with crucible_lab.pool.xapi.session() as session:
        secret = session.secret.get_uuid(session.secret.create({"value": key, "other_config": {}}))
    text = declaration([replace(volume, key=None)]) + f"key_secret = {secret!r}\n"
    crucible_lab.pool.provide(VOLUMES, text.encode())
    sr = crucible_lab.create_sr("key in XAPI")
    with leaves_nothing(sr, volume, host):
        complaint = Vdi(sr, volume.uuid).refusal(host, "vdi_activate", "true")
    assert "connecting a device" in complaint, "without its key no server gets to this step"
    sr.forget()


def test_a_fenced_server_is_stopped_but_not_one_that_lost_two_targets(
    crucible_lab: CrucibleLab,
) -> None:
    volume = crucible_lab.storage.create_volume("fenced")
    crucible_lab.declare(volume)
    sr = crucible_lab.create_sr("fenced")
    one, two = crucible_lab.hosts
    with served(one, volume, generation=1) as supervisor:
        volume.stop(0)
        volume.stop(1)
        time.sleep(7)
        assert not supervisor.done(), "its state was read three times meanwhile"
        volume.start(0)
        volume.start(1)
        with served(two, volume, generation=2):
            assert supervisor.result(timeout=30).returncode == 1
    assert volume.uuid not in one.exec(["ps", "axww"]).check().decode()
    (alarm,) = (alarm for alarm in alarms(sr.lab, one.uuid) if volume.uuid in alarm.text)
    assert alarm.name == "smblock_crucible_server"
    assert "it was fenced: another server with a higher generation has the volume" in alarm.rows["problem"]
    sr.forget()


@contextmanager
def served(host: Dom0, volume: Volume, generation: int) -> Iterator[Future[Completed]]:
    """A host serves a volume without a client and without a claim inside the `with` block.  Yields the
    supervisor of the server.
    """
    directory = f"/run/smblock/crucible/{volume.uuid}"
    nbd, control = (f"{volume.storage.address}:{20000 + 2 * generation + n}" for n in range(2))
    spec = {"volume": volume.uuid, "server": SERVER, "targets": volume.targets, "generation": generation}
    host.put(
        f"{directory}/spec.json", json.dumps({**spec, "nbd": nbd, "control": control, "key": None}).encode(), 0o600
    )
    with ThreadPoolExecutor() as beside:
        supervisor = beside.submit(host.exec, [f"{SM_DIR}/smblock-crucible-server", directory], timeout=120)
        try:
            wait_for(lambda: is_active(control), f"a server with generation {generation}")
            yield supervisor
        finally:
            state = json.loads(host.get(f"{directory}/state.json"))
            host.exec(["kill", str(state["runner"]["pid"])])  # the supervisor may have ended by itself
            supervisor.result()
            host.exec(["rm", "-r", directory]).check()


def is_active(control: str) -> bool:
    """Whether a server reports that it is active."""
    try:
        with urllib.request.urlopen(f"http://{control}/info", timeout=5) as reply:
            return bool(json.load(reply)["state"] == "active")
    except OSError:
        return False
