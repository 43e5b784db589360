"""Freeing space: in the background, by ceph-mgr or a reclaim worker, and by hand with smblock."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from lab.cephrbd import CephRbdLab, CephSr, RbdPool, wait_for
from lab.wheel import REPOSITORY

# Without `rbd task`, a reclaim worker frees the space: other calls, another timing.
pytestmark = pytest.mark.needs_tasks

MIB = 1 << 20


@pytest.fixture
def alone(lab: CephRbdLab, rbd_pool: RbdPool) -> CephSr:
    """An SR for which ceph-mgr does nothing: its user has no caps for it."""
    user = lab.user(f"{rbd_pool.user}-no-mgr", mon="profile rbd", osd=f"profile rbd pool={rbd_pool.name}")
    return RbdPool(lab, rbd_pool.name, user).create_sr()


def is_empty(sr: CephSr) -> bool:
    """Whether nothing of the SR's disks is left in the pool."""
    return sr.pool.images() == set() and sr.pool.trash() == "" and sr.catalogue_keys() == {"sr"}


def keys(sr: CephSr) -> set[str]:
    return set(sr.pool.rados("listomapkeys", sr.catalogue).split())


def scanned(sr: CephSr, condition: Callable[[], bool]) -> Callable[[], bool]:
    """Whether that holds after a scan."""

    def ask() -> bool:
        sr.scan()
        return condition()

    return ask


def worker(sr: CephSr) -> str:
    """The process id of the SR's worker on the first host, or nothing."""
    return sr.lab.hosts[0].exec(["pgrep", "-f", f"reclaim --background --sr {sr.uuid}"]).stdout.decode().strip()


def reclaim(sr: CephSr, *words: str) -> tuple[int, list[str]]:
    """Run `smblock reclaim` when no worker runs. Returns the exit status and the output."""
    done = None

    def free() -> bool:
        nonlocal done
        done = sr.lab.admin("reclaim", "--sr", sr.uuid, *words, *sr.pool.device_config)
        return b"already frees the space of SR" not in done.stderr

    wait_for(free, "the worker to end")
    assert done is not None
    return done.returncode, done.stdout.decode().splitlines()


@contextmanager
def kept_open(sr: CephSr, image: str) -> Iterator[str]:
    """A client has an image open inside the `with` block. Yields its address."""
    path = f"{sr.pool.name}/{image}"
    argv = ["rbd", "--conf", str(sr.lab.ceph.conf), "watch", path]

    def status() -> str:
        return sr.lab.ceph.rbd("status", path)

    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as watching:
        wait_for(lambda: "watcher=" in status(), "the watch")
        yield status().partition("watcher=")[2].split()[0]
        watching.communicate(b"\n")  # a killed one keeps its watch for 30 s


def test_a_deleted_tree_of_clones_is_freed_without_a_command(alone: CephSr) -> None:
    lab = alone.lab
    family = [alone.create_vdi()]
    for _ in range(2):
        family.append(lab.xe("vdi-snapshot", f"uuid={family[-1]}"))
        family.append(lab.xe("vdi-clone", f"uuid={family[-1]}"))
    for vdi in family:
        alone.destroy_vdi(vdi)
    # The last worker may have ended before the last deletion: then the next scan starts one.
    wait_for(scanned(alone, lambda: is_empty(alone)), "the pool to be empty")


def test_a_deleted_disks_own_data_is_freed_and_its_snapshot_stays(sr: CephSr) -> None:
    lab, pool = sr.lab, sr.pool
    vdi = sr.create_vdi("small", "32MiB")
    path = f"{pool.name}/{sr.image(vdi)}"
    write = ("bench", "--io-type", "write", "--io-size", "1M", "--io-total")
    lab.ceph.rbd(*write, "1M", path)
    snapshot = lab.xe("vdi-snapshot", f"uuid={vdi}")
    before = lab.ceph.rbd("export", f"{path}@{snapshot}", "-")
    lab.ceph.rbd(*write, "16M", path)
    sr.destroy_vdi(vdi)
    wait_for(lambda: pool.image_info(sr.image(vdi))["size"] == 0, "the disk's own data to be freed")
    assert lab.ceph.rbd("export", f"{path}@{snapshot}", "-") == before

    status, lines = reclaim(sr, "--list")
    assert status == 0
    assert lines == [
        f"waits    {sr.image(vdi)}: deleted, and its own data is freed; "
        "it is freed after its last snapshot: 1 VDI(s), 0 that only clones need"
    ]
    sr.destroy_vdi(snapshot)
    wait_for(scanned(sr, lambda: is_empty(sr)), "ceph-mgr to free the rest")


def test_a_purged_clone_leaves_no_object_of_its_emptied_head(sr: CephSr) -> None:
    lab, pool = sr.lab, sr.pool
    parent = lab.xe("vdi-snapshot", f"uuid={sr.create_vdi('parent', '21MiB')}")
    clone = lab.xe("vdi-clone", f"uuid={parent}")
    prefix = pool.image_info(sr.image(clone))["block_name_prefix"]
    snapshot = lab.xe("vdi-snapshot", f"uuid={clone}")
    lab.ceph.rbd("bench", "--io-type", "write", "--io-size", "1M", "--io-total", "2M", f"{pool.name}/{sr.image(clone)}")
    sr.destroy_vdi(clone)
    wait_for(lambda: pool.image_info(sr.image(clone))["size"] == 0, "the clone's own data to be freed")

    def objects() -> list[str]:
        return [name for name in pool.objects() if name.startswith(prefix)]

    assert len(objects()) >= 4, "librbd leaves a whiteout for each object without data"
    sr.destroy_vdi(snapshot)
    wait_for(scanned(sr, lambda: sr.image(clone) not in pool.trash()), "ceph-mgr to free the clone")
    assert objects() == []
    assert sr.image(clone) not in pool.images()


def test_disks_are_deleted_and_freed_without_ceph_mgr(sr: CephSr) -> None:
    ceph = sr.lab.ceph
    disks = [sr.create_vdi() for _ in range(3)]
    ceph.stop_mgr()
    try:
        start = time.monotonic()
        for vdi in disks:
            sr.destroy_vdi(vdi)
        # Each sends a request to ceph-mgr, and waits for its reply for a short time only.
        assert time.monotonic() - start < 30
        wait_for(lambda: is_empty(sr), "a worker to free the disks")
    finally:
        ceph.start_mgr()
    ceph.wait_pool_stats(sr.pool.name)


def test_a_new_worker_continues_after_a_killed_one_and_only_one_runs(alone: CephSr) -> None:
    lab = alone.lab
    vdi = alone.create_vdi("large", "512GiB")
    start = time.monotonic()
    alone.destroy_vdi(vdi)
    took = time.monotonic() - start
    wait_for(lambda: "worker" in keys(alone), "a worker to start", 10)
    # The command has ended, its worker has not; a second worker ends at once.
    assert alone.image(vdi) in alone.pool.trash(), f"freed within {took:.1f} s"
    for host in (0, 1):
        second = lab.admin("reclaim", "--sr", alone.uuid, *alone.pool.device_config, host=host)
        assert second.returncode == 1
        assert f"on host {lab.hosts[0].uuid} already frees the space of SR {alone.uuid}" in second.stderr.decode()
    lab.hosts[0].exec(["kill", "-KILL", worker(alone)]).check()
    assert alone.image(vdi) in alone.pool.trash()

    status, lines = reclaim(alone)
    assert status == 0
    assert lines == [f"done     {alone.image(vdi)}: its space is free"]
    assert is_empty(alone)


def test_an_open_image_is_listed_with_its_client_and_freed_when_closed(alone: CephSr) -> None:
    kept, freed = alone.create_vdi("kept"), alone.create_vdi("freed")
    with kept_open(alone, alone.image(kept)) as address:
        for vdi in (kept, freed):
            alone.destroy_vdi(vdi)
        wait_for(lambda: alone.image(freed) not in alone.pool.trash(), "the other one to be freed")
        _, (line,) = reclaim(alone, "--list")
        assert line.startswith(f"waits    {alone.image(kept)}: deleted, ")
        assert f"; client {address} has it open" in line
    wait_for(lambda: is_empty(alone), "the worker to free it")


def test_a_snapshot_taken_by_hand_keeps_a_deleted_disk_and_is_listed(sr: CephSr) -> None:
    vdi = sr.create_vdi()
    path = f"{sr.pool.name}/{sr.image(vdi)}"
    sr.lab.ceph.rbd("snap", "create", f"{path}@by-hand")
    sr.destroy_vdi(vdi)
    wait_for(lambda: sr.pool.image_info(sr.image(vdi))["size"] == 0, "the disk's own data to be freed")
    status, (line,) = reclaim(sr)
    assert (status, line.partition(":")[0]) == (0, f"waits    {sr.image(vdi)}")
    assert f"'rbd snap rm {path}@by-hand'" in line
    sr.lab.ceph.rbd("snap", "rm", f"{path}@by-hand")
    sr.scan()
    wait_for(scanned(sr, lambda: is_empty(sr)), "ceph-mgr to free it")


@pytest.mark.parametrize("fixture", [pytest.param("sr", id="by the manager"), pytest.param("alone", id="by a worker")])
def test_a_disk_with_many_parents_is_flattened_in_the_background(fixture: str, request: pytest.FixtureRequest) -> None:
    sr: CephSr = request.getfixturevalue(fixture)
    lab, pool = sr.lab, sr.pool
    if fixture == "sr":
        wait_for(lab.ceph.takes_tasks, "ceph-mgr to accept tasks")
    snapshot = lab.xe("vdi-snapshot", f"uuid={sr.create_vdi()}")
    clone = lab.xe("vdi-clone", f"uuid={snapshot}")
    key = f"vdi.{clone}"

    def record() -> dict[str, object]:
        text = pool.rados("getomapval", sr.catalogue, key, "/dev/stdout")
        return dict(json.loads(text[text.index("{") : text.rindex("}") + 1]))

    assert record()["depth"] == 1
    pool.rados("setomapval", sr.catalogue, key, json.dumps({**record(), "depth": 9}))
    sr.scan()
    wait_for(lambda: "parent" not in pool.image_info(sr.image(clone)), "the disk to stand alone")
    wait_for(scanned(sr, lambda: record()["depth"] == 0), "the disk's record to say so")


# With a simulator of systemd.


@pytest.fixture
def starter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], tuple[list[str], list[str]]]]:
    """Starts a worker with that script as systemd-run. Returns what was executed, and the log."""
    # The package without its core.
    package = ModuleType("smblock")
    package.__path__ = [str(REPOSITORY / "drivers/smblock")]
    monkeypatch.setitem(sys.modules, "smblock", package)
    worker, detached = (importlib.import_module(f"smblock.{name}") for name in ("worker", "detached"))
    executed = tmp_path / "executed"
    executed.touch()
    monkeypatch.setattr(detached, "HAS_SYSTEMD", True)
    monkeypatch.setattr(detached, "TIMEOUT", 1)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    def start(systemd_run: str) -> tuple[list[str], list[str]]:
        for name, script in (("systemctl", "exit 1"), ("systemd-run", systemd_run)):
            path = tmp_path / name
            path.write_text(f'#!/bin/sh\necho "{name} $*" >>{executed}\n{script}\n')
            path.chmod(0o755)
        logged: list[str] = []
        worker.start("SR-UUID", {"pool": "vms", "ceph_user": "xcp"}, logged.append)
        return executed.read_text().splitlines(), logged

    yield start
    for name in ("child", "detached", "worker"):
        del sys.modules[f"smblock.{name}"]


def test_a_worker_is_a_unit_of_systemd(
    starter: Callable[[str], tuple[list[str], list[str]]],
) -> None:
    executed, logged = starter("exit 0")
    unit = "smblock-reclaim-SR-UUID.service"
    words = "reclaim --background --sr SR-UUID device-config:ceph_user=xcp device-config:pool=vms"
    admin = REPOSITORY / "drivers/smblock-admin"
    assert executed == [f"systemd-run --unit={unit} {admin} {words}"]
    assert logged == []


def test_a_unit_that_runs_already_is_left_alone(starter: Callable[[str], tuple[list[str], list[str]]]) -> None:
    refusal = "Failed to start transient service unit: Unit smblock-reclaim-SR-UUID.service already exists."
    executed, logged = starter(f"echo '{refusal}' >&2; exit 1")
    assert [line.split()[0] for line in executed] == ["systemd-run", "systemctl", "systemd-run"], "it may have failed"
    assert logged == []


@pytest.mark.parametrize(("script", "reason"), [("echo broken >&2; exit 1", "broken"), ("exec sleep 60", "timed out")])
def test_a_worker_that_cannot_be_started_is_logged_and_fails_no_command(
    starter: Callable[[str], tuple[list[str], list[str]]], script: str, reason: str
) -> None:
    _, (line,) = starter(script)
    assert "SR SR-UUID: cannot start the reclaim worker" in line
    assert reason in line
