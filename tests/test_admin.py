"""smblock: the check, which names each fault with its fix, and the release of a claim by hand."""

from __future__ import annotations

import json
import re
import shlex

import pytest

from lab.cephrbd import CephRbdLab, CephSr, RbdPool

KERNEL = ("kernel module", "image features")


@pytest.fixture(scope="module")
def pool_of_this_file(shared_rbd_pool: RbdPool) -> RbdPool:
    return shared_rbd_pool


def check(lab: CephRbdLab, *words: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """The exit status of `smblock check`, and its report: topic to verdict and text."""
    done = lab.admin("check", *words)
    report: dict[str, tuple[str, str]] = {}
    topic = ""
    *lines, summary = done.stdout.decode().splitlines()
    assert re.fullmatch(r"\d+ ok, \d+ warnings, \d+ failed, \d+ not run", summary)
    for line in lines:
        if line.startswith(" "):
            report[topic] = (report[topic][0], report[topic][1] + "\n" + line.strip())
        else:
            verdict, text = line[:9].strip(), line[9:]
            topic, _, text = text.partition(": ")
            report[topic] = (verdict, text)
    return done.returncode, report


@pytest.mark.needs_tasks
def test_on_a_healthy_host_every_line_is_ok_except_those_of_the_kernel(
    lab: CephRbdLab, pool_of_this_file: RbdPool
) -> None:
    lab.ceph.wait_pool_stats(pool_of_this_file.name)
    _, report = check(lab, *pool_of_this_file.device_config)
    # The first two bytes of a key are its type: other hosts may not have type 2, which Ceph 20 makes by default.
    has_newer_key = lab.ceph.key(pool_of_this_file.user).startswith("Ag")
    assert {topic: verdict for topic, (verdict, _) in report.items() if topic not in KERNEL} == {
        "client library": "ok",
        "blocklist": "ok",
        "clock": "ok",
        "exclusive lock": "ok",
        "ceph.conf": "ok",
        "keyring": "warning" if has_newer_key else "ok",
        "monitors": "ok",
        "user": "ok",
        "mon caps": "ok",
        "pool": "ok",
        "pool application": "ok",
        "pool usage": "ok",
        "osd caps": "ok",
        "mgr caps": "ok",
    }
    assert "librados" in report["client library"][1]
    assert set(KERNEL) <= set(report)


def test_the_check_changes_nothing_in_the_pool(lab: CephRbdLab, pool_of_this_file: RbdPool) -> None:
    before = pool_of_this_file.objects()
    check(lab, *pool_of_this_file.device_config)
    assert pool_of_this_file.objects() == before


@pytest.mark.parametrize(
    ("word", "topic", "remedy"),
    [
        ("ceph_conf=/etc/ceph/none.conf", "ceph.conf", "ceph config generate-minimal-conf"),
        ("keyring=/etc/ceph/none.keyring", "keyring", "ceph auth get client."),
        ("pool=no-such-pool", "pool", "ceph osd pool create no-such-pool 32"),
        ("ceph_user=nobody-here", "keyring", "ceph auth get-or-create client.nobody-here mon 'profile rbd'"),
    ],
)
def test_check_reports_remedy_and_skips_dependents(
    lab: CephRbdLab, pool_of_this_file: RbdPool, word: str, topic: str, remedy: str
) -> None:
    key = word.partition("=")[0]
    right = [each for each in pool_of_this_file.device_config if not each.startswith(f"device-config:{key}=")]
    status, report = check(lab, *right, f"device-config:{word}")
    assert status == 1
    verdict, text = report[topic]
    assert verdict == "FAILED"
    assert remedy in text.partition("-> ")[2]
    assert report["osd caps"][0] == "not run"


def test_a_pool_not_meant_for_rbd_is_failed_with_the_command_that_enables_it(lab: CephRbdLab, pool: str) -> None:
    lab.ceph.admin("osd", "pool", "application", "disable", pool, "rbd", "--yes-i-really-mean-it")
    lab.distribute_keyring(lab.ceph.create_user(f"user-of-{pool}", pool))
    status, report = check(lab, *RbdPool(lab, pool, f"user-of-{pool}").device_config)
    assert status == 1
    assert report["pool application"][0] == "FAILED"
    assert f"-> ceph osd pool application enable {pool} rbd" in report["pool application"][1]


def test_a_missing_osd_cap_is_failed_with_the_command_that_grants_it(
    lab: CephRbdLab, pool_of_this_file: RbdPool
) -> None:
    name = pool_of_this_file.name
    user = lab.user("check-no-osd-cap", mon="profile rbd", mgr=f"profile rbd pool={name}")
    status, report = check(lab, *RbdPool(lab, name, user).device_config)
    assert status == 1
    assert report["osd caps"][0] == "FAILED"
    remedy = report["osd caps"][1].partition("-> ")[2]
    assert f"ceph auth get client.{user};" in remedy
    assert "replaces all caps of the user" in remedy
    assert f"ceph auth caps client.{user} mon 'profile rbd' osd 'profile rbd pool={name}'" in remedy


def test_the_printed_caps_keep_the_pools_of_the_hosts_other_srs(sr: CephSr, pool: str) -> None:
    lab, rbd_pool = sr.lab, sr.pool
    user = rbd_pool.user
    _, report = check(lab, *RbdPool(lab, pool, user).device_config)
    verdict, text = report["osd caps"]
    assert verdict == "FAILED"
    both = ", ".join(f"profile rbd pool={name}" for name in sorted([pool, rbd_pool.name]))
    command = f"auth caps client.{user} mon 'profile rbd' osd '{both}' mgr '{both}'"
    assert text.endswith("ceph " + command)
    lab.ceph.admin(*shlex.split(command))
    status, report = check(lab, *RbdPool(lab, pool, user).device_config)
    assert report["osd caps"][0] == "ok"
    sr.scan()


def test_a_mistyped_pool_is_not_created_and_the_right_one_is_named(lab: CephRbdLab, pool_of_this_file: RbdPool) -> None:
    name = pool_of_this_file.name
    _, report = check(lab, *RbdPool(lab, name.replace("vms", "vsm"), pool_of_this_file.user).device_config)
    verdict, text = report["pool"]
    assert verdict == "FAILED"
    assert f"-> did you mean device-config:pool={name}?" in text
    assert "osd pool create" not in text


def test_the_report_as_json_has_the_verdict_of_each_part(lab: CephRbdLab, pool_of_this_file: RbdPool) -> None:
    done = lab.admin("check", "--json", *pool_of_this_file.device_config)
    report = json.loads(done.stdout)
    parts = {part["topic"]: part for part in report["parts"]}
    assert parts["osd caps"]["verdict"] == "ok"
    assert report["ok"] == sum(part["verdict"] == "ok" for part in parts.values())
    assert done.returncode == (1 if report["failed"] else 0)


def test_a_key_that_others_can_read_is_a_warning(lab: CephRbdLab, pool_of_this_file: RbdPool) -> None:
    path = f"/etc/ceph/ceph.client.{pool_of_this_file.user}.keyring"
    host = lab.hosts[1]
    host.exec(["chmod", "644", path]).check()
    report = lab.admin("check", *pool_of_this_file.device_config, host=1).stdout.decode()
    host.exec(["chmod", "600", path]).check()
    assert f"warning  keyring: {path} can be read by others" in report
    assert f"-> chmod 600 {path}" in report


def test_check_and_sr_create_report_a_bad_device_config_alike(lab: CephRbdLab) -> None:
    done = lab.admin("check", "device-config:pol=vms")
    assert done.returncode == 1
    assert b"is unknown; the valid keys are: pool," in done.stderr
    mistyped = lab.admin("check", "pool=vms")
    assert mistyped.returncode == 2
    assert b"'pool=vms' is not device-config:KEY=VALUE" in mistyped.stderr


# Claims


STRANGER = "9f2c1d3e-0000-4000-8000-00000000f00d"  # a host of another pool


def claim(sr: CephSr, host: str, boot_id: str) -> str:
    """Create a disk that a host has claimed for writing."""
    vdi = sr.create_vdi("claimed")
    key = f"vdi.{vdi}"
    record = json.loads(sr.pool.rados("getomapval", sr.catalogue, key, "/dev/stdout").rpartition("}")[0] + "}")
    record["claim"] = {
        "host": host,
        "boot_id": boot_id,
        "pid": 1,
        "started": 1,
        "since": 1700000000,
        "pool": "11111111-2222-4333-8444-555555555555",
        "addresses": ["192.0.2.9:0/77"],
    }
    sr.pool.rados("setomapval", sr.catalogue, key, json.dumps(record))
    return vdi


@pytest.fixture
def claimed(sr: CephSr) -> str:
    """A disk that a host of another pool has claimed."""
    return claim(sr, STRANGER, "another boot")


def test_a_claim_of_another_host_is_released_only_with_yes(sr: CephSr, claimed: str) -> None:
    lab = sr.lab
    words = ["release", "--sr", sr.uuid, "--vdi", claimed, *sr.pool.device_config]
    asked = lab.admin(*words)
    assert asked.returncode == 2
    assert b"add --yes" in asked.stdout

    assert "in use" in lab.refused("vdi-destroy", f"uuid={claimed}")
    shown = lab.refused("vdi-resize", f"uuid={claimed}", "disk-size=2GiB")
    assert f"VDI {claimed} is in use: host {STRANGER} has claimed it for writing since" in shown
    assert "the claim is of XAPI pool" in shown
    assert sr.image(claimed) in sr.pool.images()

    done = lab.admin(*words, "--yes")
    assert done.check() == f"released the claim of host {STRANGER}\n".encode()
    assert lab.admin(*words, "--yes").check() == b"no host has claimed it: nothing to release\n"
    sr.destroy_vdi(claimed)
    assert sr.image(claimed) not in sr.pool.images()


def test_a_claim_is_not_released_while_its_host_uses_the_disk(sr: CephSr) -> None:
    claimed = claim(sr, sr.lab.hosts[1].uuid, sr.lab.hosts[1].boot_id)
    link = f"/run/blktap-control/nbd/{sr.uuid}/{claimed}"
    host = sr.lab.hosts[1]
    host.exec(["mkdir", "-p", link.rpartition("/")[0]]).check()
    host.exec(["ln", "-s", "/run/blktap-control/nbd1.0", link]).check()
    words = ["release", "--sr", sr.uuid, "--vdi", claimed, "--yes", *sr.pool.device_config]
    refused = sr.lab.admin(*words, host=1)
    assert refused.returncode == 1
    assert b"this host uses VDI" in refused.stderr
    elsewhere = sr.lab.admin(*words)
    assert elsewhere.returncode == 1, "that host replies that it uses the disk"
    for part in ("was not released", host.uuid, "unplug it there", "--force"):
        assert part in elsewhere.stderr.decode()
    warned = sr.lab.admin(*(word for word in words if word != "--yes"), "--force")
    assert warned.returncode == 2
    assert b"two hosts destroy the disk's content" in warned.stdout
    host.exec(["rm", link]).check()
    assert sr.lab.admin(*words, host=1).check() == b"no host has claimed it: nothing to release\n"
    sr.destroy_vdi(claimed)


@pytest.mark.parametrize("all_clients", [False, True])
def test_a_fenced_host_loses_its_disks_only_with_yes(sr: CephSr, claimed: str, all_clients: bool) -> None:
    lab, dead = sr.lab, STRANGER
    words = ["fence", "--sr", sr.uuid, "--host", dead, *sr.pool.device_config]
    words += ["--all-clients"] if all_clients else []
    asked = lab.admin(*words)
    assert asked.returncode == 2
    assert b"add --yes" in asked.stdout
    done = lab.admin(*words, "--yes").check().decode()
    listed = str(lab.ceph.admin("osd", "blocklist", "ls"))
    lab.ceph.admin("osd", "blocklist", "clear")
    assert f"host {dead} is declared dead in SR {sr.uuid}\n" in done
    assert "192.0.2.9:0/77" in done
    assert "192.0.2.9:0/77" in listed
    assert ("192.0.2.9:0/0" in listed) == ("192.0.2.9:0/0" in done) == all_clients
    sr.destroy_vdi(claimed)


def test_version_and_help(lab: CephRbdLab) -> None:
    assert lab.admin("--version").check().startswith(b"smblock 0.")
    help_text = lab.admin("--help").check().decode()
    for command in ("check", "reclaim", "release", "fence"):
        assert command in help_text
    assert lab.admin().returncode == 2


def test_a_host_that_has_no_vm_with_the_disk_has_no_limit_set(sr: CephSr) -> None:
    """XAPI's record of a plug may be stale."""
    lab, vdi = sr.lab, sr.create_vdi()
    vm = lab.xe("vm-create", "name-label=gone")
    vbd = lab.xe("vbd-create", f"vm-uuid={vm}", f"vdi-uuid={vdi}", "device=0")
    db, host = lab.xapi.pool.db, lab.hosts[0]
    db.set("VBD", db.by_uuid("VBD", vbd), "currently_attached", True)
    db.set("VM", db.by_uuid("VM", vm), "resident_on", lab.ref(host))
    done = lab.admin("vdi", "limit", vdi, "--iops", "700").check().decode()
    assert f"host {host.uuid}: no VM uses the disk there" in done
    db.set("VBD", db.by_uuid("VBD", vbd), "currently_attached", False)
    lab.xe("vm-destroy", f"uuid={vm}")
    sr.destroy_vdi(vdi)
