"""Runs the tests of the crate `hostdev` that need a kernel with RBD and NBD, inside a guest host."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.cephrbd import RbdPool
from lab.dom0 import Dom0
from lab.wheel import REPOSITORY

PROGRAM = "/tmp/krbd-tests"
NBD_PROGRAM = "/tmp/nbd-tests"
CONF = "/tmp/krbd-tests.conf"
KEYRING = "/tmp/krbd-tests.keyring"
KEY = "/tmp/krbd-tests.key"
# Seconds for each in an emulated machine: some start `rbd` several times.
SECONDS = 120
BUILD_SECONDS = 280

QUICK = [
    "a_wrong_key_is_refused_with_the_user_and_without_the_key",
    "an_image_has_one_device_however_often_it_is_mapped",
    "an_image_that_does_not_exist_is_an_error_that_says_so",
    "an_open_device_stays_and_the_error_names_who_has_it_open",
    "the_key_is_nowhere_in_sysfs_and_nowhere_in_the_kernels_log",
    "reaching::the_kernel_takes_a_key_of_type_1_and_refuses_one_of_type_2",
]
SLOW = [
    "a_device_node_is_made_where_nothing_manages_dev",
    "a_read_only_mapping_becomes_writable_when_asked_unless_it_is_in_use",
    "a_snapshot_has_a_device_for_each_label",
    "a_snapshot_is_read_only_and_beside_its_image",
    "all_maps_of_a_host_share_one_client_unless_asked_otherwise",
    "an_image_made_anew_under_an_old_name_is_never_taken_for_the_old_one",
    "features_the_kernel_lacks_are_named_with_the_command_that_drops_them",
    "images_of_one_name_in_two_namespaces_are_two_devices",
    "reaching::a_monitor_that_is_away_keeps_no_image_from_being_mapped",
    "reaching::addresses_of_ipv6_are_read_by_the_kernel",
    "silent_monitors_cost_the_deadline_and_do_not_hold_the_process",
]


@dataclass(frozen=True)
class Program:
    """Rust's test program in a guest, and the cluster's address for it."""

    host: Dom0
    environment: dict[str, str]

    def run(self, *arguments: str) -> str:
        """Run the program. Returns its output; `LabError` if a test fails."""
        done = self.host.exec([PROGRAM, *arguments], env=self.environment, timeout=SECONDS)
        return (done.check() + done.stderr).decode()


@pytest.fixture(scope="module")
def program(one: Dom0, guests_rbd_pool: RbdPool) -> Iterator[Program]:
    host, ceph = one, guests_rbd_pool.lab.ceph
    host.put(PROGRAM, build("krbd").read_bytes(), mode=0o755)
    admin = f"[client.admin]\nkey = {ceph.key('admin')}\n"
    host.put(KEYRING, admin.encode(), mode=0o600)
    host.put(CONF, f"{ceph.client_conf()}keyring = {KEYRING}\n".encode())
    host.put(KEY, ceph.key(guests_rbd_pool.user).encode(), mode=0o600)
    pools = {entry["poolname"]: entry["poolnum"] for entry in ceph.admin("osd", "lspools")}
    environment = {
        "CONF": CONF,
        "MONITORS": ceph.mon_host,
        "MS_MODE": "legacy",
        "FSID": ceph.fsid,
        "POOL": guests_rbd_pool.name,
        "POOL_ID": str(pools[guests_rbd_pool.name]),
        "USER": guests_rbd_pool.user,
        "KEYFILE": KEY,
    }
    yield Program(host, {f"SMBLOCK_TEST_CEPH_{name}": value for name, value in environment.items()})
    host.exec(["rm", "-f", PROGRAM, CONF, KEYRING, KEY]).check()


def build(name: str) -> Path:
    """The test program that cargo builds, or has built, of one of hostdev's tests/*.rs."""
    argv = ["cargo", "test", "--locked", "--no-run", "--package", "hostdev", "--test", name, "--message-format=json"]
    done = subprocess.run(argv, cwd=REPOSITORY, env=os.environ, capture_output=True, timeout=BUILD_SECONDS, check=True)
    messages = (json.loads(line) for line in done.stdout.splitlines())
    (program,) = (message["executable"] for message in messages if message.get("executable"))
    return Path(program)


def test_every_test_of_hostdev_is_listed(program: Program) -> None:
    listed = program.run("--list", "--format", "terse").split()
    assert sorted(name.rstrip(":") for name in listed if name != "test") == sorted(QUICK + SLOW)


@pytest.mark.parametrize("name", QUICK)
def test_hostdev_passes_its_quick_tests(program: Program, name: str) -> None:
    check(program, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_hostdev_passes_its_slow_tests(program: Program, name: str) -> None:
    check(program, name)


def check(program: Program, name: str) -> None:
    said = program.run("--exact", name, "--nocapture")
    assert "1 passed" in said
    assert "skipped:" not in said, "a test that misses its cluster passes, and has shown nothing"


def test_hostdev_promises_for_nbd(one: Dom0) -> None:
    """All of tests/nbd.rs at once: none of them is long, and they take turns anyway."""
    one.put(NBD_PROGRAM, build("nbd").read_bytes(), mode=0o755)
    done = one.exec([NBD_PROGRAM, "--nocapture"], env={"SMBLOCK_TEST_NBD": "1"}, timeout=SECONDS)
    said = (done.check() + done.stderr).decode()
    one.exec(["rm", NBD_PROGRAM]).check()
    assert "test result: ok" in said
    assert "skipped:" not in said, "a test that misses its kernel passes, and has shown nothing"
