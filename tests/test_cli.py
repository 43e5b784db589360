"""The command `smblock`: SRs by name and UUID, its device-config from XAPI, JSON, and exit statuses."""

from __future__ import annotations

import json

import pytest

from lab.cephrbd import CephRbdLab, CephSr


def test_an_sr_is_found_by_name_and_uuid_without_a_device_config(sr: CephSr) -> None:
    name = "an SR's name"
    sr.lab.xe("sr-param-set", f"uuid={sr.uuid}", f"name-label={name}")
    for words in (["reclaim", name, "--list"], ["reclaim", "--list", sr.uuid], ["reclaim", "--list", "--sr", name]):
        assert sr.lab.admin(*words).check() == b"nothing pending\n"


def test_json_is_printed_before_and_after_the_command(sr: CephSr) -> None:
    for words in (["--json", "reclaim", "--list", sr.uuid], ["reclaim", "--json", "--list", sr.uuid]):
        assert json.loads(sr.lab.admin(*words).check()) == []


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["reclaim"], 2, "an SR is missing: give its UUID or its name"),
        (["reclaim", "no such SR"], 1, "this pool has no SR no such SR of type cephrbd or crucible"),
        (["reclaim", "--sr", "no such SR"], 1, "list the SRs with: smblock sr list"),
        (["reclaim", "one", "two"], 2, "one SR at a time, not one and two"),
        (["release", "one"], 2, "the following arguments are required: --vdi"),
        (["no-such-command"], 2, "invalid choice: 'no-such-command'"),
    ],
)
def test_wrong_words_fail_with_a_text_and_a_status(lab: CephRbdLab, words: list[str], status: int, text: str) -> None:
    done = lab.admin(*words)
    assert (done.returncode, text in done.stderr.decode()) == (status, True), done.stderr.decode()
    assert done.stdout == b""


def test_two_srs_of_one_name_are_refused_with_their_uuids(sr: CephSr) -> None:
    other = sr.pool.create_sr("twin")
    again = sr.pool.create_sr("twin")
    done = sr.lab.admin("reclaim", "--list", "twin")
    assert done.returncode == 1
    assert {other.uuid, again.uuid} <= set(done.stderr.decode().replace(",", " ").split())
    other.destroy()
    again.destroy()


def test_check_takes_the_device_config_of_an_sr(sr: CephSr) -> None:
    report = json.loads(sr.lab.admin("check", sr.uuid, "--json").stdout)
    parts = {part["topic"]: part["verdict"] for part in report["parts"]}
    assert parts["pool"] == parts["osd caps"] == "ok"
