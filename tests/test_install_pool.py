"""install.sh --pool: every host of a pool, the master first, and a host that fails stops no other."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.dom0_host import SM_DIR, Host
from tests.release_directory import VERSION, make_release

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="hosts of their own take chroot and mounts: root only")


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_release(tmp_path_factory.mktemp("release") / "smblock")


@pytest.fixture
def pool(tmp_path: Path, release: Path) -> list[Host]:
    """Three hosts. The third is the master. install.sh is started on the first."""
    kinds = ["8.3", "8.3", "8.3-linstor"]
    hosts = [Host(tmp_path / f"host{n}", kind, release, f"10.0.0.{n}") for n, kind in enumerate(kinds, 1)]
    first = hosts[0]
    first.peers = hosts[1:]
    records: dict[str, dict[str, object]] = {}
    for name, host in zip(["me", "two", "three"], hosts, strict=True):
        number = host.address[-1]
        records[name] = {"uuid": host.uuid, "name_label": f"host{number}", "hostname": f"host{number}"}
        records[name]["address"] = host.address
    first.set_xapi(host=records, pool={"pool": {"master": "three", "other_config": {}}})
    return hosts


def has_driver(host: Host) -> bool:
    return os.path.lexists(host.root / SM_DIR / "CephRBDSR")


def summary(printed: str) -> list[str]:
    """The lines of the table at the end."""
    lines = printed.splitlines()
    return lines[next(n for n, line in enumerate(lines) if line.startswith("host  ")) + 1 :]


def test_one_command_brings_every_host_the_driver_the_master_first(pool: list[Host]) -> None:
    # As after an upgrade by ISO: XAPI has an SR, and no driver of it.
    pool[0].plug("cephrbd", plugged=False)
    before = [host.tree() for host in pool]
    done = pool[0].install("--pool", "--restart")
    for host in pool:
        assert {driver["type"] for driver in host.xapi()["SM"].values()} == {"cephrbd", "crucible"}
    assert done.returncode == 0, done.stdout + done.stderr
    assert [has_driver(host) for host in pool] == [True, True, True]
    assert [host.noted("restarts") for host in pool] == [["restarted"]] * 3
    visited = [line for line in done.stdout.splitlines() if line.startswith("== ")]
    assert visited == ["== host3 (10.0.0.3)", "== host1 (10.0.0.1)", "== host2 (10.0.0.2)"]
    assert summary(done.stdout) == [
        f"host3  10.0.0.3         smblock {VERSION}: xapi uses it",
        f"host1  10.0.0.1         smblock {VERSION}: xapi uses it",
        f"host2  10.0.0.2         smblock {VERSION}: xapi uses it",
    ]
    assert [list((host.root / "var/tmp").iterdir()) for host in pool] == [[], [], []]
    done = pool[0].install("--pool", "--uninstall", "--restart")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [host.tree() for host in pool] == before


def test_host_that_is_down_stops_no_other_and_is_named_with_the_next_command(pool: list[Host]) -> None:
    first, second, master = pool
    first.peers = [second]
    (second.root / "etc/xapi.conf").unlink()
    done = first.install("--pool")
    assert done.returncode == 1
    assert [has_driver(host) for host in pool] == [True, False, False]
    assert summary(done.stdout) == [
        "host3  10.0.0.3         FAILED: ssh: connect to host 10.0.0.3 port 22: No route to host",
        f"host1  10.0.0.1         smblock {VERSION}: run xe-toolstack-restart",
        "host2  10.0.0.2         FAILED: install.sh: 1 of 15 checks failed: nothing was changed",
        "",
        "2 of 3 hosts failed. Fix them, then run: ./install.sh --pool --hosts host3,host2",
    ]
    assert "no file of xapi's sets sm-plugins" in done.stdout
    first.peers = [second, master]
    (second.root / "etc/xapi.conf").write_text("sm-plugins=ext\n")
    done = first.install("--pool", "--hosts", "host3,host2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [has_driver(host) for host in pool] == [True, True, True]


def test_unknown_host_is_refused_with_the_names_of_the_pool(pool: list[Host]) -> None:
    done = pool[0].install("--pool", "--hosts", "host9")
    assert done.returncode == 1
    assert "--hosts needs --pool" in pool[0].install("--hosts", "host1").stderr
    assert "the pool has no host host9. Its hosts are host3, host1, host2" in done.stderr


def test_dry_run_of_a_pool_changes_no_host(pool: list[Host]) -> None:
    before = [host.tree() for host in pool]
    done = pool[0].install("--pool", "--dry-run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("would install /opt/xensource/sm/CephRBDSR.py") == 3
    assert [host.tree() for host in pool] == before
