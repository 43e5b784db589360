"""`smblock doctor`: faults planted on a real Ceph and in XAPI are found by their ids, and nothing is changed."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.cephrbd import CephSr
from lab.tree import SM_DIR
from tests.release_directory import VERSION
from tests.releases import OLDEST, installed, running

# What a host without a kernel of its own cannot have, and what the checks of the pool find on a small cluster.
PARTS = "SMB-F0"
# Health checks of a cluster of one node.
CLUSTER = "SMB-F18"


def doctor(sr: CephSr, *words: str) -> tuple[int, dict[str, Any]]:
    """The exit status, and the findings about the SR that are no parts of the check, by id."""
    done = sr.lab.admin("doctor", sr.uuid, "--json", *words)
    report = json.loads(done.stdout)
    assert report["status"] == done.returncode, done.stderr
    found = [each for each in report["findings"] if not each["id"].startswith((PARTS, CLUSTER))]
    return done.returncode, {each["id"]: each for each in found}


def test_an_sr_that_is_well_has_no_finding_and_is_not_changed(sr: CephSr) -> None:
    vdi = sr.create_vdi("disk")
    sr.lab.xe("vdi-snapshot", f"uuid={vdi}")
    before = (sr.pool.objects(), sr.catalogue_keys())
    _, found = doctor(sr)
    assert found == {}
    assert (sr.pool.objects(), sr.catalogue_keys()) == before


def test_the_report_without_words_is_about_each_sr_and_this_host(sr: CephSr) -> None:
    done = sr.lab.admin("doctor", "--all")
    text = done.stdout.decode()
    assert f"SR {sr.uuid} (ceph)\n" in text
    assert "\nthis host\n" in text
    assert " SMB-F010 pool: " in text
    assert text.splitlines()[-1].endswith(" not run")


def test_images_without_a_record_and_a_record_without_an_image_are_found(sr: CephSr) -> None:
    lost = sr.create_vdi("lost")
    sr.lab.ceph.rbd("rm", f"{sr.pool.name}/{sr.image(lost)}")
    orphan = f"smblock.{sr.uuid}.{uuid.uuid4()}.0"
    sr.lab.ceph.rbd("create", "--size", "4M", f"{sr.pool.name}/{orphan}")
    status, found = doctor(sr)
    assert status == 2
    assert set(found) == {"SMB-F110", "SMB-F119"}
    assert found["SMB-F110"]["object"] == f"VDI {lost} (lost)"
    assert found["SMB-F110"]["severity"] == "failure"
    assert found["SMB-F119"]["object"] == f"image {orphan}"


def test_an_image_in_the_trash_is_found_and_its_fix_brings_it_back(sr: CephSr) -> None:
    vdi = sr.create_vdi("trashed")
    sr.lab.ceph.rbd("trash", "mv", f"{sr.pool.name}/{sr.image(vdi)}")
    _, found = doctor(sr)
    assert set(found) == {"SMB-F111"}
    program, *words = found["SMB-F111"]["fix"].split()
    assert program == "rbd"
    sr.lab.ceph.rbd(*words)
    assert doctor(sr)[1] == {}


def test_a_resized_a_locked_and_an_unlisted_image_are_found(sr: CephSr) -> None:
    pool, rbd = sr.pool.name, sr.lab.ceph.rbd
    shrunk, locked = sr.create_vdi("shrunk"), sr.create_vdi("locked")
    rbd("resize", "--allow-shrink", "--size", "1M", f"{pool}/{sr.image(shrunk)}")
    rbd("lock", "add", f"{pool}/{sr.image(locked)}", "mine")
    _, found = doctor(sr)
    assert {each: found[each]["object"] for each in found} == {
        "SMB-F113": f"VDI {shrunk} (shrunk)",
        "SMB-F117": f"VDI {locked} (locked)",
    }


def test_keys_that_sm_has_left_are_notes(sr: CephSr) -> None:
    vdi = sr.create_vdi("tagged")
    with sr.lab.xapi.session() as session:
        for key in ("paused", "host_OpaqueRef:gone"):
            session.VDI.add_to_sm_config(session.VDI.get_by_uuid(vdi), key, "RW")
    _, found = doctor(sr)
    assert set(found) == {"SMB-F410", "SMB-F413"}
    assert {finding["severity"] for finding in found.values()} == {"note"}
    assert {finding["object"] for finding in found.values()} == {f"VDI {vdi} (tagged)"}


@pytest.mark.parametrize("repair", [False, True])
def test_a_repair_removes_a_claim_of_an_earlier_boot_and_names_it(sr: CephSr, repair: bool) -> None:
    vdi = sr.create_vdi("claimed")
    key = f"vdi.{vdi}"
    record = json.loads(sr.pool.rados("getomapval", sr.catalogue, key, "/dev/stdout").rpartition("}")[0] + "}")
    owner = {"host": sr.lab.hosts[0].uuid, "boot_id": "another boot", "pid": 1, "started": 1}
    record["claim"] = {**owner, "since": 1700000000, "addresses": []}
    sr.pool.rados("setomapval", sr.catalogue, key, json.dumps(record))
    done = sr.lab.admin("doctor", sr.uuid, *(["--repair"] if repair else []))
    text = done.stdout.decode()
    if repair:
        assert f"SR {sr.uuid}: repaired SMB-F162 VDI {vdi} (claimed): this host claimed it in an earlier boot" in text
    else:
        assert f"warning  SMB-F162 VDI {vdi} (claimed)" in text
        assert "(since 2023-11-14T22:13:20Z)" in text
    assert ("SMB-F162" in doctor(sr)[1]) != repair


def test_a_repair_removes_keys_and_links_that_no_host_uses(sr: CephSr) -> None:
    vdi = sr.create_vdi("tagged")
    here = sr.lab.hosts[0]
    link, served = (f"/dev/sm/{kind}/{sr.uuid}/{vdi}" for kind in ("phy", "backend"))
    keys = ["paused", "host_OpaqueRef:gone", f"host_{sr.lab.ref(here)}", f"host_{sr.lab.ref(sr.lab.hosts[1])}"]
    with sr.lab.xapi.session() as session:
        for key in keys:
            session.VDI.add_to_sm_config(session.VDI.get_by_uuid(vdi), key, "RW")
    here.exec(["mkdir", "-p", f"/dev/sm/phy/{sr.uuid}", f"/dev/sm/backend/{sr.uuid}"]).check()
    here.exec(["ln", "-s", "/dev/rbd4094", link]).check()
    here.exec(["ln", "-s", "/dev/null", served]).check()
    assert set(doctor(sr)[1]) == {"SMB-F410", "SMB-F411", "SMB-F413", "SMB-F415", "SMB-F437"}
    here.exec(["rm", served]).check()
    done = sr.lab.admin("doctor", sr.uuid, "--repair")
    for repaired in ("SMB-F410", "SMB-F411", "SMB-F415", "SMB-F437"):
        assert f"repaired {repaired} VDI {vdi}" in done.stdout.decode()
    # A command may still resume the disk: this key stays.
    kept = sr.lab.get("vdi", "sm-config", vdi)
    assert "paused" in kept
    assert "host_" not in kept
    assert set(doctor(sr)[1]) == {"SMB-F413"}
    here.exec(["test", "!", "-L", link]).check()


def test_a_repair_leaves_the_key_of_a_dead_host_that_does_not_reply(sr: CephSr) -> None:
    vdi, lab = sr.create_vdi("tagged"), sr.lab
    dead = lab.ref(lab.hosts[1])
    with lab.xapi.session() as session:
        session.VDI.add_to_sm_config(session.VDI.get_by_uuid(vdi), f"host_{dead}", "RW")
        session.host.add_to_other_config(dead, "smblock_declared_dead", "x")
        try:
            with lab.cut_off(lab.hosts[1]):
                assert lab.admin("doctor", sr.uuid, "--repair").stdout
                assert "SMB-F412" in doctor(sr)[1]
            lab.admin("doctor", sr.uuid, "--repair")
            assert "SMB-F412" not in doctor(sr)[1]
        finally:
            session.host.remove_from_other_config(dead, "smblock_declared_dead")


def test_an_sr_whose_catalogue_is_gone_is_a_failure(sr: CephSr) -> None:
    sr.pool.rados("rm", sr.catalogue)
    status, found = doctor(sr)
    assert status == 2
    assert "SMB-F105" in found
    assert found["SMB-F105"]["object"] == f"SR {sr.uuid}"


def test_an_sr_type_that_xapi_does_not_allow_is_found(sr: CephSr) -> None:
    host = sr.lab.hosts[0]
    host.put("/etc/xapi.conf", b"sm-plugins=ext nfs\n")
    try:
        report = json.loads(sr.lab.admin("doctor", sr.uuid, "--json").stdout)
    finally:
        host.exec(["rm", "/etc/xapi.conf"]).check()
    found = {each["id"]: each for each in report["findings"]}
    assert found["SMB-F420"]["object"] == "SR type cephrbd"
    assert found["SMB-F420"]["section"] == "this host"
    assert "smblock-setup register" in found["SMB-F420"]["fix"]


@pytest.fixture
def other_driver(sr: CephSr, driver_tree: Path, tmp_path: Path) -> Iterator[None]:
    """The second host has the oldest release."""
    lab = sr.lab
    with running(lab, lab.hosts[1], installed(OLDEST, tmp_path), driver_tree):
        yield


def of_pool(sr: CephSr) -> list[tuple[str, str]]:
    """The ids and the texts of findings about the pool."""
    report = json.loads(sr.lab.admin("doctor", sr.uuid, "--json").stdout)
    return [(each["id"], each["found"]) for each in report["findings"] if each["section"] == "this pool"]


@pytest.mark.usefixtures("other_driver")
def test_a_host_with_an_older_smblock_is_found(sr: CephSr) -> None:
    assert of_pool(sr) == [("SMB-F431", f"it has smblock {OLDEST}, and this host {VERSION}")]


def test_hosts_without_smblock_and_hosts_that_are_silent_are_found(sr: CephSr) -> None:
    assert of_pool(sr) == []
    here, other = sr.lab.hosts
    plugin, facts = "/etc/xapi.d/plugins/smblock", f"{SM_DIR}/smblock/cli/pool_facts.py"
    whole, patient = other.get(plugin), here.get(facts)
    try:
        other.exec(["rm", plugin]).check()
        assert of_pool(sr) == [("SMB-F430", "it does not have smblock")]
        other.put(plugin, b"#!/bin/sh\nexec sleep 60\n", 0o755)
        here.put(facts, patient.replace(b"VERSION_SECONDS = 10", b"VERSION_SECONDS = 2"))
        assert of_pool(sr) == [("SMB-F433", "its version is unknown: no reply within 2 s")]
    finally:
        other.put(plugin, whole, 0o755)
        here.put(facts, patient)
    with sr.lab.cut_off(other):
        [(found, text)] = of_pool(sr)
    assert (found, "CANNOT_CONTACT_HOST" in text) == ("SMB-F433", True)


def test_a_feature_that_waits_for_a_host_is_found_with_that_host(sr: CephSr) -> None:
    pool = sr.lab.xapi.pool
    [driver] = pool.db.find("SM", type="cephrbd")
    pool.db.set("SM", driver, "host_pending_features", {pool.master: ["VDI_MIRROR/1"]})
    try:
        name = sr.lab.hosts[1].name
        assert of_pool(sr) == [("SMB-F434", f"VDI_MIRROR is off until it is reported by: {name}")]
    finally:
        pool.db.set("SM", driver, "host_pending_features", {})


def test_srs_whose_driver_xapi_does_not_have_are_found(sr: CephSr) -> None:
    pool = sr.lab.xapi.pool
    try:
        for driver in pool.db.find("SM", type="cephrbd"):
            pool.db.destroy("SM", driver)
        assert of_pool(sr) == [("SMB-F435", "XAPI has SRs of the type, and no driver of it")]
    finally:
        pool.load_drivers(pool.master)


def test_an_sr_without_a_connection_is_looked_at_once(sr: CephSr) -> None:
    host, keyring = sr.lab.hosts[1], f"/etc/ceph/ceph.client.{sr.pool.user}.keyring"
    host.exec(["mv", keyring, keyring + ".away"]).check()
    try:
        done = sr.lab.admin("doctor", sr.uuid, "--json", host=1)
    finally:
        host.exec(["mv", keyring + ".away", keyring]).check()
    found = {each["id"]: each["severity"] for each in json.loads(done.stdout)["findings"]}
    assert done.returncode == 2
    assert (found["SMB-F003"], found["SMB-F105"]) == ("failure", "not run")
