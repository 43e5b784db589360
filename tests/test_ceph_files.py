"""Faulty Ceph files on a host: the error names the file, the line and the fix."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from lab.cephrbd import CephRbdLab, RbdPool
from tests.test_bad_config import refused

FOREIGN_KEY = "AQDcyUFl8V0bBxAAh0dOYfrUyrCbPZZJ6A0jTQ=="
CONF = "/etc/ceph/backup.conf"


@pytest.fixture(scope="module")
def rbd_pool(shared_rbd_pool: RbdPool) -> RbdPool:
    return shared_rbd_pool


@pytest.fixture
def files(lab: CephRbdLab) -> Iterator[dict[str, bytes]]:
    """Files that a test adds to this dict are on the first host until the test ends."""
    wanted: dict[str, bytes] = {}
    yield wanted
    for path in wanted:
        lab.hosts[0].exec(["rm", "-f", path]).check()


def check(lab: CephRbdLab, config: dict[str, str]) -> dict[str, str]:
    """The lines of `smblock check` by part, each with its fix."""
    words = [f"device-config:{key}={value}" for key, value in config.items()]
    report = lab.hosts[0].exec(["/opt/xensource/sm/smblock-admin", "check", *words], timeout=60).stdout.decode()
    lines = {}
    for entry in report.replace("\n         -> ", " -> ").splitlines():
        verdict, _, rest = entry.partition(" ")
        part, _, text = rest.strip().partition(": ")
        lines[part] = f"{verdict} {text}"
    return lines


CONFS = {
    "byte-order mark": (lambda conf: b"\xef\xbb\xbf" + conf, "line 1: the file begins with a UTF-8 byte-order mark"),
    "no newline": (lambda conf: conf.rstrip(b"\n"), "the last line does not end with a newline"),
}


@pytest.mark.parametrize("case", CONFS)
def test_a_conf_that_librados_cannot_read_is_named_with_its_line(
    lab: CephRbdLab, rbd_pool: RbdPool, files: dict[str, bytes], case: str
) -> None:
    change, reason = CONFS[case]
    files[CONF] = change(lab.ceph.client_conf().encode())
    lab.hosts[0].put(CONF, files[CONF])
    config = {"pool": rbd_pool.name, "ceph_user": rbd_pool.user, "ceph_conf": CONF}
    complaint = refused(lab, config)
    assert "SR_BACKEND_FAILURE_47" in complaint
    assert CONF in complaint and reason in complaint
    line = check(lab, config)["ceph.conf"]
    assert line.startswith(f"FAILED {CONF}, line ") and reason in line


@pytest.mark.parametrize("case", ["json", "other user"])
def test_a_keyring_without_the_users_section_is_named_with_its_fault(
    lab: CephRbdLab, rbd_pool: RbdPool, files: dict[str, bytes], case: str
) -> None:
    key, path = lab.ceph.key(rbd_pool.user), "/etc/ceph/made.keyring"
    text, reason = {
        "json": (json.dumps([{"entity": f"client.{rbd_pool.user}", "key": key}]) + "\n", "the file is JSON"),
        "other user": (f"[client.other]\n\tkey = {FOREIGN_KEY}\n", "it has client.other"),
    }[case]
    files[path] = text.encode()
    lab.hosts[0].put(path, files[path], mode=0o600)
    config = {"pool": rbd_pool.name, "ceph_user": rbd_pool.user, "keyring": path}
    complaint = refused(lab, config)
    assert "SR_BACKEND_FAILURE_47" in complaint
    assert path in complaint and reason in complaint
    assert key not in complaint
    line = check(lab, config)["keyring"]
    assert line.startswith(f"FAILED {path}, ") and reason in line


def test_a_monitors_name_that_does_not_resolve_is_named_in_the_error(
    lab: CephRbdLab, rbd_pool: RbdPool, files: dict[str, bytes]
) -> None:
    files[CONF] = b"[global]\nmon_host = nosuch.invalid\n"
    lab.hosts[0].put(CONF, files[CONF])
    config = {"pool": rbd_pool.name, "ceph_user": rbd_pool.user, "ceph_conf": CONF}
    complaint = refused(lab, config)
    assert "SR_BACKEND_FAILURE_47" in complaint
    assert f"the host name nosuch.invalid does not resolve on this host; it is from mon_host in {CONF}" in complaint
    assert "server name not found" not in complaint
    assert check(lab, config)["ceph.conf"].startswith("FAILED ")


def test_a_second_clusters_key_is_never_put_over_the_firsts(
    lab: CephRbdLab, rbd_pool: RbdPool, files: dict[str, bytes]
) -> None:
    host, user = lab.hosts[0], rbd_pool.user
    default = f"/etc/ceph/ceph.client.{user}.keyring"
    own = host.get(default)
    files[CONF] = lab.ceph.client_conf().encode()
    host.put(CONF, files[CONF])
    host.put(default, f"[client.{user}]\n\tkey = {FOREIGN_KEY}\n".encode(), mode=0o600)
    config = {"pool": rbd_pool.name, "ceph_user": user, "ceph_conf": CONF}
    try:
        complaint = refused(lab, config)
        line = check(lab, config)["user"]
    finally:
        host.put(default, own, mode=0o600)
    proposed = f"/etc/ceph/backup.client.{user}.keyring"
    for text in (complaint, line):
        assert f"with the key in {default}" in text
        assert f"(mon_host in {CONF})" in text
        assert f"put its output into {proposed} here" in text
        assert f"device-config:keyring={proposed}" in text
        assert f"into {default}" not in text


def test_options_in_the_environment_do_not_change_the_cluster(lab: CephRbdLab, rbd_pool: RbdPool) -> None:
    words = [f"device-config:pool={rbd_pool.name}", f"device-config:ceph_user={rbd_pool.user}"]
    environment = {"CEPH_ARGS": "--mon_host 127.0.0.1:1", "CEPH_KEYRING": "/none", "CEPH_CONF": "/none"}
    argv = ["/opt/xensource/sm/smblock-admin", "check", *words]
    report = lab.hosts[0].exec(argv, env=environment, timeout=60).stdout.decode()
    assert f"ok       pool: {rbd_pool.name} exists" in report
