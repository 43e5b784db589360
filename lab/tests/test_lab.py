"""Tests of the lab's Ceph cluster."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab import LabError, keeper
from lab.ceph import OneNodeCeph

REPOSITORY = Path(__file__).resolve().parents[2]


def test_a_cluster_starts_and_leaves_nothing_behind(tmp_path: Path) -> None:
    directory = tmp_path / "ceph"
    with OneNodeCeph(directory) as ceph:
        ceph.rbd("create", "--size", "1G", "rbd/disk")
        assert ceph.rbd("ls").split() == ["disk"]
        assert len(keeper.processes_naming(str(ceph.conf))) >= 3
    assert keeper.processes_naming(str(ceph.conf)) == []
    assert list(tmp_path.iterdir()) == []


def test_a_cluster_is_gone_when_the_test_process_is_killed(tmp_path: Path) -> None:
    directory = tmp_path / "ceph"
    script = (
        "import sys, time\n"
        "from lab.ceph import OneNodeCeph\n"
        "with OneNodeCeph(sys.argv[1], mgr=False, pool=None):\n"
        "    print('up', flush=True)\n"
        "    time.sleep(600)\n"
    )
    argv = [sys.executable, "-c", script, str(directory)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=REPOSITORY) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"up\n"
        owner.kill()
    end = time.monotonic() + 10
    while directory.exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not directory.exists()
    assert keeper.processes_naming(str(directory / "ceph.conf")) == []


def test_two_clusters_run_side_by_side_with_data_of_their_own(
    ceph: OneNodeCeph, pool: str, new_cluster: Callable[..., OneNodeCeph]
) -> None:
    ceph.rbd("create", "--size", "1G", f"{pool}/here")
    with new_cluster(mgr=False) as other:
        assert other.address != ceph.address
        assert other.rbd("ls", "rbd") == ""
    assert ceph.rbd("ls", pool).split() == ["here"]


def test_the_drivers_user_uses_its_pool_only_and_sets_no_quota(ceph: OneNodeCeph, pool: str) -> None:
    keyring = ceph.create_user("xcp", pool)
    assert keyring.stat().st_mode & 0o077 == 0
    ceph.rbd("create", "--size", "1G", f"{pool}/disk", user="xcp")
    assert ceph.rbd("ls", pool, user="xcp").split() == ["disk"]
    with pytest.raises(LabError, match="EACCES"):
        ceph.admin("--id", "xcp", "osd", "pool", "set-quota", pool, "max_bytes", "1")
    with pytest.raises(LabError, match="Operation not permitted"):
        ceph.rbd("ls", "rbd", user="xcp")


def test_usage_is_reported_with_its_quota(ceph: OneNodeCeph, pool: str) -> None:
    ceph.set_quota(pool, max_bytes=64 << 20)
    stats = ceph.wait_pool_stats(pool, until=lambda stats: stats["quota_bytes"] > 0)
    assert stats["quota_bytes"] == 64 << 20


def test_clients_get_a_reply_only_while_the_monitor_runs(
    new_cluster: Callable[..., OneNodeCeph],
) -> None:
    with new_cluster(mgr=False) as ceph:
        ceph.stop_monitor()
        with pytest.raises(LabError, match="timed out"):
            ceph.admin("status", timeout=1)
        ceph.start_monitor()
        ceph.rbd("create", "--size", "1G", "rbd/disk")


def test_a_paused_osd_delays_writes_until_it_resumes(ceph: OneNodeCeph, pool: str) -> None:
    ceph.pause_osd()
    try:
        with pytest.raises(LabError, match="no reply"):
            ceph.rbd("create", "--size", "1G", f"{pool}/disk", timeout=1)
    finally:
        ceph.resume_osd()
    ceph.rbd("create", "--size", "1G", f"{pool}/other")
    assert "other" in ceph.rbd("ls", pool).split()


def test_snapshots_wait_for_the_monitor_at_its_default_pace(new_cluster: Callable[..., OneNodeCeph]) -> None:
    with new_cluster(mgr=False, monitor_pace="default") as ceph:
        ceph.rbd("create", "--size", "1G", "rbd/disk")
        started = time.monotonic()
        for name in ("one", "two", "three"):
            ceph.rbd("snap", "create", f"rbd/disk@{name}")
        # Three commits, a second apart; at the fast pace they take a tenth of that.
        assert time.monotonic() - started > 1.5


def test_an_older_cluster_is_one_without_the_minimum_client_mimic(
    new_cluster: Callable[..., OneNodeCeph],
) -> None:
    with new_cluster(mgr=False, min_compat=None) as ceph:
        assert ceph.admin("osd", "get-require-min-compat-client", timeout=10) != "mimic"
