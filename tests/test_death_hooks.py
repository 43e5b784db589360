"""smblock's hooks in xapi: the death of a host is recorded in every SR, and its clients are blocklisted."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from lab.cephrbd import CephSr
from lab.dom0 import Dom0
from tests.alarms import alarms

NOTE = "smblock_declared_dead"
ADDRESS = "192.0.2.7:0/123456"
HOOKS = [f"/etc/xapi.d/host-{when}-declare-dead/05smblock" for when in ("pre", "post")]


@pytest.fixture
def dead(sr: CephSr) -> Iterator[Dom0]:
    """The second host, which has claimed a disk."""
    host = sr.lab.hosts[1]
    key = f"vdi.{sr.create_vdi('claimed')}"
    record = read_key(sr, key)
    record["claim"] = {
        "host": host.uuid,
        "boot_id": host.boot_id,
        "pid": 1,
        "started": 1,
        "since": 1700000000,
        "addresses": [ADDRESS],
    }
    sr.pool.rados("setomapval", sr.catalogue, key, json.dumps(record))
    yield host
    with sr.lab.xapi.session() as session:
        session.host.remove_from_other_config(session.host.get_by_uuid(host.uuid), NOTE)
    sr.lab.ceph.admin("osd", "blocklist", "clear")


def read_key(sr: CephSr, key: str) -> dict[str, Any]:
    text = sr.pool.rados("getomapval", sr.catalogue, key, "/dev/stdout")
    return dict(json.loads(text[text.index("{") : text.rindex("}") + 1]))


def run_hook(sr: CephSr, hook: str, *words: str) -> float:
    """Runs a hook as xapi does; it must succeed. Returns its duration in seconds."""
    began = time.monotonic()
    done = sr.lab.hosts[0].exec([hook, *words])
    assert done.returncode == 0, done.stderr
    return time.monotonic() - began


def note(sr: CephSr, host: Dom0) -> str:
    """The record in XAPI that the host was declared dead."""
    with sr.lab.xapi.session() as session:
        other_config = session.host.get_other_config(session.host.get_by_uuid(host.uuid))
    return str(other_config.get(NOTE, ""))


def blocklist(sr: CephSr) -> str:
    return str(sr.lab.ceph.admin("osd", "blocklist", "ls"))


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("reason", ["fenced", "user", "dbdestroy"])
def test_a_hook_records_a_death_and_blocklists_the_hosts_clients(
    sr: CephSr, dead: Dom0, hook: str, reason: str
) -> None:
    assert run_hook(sr, hook, "-hostuuid", dead.uuid, "-reason", reason) < 10
    assert json.loads(note(sr, dead))["reason"] == reason
    assert read_key(sr, f"host.{dead.uuid}")["dead"]["reason"] == reason
    assert ADDRESS in blocklist(sr)
    (alarm,) = alarms(sr.lab, sr.uuid)
    assert alarm.name == "smblock_host_fenced"
    for part in (dead.uuid, reason, ADDRESS, "(claimed)"):
        assert part in alarm.text, alarm
    for again in HOOKS:
        run_hook(sr, again, "-hostuuid", dead.uuid, "-reason", reason)
    assert len(alarms(sr.lab, sr.uuid)) == 1, "one for each declaration"


@pytest.mark.parametrize("reason", ["clean-shutdown", "clean-reboot", "none"])
def test_a_hook_ignores_a_host_that_shuts_down_in_order(sr: CephSr, dead: Dom0, reason: str) -> None:
    for hook in HOOKS:
        run_hook(sr, hook, "-hostuuid", dead.uuid, "-reason", reason)
    assert note(sr, dead) == ""
    assert "dead" not in read_key(sr, f"host.{dead.uuid}")
    assert ADDRESS not in blocklist(sr)


def test_a_hook_records_a_death_in_xapi_while_the_cluster_is_down(sr: CephSr, dead: Dom0) -> None:
    sr.lab.ceph.stop_monitor()
    try:
        assert run_hook(sr, HOOKS[0], "-hostuuid", dead.uuid, "-reason", "fenced") < 15
    finally:
        sr.lab.ceph.start_monitor()
    assert json.loads(note(sr, dead))["reason"] == "fenced"
    assert "dead" not in read_key(sr, f"host.{dead.uuid}")


@pytest.mark.parametrize("words", [[], ["-hostuuid"], ["-hostuuid", "no-host", "-reason", "fenced"]])
def test_a_hook_succeeds_with_any_arguments(sr: CephSr, words: list[str]) -> None:
    for hook in HOOKS:
        run_hook(sr, hook, *words)


def test_a_hook_succeeds_without_the_package(sr: CephSr) -> None:
    package = "/opt/xensource/sm/smblock"
    host = sr.lab.hosts[0]
    host.exec(["mv", package, f"{package}.aside"]).check()
    try:
        run_hook(sr, HOOKS[0], "-hostuuid", host.uuid, "-reason", "fenced")
    finally:
        host.exec(["mv", f"{package}.aside", package]).check()
