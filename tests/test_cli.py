"""The command `smblock`: SRs by name and UUID, its device-config from XAPI, JSON, and exit statuses."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from lab.cephrbd import CephRbdLab, CephSr
from lab.wheel import REPOSITORY


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


def test_status_shows_an_sr_on_one_screen(sr: CephSr) -> None:
    vdi = sr.create_vdi("disk")
    sr.lab.xe("vdi-snapshot", f"uuid={vdi}")
    text = sr.lab.admin("status", sr.uuid).check().decode()
    lines = dict(line.strip().split("  ", 1) for line in text.splitlines()[1:])
    lines = {name: value.strip() for name, value in lines.items()}
    assert text.startswith(f"SR {sr.uuid} (ceph)\n")
    assert lines["type"].startswith("cephrbd, smblock 0.")
    assert lines["where"].startswith(f"pool {sr.pool.name} of cluster ")
    assert lines["state"] == "plugged on this host"
    assert lines["VDIs"].startswith("1 disks, 1 snapshots, ")
    assert lines["claims"] == lines["operations"] == lines["quota"] == "none"
    assert lines["reclaim"] == "nothing to free"
    (seen,) = json.loads(sr.lab.admin("status", sr.uuid, "--json").check())
    assert (seen["disks"], seen["snapshots"], seen["plugged"], seen["name"]) == (1, 1, True, "ceph")


def test_status_without_words_goes_on_after_an_sr_that_fails(sr: CephSr) -> None:
    sr.pool.rados("rm", sr.catalogue)
    done = sr.lab.admin("status", "--json")
    errors = {seen["sr"]: seen.get("error") for seen in json.loads(done.stdout)}
    assert done.returncode == 1
    assert errors[sr.uuid]


def test_the_srs_of_the_pool_are_listed_and_shown(sr: CephSr) -> None:
    listed = sr.lab.admin("sr", "list").check().decode()
    assert [sr.uuid, "cephrbd", "plugged", "ceph"] in [line.split() for line in listed.splitlines()]
    shown = sr.lab.admin("sr", "show", sr.uuid).check().decode()
    assert ["device-config:pool", sr.pool.name] in [line.split() for line in shown.splitlines()]
    assert json.loads(sr.lab.admin("sr", "show", sr.uuid, "--json").check())["device_config"]["pool"] == sr.pool.name


def test_a_vdi_is_found_by_its_name_and_by_its_image(sr: CephSr) -> None:
    vdi = sr.create_vdi("web root")
    snapshot = sr.lab.xe("vdi-snapshot", f"uuid={vdi}")
    image = sr.image(vdi)
    image_id = sr.pool.image_info(image)["id"]
    by_vdi = json.loads(sr.lab.admin("vdi", "show", "--vdi", vdi, sr.uuid, "--json").check())
    assert [(place["image"], place["image_id"], place["snapshot"]) for place in by_vdi] == [(image, image_id, None)]
    for word in (image, image_id):
        found = json.loads(sr.lab.admin("vdi", "show", sr.uuid, "--vdi", word, "--json").check())
        assert {place["uuid"] for place in found} == {vdi, snapshot}
    listed = sr.lab.admin("vdi", "list", sr.uuid).check().decode()
    assert all(uuid in listed for uuid in (vdi, snapshot, image))
    missing = sr.lab.admin("vdi", "show", sr.uuid, "--vdi", "nothing")
    assert missing.returncode == 1
    assert b"has no VDI nothing" in missing.stderr


@pytest.mark.parametrize(("option", "path"), [("--man", "man/smblock.8"), ("--completion", "completion/smblock")])
def test_the_pages_made_of_the_parser_are_up_to_date(lab: CephRbdLab, option: str, path: str) -> None:
    page = lab.admin(option).check().decode()
    file = REPOSITORY / "packaging" / path
    if os.environ.get("UPDATE"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(page)
    assert file.read_text() == page, f"run UPDATE=1 .venv/bin/pytest {__file__}"


def test_the_completion_completes_commands_options_and_srs() -> None:
    script = 'source "$1"; xe() { echo 11-22,33-44; }; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _smblock; '
    script += 'echo "${COMPREPLY[*]}"'

    def completed(*words: str) -> list[str]:
        argv = ["bash", "-c", script, "bash", str(REPOSITORY / "packaging/completion/smblock"), "smblock", *words]
        return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout.split()

    assert completed("doc") == ["doctor"]
    assert completed("doctor", "--r") == ["--repair"]
    assert completed("vdi", "s") == ["show", "spec"]
    assert "33-44" in completed("vdi", "show", "")
    assert completed("sr", "") == ["--help", "list", "show"]
