"""Runs the Rust crates' tests that need a cluster on a real one. Without it they are skipped."""

from __future__ import annotations

import os
import random
import re
import subprocess
from collections.abc import Iterator

import pytest

from lab.ceph import OneNodeCeph
from lab.cephrbd import wait_for
from lab.wheel import REPOSITORY
from tests.rust_programs import rust_programs

# They take seconds; the first run may have to build them.
pytestmark = pytest.mark.timeout(600)


def cluster_tests() -> list[tuple[str, str]]:
    """The test programs that need a cluster: the crate, librbd or sr-ceph, and the name."""
    found = set()
    for crate in ("librbd", "sr-ceph"):
        tests = REPOSITORY / "rust" / crate / "tests"
        for file in tests.rglob("*.rs"):
            if re.search("SMBLOCK_TEST_POOL|Lab::connect", file.read_text()):
                top = tests / file.relative_to(tests).parts[0]
                found.add((crate, top.stem))
    return sorted(found)


@pytest.fixture
def environment(ceph: OneNodeCeph, pool: str) -> Iterator[dict[str, str]]:
    """The tests' environment: a pool, and a user with the caps that docs/user/ceph-setup.md lists."""
    # Debian 13's manager cannot load the module.
    no_tasks = {"SMBLOCK_TEST_NO_TASKS": ceph.tasks_error()} if ceph.tasks_error() else {}
    if not no_tasks:
        wait_for(ceph.takes_tasks, "ceph-mgr to accept tasks")
    user = f"rust-{pool}"
    keyring = ceph.create_user(user, pool)
    yield {
        **os.environ,
        **no_tasks,
        "SMBLOCK_TEST_CEPH_CONF": str(ceph.conf),
        "SMBLOCK_TEST_CEPH_USER": user,
        "SMBLOCK_TEST_CEPH_ADMIN": "admin",
        "SMBLOCK_TEST_POOL": pool,
    }
    keyring.unlink()
    ceph.admin("auth", "rm", f"client.{user}")


def cargo_test(environment: dict[str, str], *arguments: str, timeout: float) -> subprocess.CompletedProcess[str]:
    """Run tests; none may fail, and none may be skipped."""
    # The whole workspace's features, as `make test` has them: else the crates are built again.
    done = subprocess.run(
        ["cargo", "test", "--workspace", "--locked", "--no-fail-fast", *arguments],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stderr, done.stderr
    return done


def test_every_rust_test_that_needs_a_cluster_passes_on_one(environment: dict[str, str]) -> None:
    paths = rust_programs()
    for crate, name in cluster_tests():
        done = subprocess.run(
            [paths[crate, name]],
            cwd=REPOSITORY / "rust" / crate, env=environment, capture_output=True, text=True, timeout=500, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert "skipped" not in done.stderr, done.stderr
        passed = re.search(r"^test result: ok\. (\d+) passed; 0 failed;", done.stdout, re.MULTILINE)
        assert passed is not None
        print(f"{crate} {name}: {passed[1]} tests passed")
        assert int(passed[1]) > 0, f"{crate} {name} has no test"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_change_recovers_from_a_crash_at_each_call(environment: dict[str, str]) -> None:
    done = cargo_test(environment, "--test", "on_ceph", "--", "--ignored", "--nocapture", timeout=3500)
    survived = re.search(r"(\d+) crash points survived", done.stderr)
    assert survived is not None
    print(survived[0])
    assert int(survived[1]) > 500


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_each_vdi_has_its_data_after_operations_of_two_hosts(environment: dict[str, str]) -> None:
    for seed in random.sample(range(1 << 32), 4):
        print(f"PROPTEST_RNG_SEED={seed}", flush=True)
        seeded = {**environment, "PROPTEST_RNG_SEED": str(seed)}
        cargo_test(seeded, "--test", "on_ceph", "--", "--nocapture", "model", timeout=300)
