"""Runs the tests of the crate `hostdev` that need a kernel with RBD and NBD, inside a guest host."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab.cephrbd import RbdPool
from lab.dom0 import Dom0
from tests.rust_programs import rust_programs

PROGRAM = "/tmp/krbd-tests"
NBD_PROGRAM = "/tmp/nbd-tests"
CONF = "/tmp/krbd-tests.conf"
KEYRING = "/tmp/krbd-tests.keyring"
KEY = "/tmp/krbd-tests.key"
# Seconds for each in an emulated machine: some start `rbd` several times.
SECONDS = 120

# The first test may have to build the program.
pytestmark = pytest.mark.timeout(600)

QUICK = [
    "krbd::an_open_device_stays_and_the_error_names_the_opener",
    "krbd::repeated_maps_of_an_image_return_one_device",
    "krbd::the_error_of_a_missing_image_names_it",
    "krbd::the_error_of_a_wrong_key_has_the_user_but_no_key",
    "krbd::the_key_is_neither_in_sysfs_nor_in_the_kernel_log",
    "reaching::the_kernel_accepts_a_key_of_type_1_and_refuses_one_of_type_2",
]
SLOW = [
    "krbd::a_map_with_silent_monitors_fails_at_the_deadline",
    "krbd::a_new_image_with_an_old_name_gets_a_device_of_its_own",
    "krbd::a_read_only_mapping_becomes_writable_if_it_is_not_in_use",
    "krbd::a_snapshot_has_a_device_for_each_label",
    "krbd::a_snapshot_has_a_read_only_device_of_its_own",
    "krbd::all_maps_of_a_host_without_noshare_share_one_client",
    "krbd::images_of_one_name_in_two_namespaces_have_two_devices",
    "krbd::map_creates_the_device_node_if_no_other_program_does",
    "krbd::the_error_of_unsupported_features_has_a_command_that_works",
    "reaching::an_image_is_mapped_although_a_monitor_is_down",
    "reaching::the_kernel_reads_ipv6_addresses",
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
    host.put(PROGRAM, rust_programs()["hostdev", "it"].read_bytes(), mode=0o755)
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


def test_every_test_of_hostdev_is_listed(program: Program) -> None:
    listed = program.run("--list", "--format", "terse").split()
    names = [name.rstrip(":") for name in listed if name != "test"]
    assert sorted(name for name in names if not name.startswith("nbd::")) == sorted(QUICK + SLOW)


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
    """All tests of the module nbd together: each is short, and they run one at a time."""
    one.put(NBD_PROGRAM, rust_programs()["hostdev", "it"].read_bytes(), mode=0o755)
    done = one.exec([NBD_PROGRAM, "nbd::", "--nocapture"], env={"SMBLOCK_TEST_NBD": "1"}, timeout=SECONDS)
    said = (done.check() + done.stderr).decode()
    one.exec(["rm", NBD_PROGRAM]).check()
    assert "test result: ok" in said
    assert "skipped:" not in said, "a test that misses its kernel passes, and has shown nothing"
