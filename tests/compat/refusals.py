"""If librados or the kernel does not support something, it is refused, and the fix in the error works.

pytest collects this file only when it is named on the command line.
"""

from __future__ import annotations

import pytest

from lab.cephrbd import CephRbdLab, RbdPool
from lab.disk import MIB, Disk, read, write
from lab.dom0 import Dom0
from lab.xapi.lab_pool import XeError

DATA = b"data" * (MIB // 4)


def with_an_aes_key(pool: RbdPool, error: str) -> RbdPool:
    """The pool with another user, whose key has the type `aes`, made with the commands that an error names."""
    ceph = pool.lab.ceph
    for command in (
        "ceph mon set auth_allowed_ciphers aes,aes256k",
        "ceph config set mon mon_auth_allow_insecure_key true",
    ):
        assert command in error
        ceph.admin(*command.split()[1:])
    assert "ceph auth get-or-create client." in error
    assert "--key-type aes" in error
    user, profile = f"{pool.user}-aes", f"profile rbd pool={pool.name}"
    keyring = ceph.directory / f"client.{user}.keyring"
    ceph.admin(
        "auth", "get-or-create", f"client.{user}", "mon", "profile rbd", "osd", profile, "mgr", profile,
        "--key-type", "aes", "--out-file", str(keyring), "--format", "plain",
    )  # fmt: skip
    pool.lab.distribute_keyring(keyring)
    return RbdPool(pool.lab, pool.name, user)


def test_librados_without_a_keys_type_gets_a_key_that_works(lab: CephRbdLab, rbd_pool: RbdPool) -> None:
    words = ["sr-create", "type=cephrbd", "shared=true", "name-label=refused", *rbd_pool.device_config]
    assert "is of type 2" in lab.refused(*words)
    done = lab.admin("check", *rbd_pool.device_config)
    report = done.stdout.decode()
    assert done.returncode == 1
    assert "FAILED   keyring: " in report
    sr = with_an_aes_key(rbd_pool, report).create_sr()
    vdi = sr.create_vdi("disk")
    sr.scan()
    assert sr.vdis() == {vdi}
    report = lab.admin("check", *sr.pool.device_config).stdout.decode()
    assert "ok       keyring: " in report
    assert "ok       user: " in report


def test_a_kernel_without_a_keys_type_gets_a_key_that_works(guests_rbd_pool: RbdPool, one: Dom0, two: Dom0) -> None:
    disk = Disk.create(guests_rbd_pool.create_sr())
    with pytest.raises(XeError, match="is of type 2") as refused:
        disk.plug(one)
    assert disk.traces(one) == []
    disk = Disk.create(with_an_aes_key(guests_rbd_pool, str(refused.value)).create_sr())
    with disk.plugged(one) as device:
        write(one, device, DATA)
    with disk.plugged(two) as device:
        assert read(two, device, MIB) == DATA


def test_a_kernel_without_messenger_v2_is_named_with_the_fix(guests_rbd_pool: RbdPool, one: Dom0) -> None:
    disk = Disk.create(guests_rbd_pool.create_sr())
    with pytest.raises(XeError, match=r"cannot use v2 \(Linux 5.11 can\)") as refused:
        disk.plug(one)
    assert "ceph mon set-addrs" in str(refused.value)
    assert disk.traces(one) == []
