"""The Rust crates' own tests that need a cluster, on a real one: without it they skip themselves."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from tests.lab import LabError
from tests.lab.ceph import OneNodeCeph
from tests.lab.cephrbd import wait_for
from tests.wheel import REPOSITORY

# By themselves they take seconds; the first run may have to build them.
pytestmark = pytest.mark.timeout(600)


def cluster_tests() -> list[str]:
    """The test programs of the crates librbd and store that ask for a cluster."""
    found = set()
    for crate in ("librbd", "store"):
        folder = REPOSITORY / "rust" / crate / "tests"
        for file in folder.rglob("*.rs"):
            if re.search("SMBLOCK_TEST_POOL|Lab::connect", file.read_text()):
                top = folder / file.relative_to(folder).parts[0]
                found.add(top.stem)
    return sorted(found)


def manager_takes_tasks(ceph: OneNodeCeph) -> bool:
    """Whether its module for RBD is there, which it is some seconds after its start."""
    try:
        ceph.admin("rbd", "task", "list")
    except LabError:
        return False
    return True


def test_every_rust_test_that_needs_a_cluster_passes_on_one(ceph: OneNodeCeph, pool: str) -> None:
    wait_for(lambda: manager_takes_tasks(ceph), "the manager to take tasks")
    keyring = ceph.create_user(f"rust-{pool}", pool)
    environment = {
        **os.environ,
        "SMBLOCK_TEST_CEPH_CONF": str(ceph.conf),
        "SMBLOCK_TEST_CEPH_USER": f"rust-{pool}",
        "SMBLOCK_TEST_CEPH_ADMIN": "admin",
        "SMBLOCK_TEST_POOL": pool,
    }
    programs = [word for name in cluster_tests() for word in ("--test", name)]
    # The whole workspace's features, as `make test` has them: else the crates are built again.
    argv = ["cargo", "test", "--workspace", "--locked", "--no-fail-fast", *programs]
    done = subprocess.run(
        argv, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=590, check=False
    )
    keyring.unlink()
    ceph.admin("auth", "rm", f"client.rust-{pool}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stderr, done.stderr
    ran = re.findall(r"^ *Running (\S+)", done.stderr, re.MULTILINE)
    passed = re.findall(r"^test result: ok\. (\d+) passed; 0 failed; 0 ignored", done.stdout, re.MULTILINE)
    assert len(ran) == len(cluster_tests())
    for program, count in zip(ran, passed, strict=True):
        print(f"{program}: {count} tests passed")
        assert int(count) > 0, f"{program} holds no test"
