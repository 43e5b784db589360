"""A mistake in a configuration is an immediate error that names it and the fix, and leaves nothing behind."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from lab.cephrbd import CephRbdLab, RbdPool
from lab.dom0 import Dom0

KEYS = (
    "pool, namespace, data_pool, ceph_conf, conf, ceph_user, user, keyring, mon_host, datapath, image_features, "
    "object_size, stripe_unit, stripe_count, ms_mode"
)
# The form of a key, in base64.
SECRET = "AQBnEe5kAAAAABAAeFYpO2Cn0lIYkBbwCvUCFA=="


@pytest.fixture(scope="module")
def rbd_pool(shared_rbd_pool: RbdPool) -> RbdPool:
    return shared_rbd_pool


@pytest.fixture
def silent_monitor(lab: CephRbdLab) -> Iterator[str]:
    """An address that accepts connections and never replies."""
    with socket.socket() as listener:
        listener.bind((lab.ceph.address, 0))
        listener.listen()
        address, port = listener.getsockname()
        yield f"{address}:{port}"


def refused(lab: CephRbdLab, config: dict[str, str]) -> str:
    """Try to create an SR. Returns the error.  The attempt must leave nothing behind."""
    srs = lab.list("sr")
    words = [f"device-config:{key}={value}" for key, value in config.items()]
    complaint = lab.refused("sr-create", "type=cephrbd", "shared=true", "name-label=never", *words)
    assert lab.list("sr") == srs
    assert "Traceback" not in complaint
    return complaint


def drivers_running(host: Dom0) -> str:
    """The driver's processes on the host."""
    found = host.exec(["pgrep", "--full", "--list-full", "CephRBDSR"])
    return found.stdout.decode()


def test_a_missing_pool_is_an_error_with_the_command_that_lists_pools(lab: CephRbdLab, rbd_pool: RbdPool) -> None:
    complaint = refused(lab, {"ceph_user": rbd_pool.user})
    assert "SR_BACKEND_FAILURE_115" in complaint
    assert "device-config:pool is missing" in complaint
    assert "sr-probe" in complaint


def test_an_unknown_pool_is_an_error_that_lists_the_pools(lab: CephRbdLab, rbd_pool: RbdPool) -> None:
    complaint = refused(lab, {"pool": "no-such-pool", "ceph_user": rbd_pool.user})
    assert "SR_BACKEND_FAILURE_47" in complaint
    assert "no pool no-such-pool" in complaint
    assert rbd_pool.name in complaint


def test_a_pool_without_the_rbd_application_is_refused_with_the_fix(lab: CephRbdLab, pool: str) -> None:
    lab.ceph.admin("osd", "pool", "application", "disable", pool, "rbd", "--yes-i-really-mean-it")
    user = f"user-of-{pool}"
    lab.distribute_keyring(lab.ceph.create_user(user, pool))
    complaint = refused(lab, {"pool": pool, "ceph_user": user})
    assert f"ceph osd pool application enable {pool} rbd" in complaint
    assert RbdPool(lab, pool, user).objects() <= {"rbd_directory", "rbd_info", "rbd_trash"}


def test_an_unknown_key_is_an_error_that_lists_the_valid_ones(lab: CephRbdLab, rbd_pool: RbdPool) -> None:
    complaint = refused(lab, {"pool": rbd_pool.name, "ceph_user": rbd_pool.user, "pol": "vms"})
    assert "SR_BACKEND_FAILURE_1\n" in complaint
    assert f"device-config:'pol' is unknown; the valid keys are: {KEYS}" in complaint


@pytest.mark.parametrize("key", ["key", "secret", "password", "keyring"])
def test_a_secret_in_the_device_config_is_refused_and_never_repeated(
    lab: CephRbdLab, rbd_pool: RbdPool, key: str
) -> None:
    complaint = refused(lab, {"pool": rbd_pool.name, "ceph_user": rbd_pool.user, key: SECRET})
    assert f"device-config:{key}" in complaint.replace("'", "")
    assert "is refused" in complaint
    assert SECRET.rstrip("=") not in complaint


@pytest.mark.parametrize(
    ("config", "missed"),
    [
        ({"ceph_conf": "/etc/ceph/no-such.conf"}, "/etc/ceph/no-such.conf"),
        ({"keyring": "/etc/ceph/no-such.keyring"}, "/etc/ceph/no-such.keyring"),
        (
            {"ceph_user": "nobody-here"},
            "no key of client.nobody-here was found; looked at /etc/ceph/ceph.client.nobody-here.keyring,",
        ),
    ],
    ids=["conf", "keyring", "user's keyring"],
)
def test_a_missing_file_is_an_error_that_names_it(
    lab: CephRbdLab, rbd_pool: RbdPool, config: dict[str, str], missed: str
) -> None:
    complaint = refused(lab, {"pool": rbd_pool.name, "ceph_user": rbd_pool.user, **config})
    assert "SR_BACKEND_FAILURE_47" in complaint
    assert missed in complaint
    assert "smblock check" in complaint


def test_a_user_that_the_cluster_lacks_is_refused_by_name(lab: CephRbdLab, rbd_pool: RbdPool) -> None:
    stranger = lab.ceph.directory / "client.stranger.keyring"
    stranger.write_text(f"[client.stranger]\n\tkey = {lab.ceph.key(rbd_pool.user)}\n")
    lab.distribute_keyring(stranger)
    complaint = refused(lab, {"pool": rbd_pool.name, "ceph_user": "stranger"})
    assert "SR_BACKEND_FAILURE_47" in complaint
    assert "stranger" in complaint
    assert lab.ceph.key(rbd_pool.user) not in complaint


def test_a_missing_osd_cap_is_named(lab: CephRbdLab, rbd_pool: RbdPool) -> None:
    profile = f"profile rbd pool={rbd_pool.name}"
    user = lab.user("no-osd-cap", mon="profile rbd", mgr=profile)
    complaint = refused(lab, {"pool": rbd_pool.name, "ceph_user": user})
    assert f"client.{user} lacks the cap osd 'profile rbd pool={rbd_pool.name}'" in complaint
    assert f"ceph auth get client.{user};" in complaint
    assert "smblock check" in complaint


def test_a_missing_mon_cap_is_named(lab: CephRbdLab, rbd_pool: RbdPool) -> None:
    profile = f"profile rbd pool={rbd_pool.name}"
    user = lab.user("no-mon-cap", osd=profile, mgr=profile)
    config = {"pool": rbd_pool.name, "ceph_user": user}
    assert "SR_BACKEND_FAILURE_47" in refused(lab, config)
    report = lab.admin("check", *RbdPool(lab, rbd_pool.name, user).device_config).stdout.decode()
    assert f"client.{user} mon 'profile rbd' osd 'profile rbd pool={rbd_pool.name}'" in report


def test_caps_of_old_releases_are_refused_when_an_sr_is_created(lab: CephRbdLab, rbd_pool: RbdPool) -> None:
    osd = f"allow class-read object_prefix rbd_children, allow rwx pool={rbd_pool.name}"
    user = lab.user("old-caps", mon="allow r", osd=osd)
    complaint = refused(lab, {"pool": rbd_pool.name, "ceph_user": user})
    assert f"client.{user} lacks the cap mon 'profile rbd'" in complaint
    assert f"ceph auth caps client.{user} mon 'profile rbd' osd 'profile rbd pool={rbd_pool.name}'" in complaint
    assert "checking that a dead host can be cut off" in complaint


def test_a_missing_mgr_cap_is_named_by_the_check_and_stops_no_disk(lab: CephRbdLab, rbd_pool: RbdPool) -> None:
    user = lab.user("no-mgr-cap", mon="profile rbd", osd=f"profile rbd pool={rbd_pool.name}")
    report = lab.admin("check", *RbdPool(lab, rbd_pool.name, user).device_config).stdout.decode()
    assert "warning  mgr caps: " in report
    assert f"ceph auth caps client.{user} mon 'profile rbd'" in report
    sr = RbdPool(lab, rbd_pool.name, user).create_sr()
    sr.destroy_vdi(sr.create_vdi())
    sr.destroy()


@pytest.mark.slow  # test_cephrbd.py has the case of a cluster that is down
def test_silent_monitors_are_an_error_in_time_and_leave_no_process(
    lab: CephRbdLab, rbd_pool: RbdPool, silent_monitor: str
) -> None:
    config = {"pool": rbd_pool.name, "ceph_user": rbd_pool.user, "mon_host": silent_monitor}
    began = time.monotonic()
    complaint = refused(lab, config)
    assert time.monotonic() - began < 38  # 30 s for the monitors, the rest for Python and SM
    assert "SR_BACKEND_FAILURE_47" in complaint
    assert "smblock check" in complaint
    assert drivers_running(lab.hosts[0]) == ""


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("pool", "vms,name=admin"),
        ("pool", "--conf=/tmp/evil"),
        ("pool", "vms/../other"),
        ("ceph_user", "x --keyring /tmp/evil"),
        ("ceph_user", "x,secret=y"),
        ("mon_host", "127.0.0.1 --admin-socket=/tmp/evil"),
        ("mon_host", "$(id)"),
        ("ceph_conf", "/etc/ceph/../../tmp/evil"),
        ("ceph_conf", "/etc/ceph/ceph.conf,/tmp/evil"),
        ("keyring", "/proc/self/environ"),
        ("keyring", "relative/keyring"),
        ("datapath", "exec"),
        ("image_features", "layering,no-such-feature"),
        ("image_features", "exclusive-lock"),
        ("ms_mode", "secure,ro"),
    ],
)
def test_an_ambiguous_value_is_refused_by_key(lab: CephRbdLab, rbd_pool: RbdPool, key: str, value: str) -> None:
    complaint = refused(lab, {"pool": rbd_pool.name, "ceph_user": rbd_pool.user, key: value})
    assert f"device-config:{key}" in complaint
    assert "is refused" in complaint


def test_one_setting_under_two_names_is_refused_if_they_differ(lab: CephRbdLab, rbd_pool: RbdPool) -> None:
    complaint = refused(lab, {"pool": rbd_pool.name, "ceph_user": rbd_pool.user, "user": "another"})
    assert "device-config:ceph_user and device-config:user differ" in complaint


def test_short_key_names_work_as_long_ones_do(lab: CephRbdLab, rbd_pool: RbdPool) -> None:
    for host in lab.hosts:
        host.put("/etc/ceph/other.conf", lab.ceph.client_conf().encode())
        host.put("/etc/ceph/other.keyring", host.get(f"/etc/ceph/ceph.client.{rbd_pool.user}.keyring"), mode=0o600)
    found = lab.xe("sr-probe", "type=cephrbd", f"device-config:pool={rbd_pool.name}",
                   f"device-config:user=client.{rbd_pool.user}", "device-config:conf=/etc/ceph/other.conf",
                   "device-config:keyring=/etc/ceph/other.keyring",
                   f"device-config:mon_host={lab.ceph.mon_host}")  # fmt: skip
    assert "<SRlist" in found
