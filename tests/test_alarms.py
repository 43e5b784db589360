"""Alarms: what a check of SM's timer raises and clears in XAPI, on a real Ceph, and the form of each message."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab import wait_for
from lab.cephrbd import CephSr, RbdPool
from lab.wheel import REPOSITORY, built_wheel, unpack
from tests.alarms import Alarm, alarms, check_srs, parse_alarm

TEXTS = [
    "plain",
    "a <b> & \"c\" 'd'",
    "ünïcödé 磁盘 😀",
    "two\nlines\tand\ra \x00 \x1f \x7f \x85 \ufffe \uffff",
    "&amp; ]]> <!-- \\ %s {}",
    "",
]
MAKE_BODIES = """
import json, sys
from smblock._core import alarm_body
from smblock_setup.alarm import message_body
calls = [(*words, list(map(tuple, rows))) for *words, rows in json.load(sys.stdin)]
json.dump([[make(*arguments) for arguments in calls] for make in (alarm_body, message_body)], sys.stdout)
"""


@pytest.fixture(scope="module")
def sr(shared_rbd_pool: RbdPool) -> CephSr:
    return shared_rbd_pool.create_sr('"alarms" & <ünïcödé>')


def named(sr: CephSr, name: str) -> list[Alarm]:
    objects = (sr.uuid, *(host.uuid for host in sr.lab.hosts))
    return [alarm for alarm in alarms(sr.lab, *objects) if alarm.name == name]


def set_shared(sr: CephSr, shared: bool) -> None:
    """As if the SR had been created without shared=true: `xe` refuses to make a plugged SR so."""
    db = sr.lab.xapi.pool.db
    db.set("SR", db.by_uuid("SR", sr.uuid), "shared", shared)


def test_the_core_and_the_setup_program_make_the_same_bodies(tmp_path: Path) -> None:
    calls = [("smblock_driver", "1", "0.85", [("problem", text), ("fix", text[::-1])]) for text in TEXTS]
    path = [unpack(built_wheel(), tmp_path), REPOSITORY / "packaging"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    done = subprocess.run(
        [sys.executable, "-c", MAKE_BODIES],
        input=json.dumps(calls),
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    bodies, others = json.loads(done.stdout)
    assert bodies == others
    for text, body in zip(TEXTS, bodies, strict=True):
        alarm = parse_alarm({"name": "ALARM", "priority": "2", "cls": "SR", "obj_uuid": "u", "body": body})
        printable = "".join(" " if not c.isprintable() and not c.isspace() else c for c in text)
        assert alarm.rows["problem"].split() == printable.split()
        assert (alarm.name, alarm.value, alarm.trigger) == ("smblock_driver", 1, 0.85)


def test_a_nearly_full_pool_raises_one_alarm_until_it_has_space(sr: CephSr) -> None:
    ceph, pool, (one, two) = sr.lab.ceph, sr.pool.name, sr.lab.hosts
    check_srs(one, sr)
    assert named(sr, "smblock_usage") == []
    sr.pool.rados("put", "ballast", "-", input=b"x" * 900_000)
    try:
        wait_for(lambda: ceph.wait_pool_stats(pool)["stored"] >= 900_000, "the statistics of the pool", seconds=60)
        ceph.admin("osd", "pool", "set-quota", pool, "max_bytes", "1000000")
        check_srs(two, sr)
        assert named(sr, "smblock_usage") == [], "the master raises it"
        for host in (one, two, one):
            check_srs(host, sr)
        (alarm,) = named(sr, "smblock_usage")
        assert (alarm.cls, alarm.priority, alarm.trigger) == ("SR", 3, 0.85)
        assert 0.85 <= alarm.value < 0.95
        assert f"pool {pool}: " in alarm.rows["problem"]
        assert "ceph osd pool set-quota" in alarm.rows["fix"]
        assert alarm.rows["finding"] == "SMB-F170"
        report = json.loads(sr.lab.admin("doctor", sr.uuid, "--json").stdout)
        (found,) = (each for each in report["findings"] if each["id"] == "SMB-F170")
        assert (found["object"], found["severity"]) == (f"pool {pool}", "warning")
    finally:
        ceph.admin("osd", "pool", "set-quota", pool, "max_bytes", "0")
    check_srs(one, sr)
    assert named(sr, "smblock_usage") == []
    other_config = sr.get("other-config")
    assert "smblock_alarm" not in other_config


def test_an_alarm_about_a_dead_host_ends_when_it_plugs_the_sr_again(sr: CephSr) -> None:
    one, two = sr.lab.hosts
    vdi = sr.create_vdi('disk <1> & "ü"')
    key = f"vdi.{vdi}"
    record = json.loads(sr.pool.rados("getomapval", sr.catalogue, key, "/dev/stdout").rpartition("}")[0] + "}")
    owner = {"host": two.uuid, "boot_id": "b", "pid": 1, "started": 1}
    record["claim"] = {**owner, "since": 1700000000, "addresses": ["192.0.2.9:0/1"]}
    sr.pool.rados("setomapval", sr.catalogue, key, json.dumps(record))
    for _ in range(2):
        sr.lab.admin("fence", sr.uuid, "--host", two.uuid, "--yes").check()
    check_srs(one, sr)
    (alarm,) = named(sr, "smblock_host_fenced")
    assert f'VDI {vdi} (disk <1> & "ü")' in alarm.rows["problem"]
    assert f"host {two.uuid}: it was declared dead" in alarm.rows["problem"]
    check_srs(two, sr)
    (own,) = named(sr, "smblock_host_cut_off")
    assert (own.cls, own.obj_uuid, own.priority) == ("Host", two.uuid, 2)
    for pbd in sr.lab.list("pbd", f"sr-uuid={sr.uuid}", f"host-uuid={two.uuid}"):
        sr.lab.xe("pbd-unplug", f"uuid={pbd}")
        sr.lab.xe("pbd-plug", f"uuid={pbd}")
    for host in (one, two):
        check_srs(host, sr)
    assert named(sr, "smblock_host_fenced") == named(sr, "smblock_host_cut_off") == []


def test_a_message_that_an_administrator_deletes_does_not_come_back(sr: CephSr) -> None:
    lab, master = sr.lab, sr.lab.hosts[0]
    set_shared(sr, False)
    try:
        check_srs(master, sr)
        (alarm,) = named(sr, "smblock_sr_not_shared")
        assert f"xe sr-param-set uuid={sr.uuid} shared=true" in alarm.rows["fix"]
        for message in lab.list("message", f"obj-uuid={sr.uuid}"):
            lab.xe("message-destroy", f"uuid={message}")
        check_srs(master, sr)
        assert named(sr, "smblock_sr_not_shared") == []
    finally:
        set_shared(sr, True)
    check_srs(master, sr)
    assert "smblock_alarm" not in sr.get("other-config")


def test_an_sr_that_cannot_be_read_raises_an_alarm_and_hides_no_other(sr: CephSr) -> None:
    master, other = sr.lab.hosts[0], sr.pool.create_sr("other")
    set_shared(other, False)
    sr.pool.rados("cp", sr.catalogue, "kept")
    sr.pool.rados("rm", sr.catalogue)
    try:
        check_srs(master, sr, other)
        (alarm,) = named(sr, "smblock_sr_unreadable")
        assert alarm.priority == 2
        assert f"smblock check {sr.uuid}" in alarm.rows["fix"]
        assert len(named(other, "smblock_sr_not_shared")) == 1, "the next SR is checked, too"
    finally:
        sr.pool.rados("cp", "kept", sr.catalogue)
        sr.pool.rados("rm", "kept")
        set_shared(other, True)
    check_srs(master, sr, other)
    assert named(sr, "smblock_sr_unreadable") == []
    other.destroy()


# A check whose work takes too long, one whose XAPI does not reply, and one whose work fails.
FAULTS = """
import sys, time
sys.path.append("/opt/xensource/sm")
from smblock import checks
class Dead:
    _session = "OpaqueRef:none"
    def __getattr__(self, name):
        raise ConnectionRefusedError("xapi is down")
def hang(*_):
    time.sleep(60)
checks.check_sr(Dead(), "6f1d3f62-0f4e-4b55-8f2c-8d3b6f0f3b11")
checks.CHECK_SECONDS, checks._check = 1, hang
began = time.monotonic()
checks.check_sr(Dead(), "6f1d3f62-0f4e-4b55-8f2c-8d3b6f0f3b11")
assert 1 <= time.monotonic() - began < 5
checks._check = lambda *_: 1 / 0
checks.check_sr(Dead(), "6f1d3f62-0f4e-4b55-8f2c-8d3b6f0f3b11")
"""


def test_a_check_ends_at_its_deadline_and_raises_no_error(sr: CephSr) -> None:
    done = sr.lab.hosts[0].exec(["python3", "-c", FAULTS], timeout=60)
    assert (done.check(), done.stderr) == (b"", b"")


@pytest.mark.slow
def test_a_check_of_a_cluster_that_does_not_reply_ends_and_raises_an_alarm(sr: CephSr) -> None:
    sr.lab.ceph.stop_monitor()
    try:
        began = time.monotonic()
        check_srs(sr.lab.hosts[0], sr)
        assert time.monotonic() - began < 60
    finally:
        sr.lab.ceph.start_monitor()
    (alarm,) = named(sr, "smblock_sr_unreadable")
    assert "ETIMEDOUT" in alarm.rows["problem"]
    check_srs(sr.lab.hosts[0], sr)
    assert named(sr, "smblock_sr_unreadable") == []


def test_the_plugin_returns_the_health_and_the_doctors_report(sr: CephSr) -> None:
    lab, host = sr.lab, sr.lab.hosts[1]
    before = (sr.pool.objects(), sr.catalogue_keys(), sr.get("other-config"))

    def call(function: str, *words: str) -> str:
        return lab.xe("host-call-plugin", f"host-uuid={host.uuid}", "plugin=smblock", f"fn={function}", *words)

    health = json.loads(call("health", f"args:sr={sr.uuid}"))
    (state,) = health["srs"]
    assert health["host"] == host.uuid
    assert (state["sr"], state["up"], state["pool"]) == (sr.uuid, True, sr.pool.name)
    assert state["name"] == sr.get("name-label")
    assert state["disks"] == len(sr.vdis())
    assert sr.uuid in {each["sr"] for each in json.loads(call("health"))["srs"]}
    report = json.loads(call("doctor", f"args:sr={sr.uuid}"))
    assert {"SMB-F010", "SMB-F013"} <= {each["id"] for each in report["findings"]}
    assert before == (sr.pool.objects(), sr.catalogue_keys(), sr.get("other-config"))
    for words, complaint in (
        (["args:sr=../etc"], "badly formed hexadecimal UUID"),
        (["args:vdi=x"], "unknown argument vdi"),
        ([f"args:sr={host.uuid}"], "is not an SR of smblock that is plugged on this host"),
    ):
        for function in ("health", "doctor"):
            words_of_call = [f"host-uuid={host.uuid}", "plugin=smblock", f"fn={function}", *words]
            assert complaint in lab.refused("host-call-plugin", *words_of_call)
