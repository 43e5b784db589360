"""Two versions of smblock in one pool, as during a rolling update, on a real Ceph: each uses what the other makes.

One host has the oldest release that is kept in `fixtures/releases`, the other the present version.
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab import wait_for
from lab.cephrbd import CephRbdLab, CephSr
from lab.copies import content, disk_of, disk_with, require_nothing_left, revert_vm, snapshot_vm, vm_with, write
from lab.disk import MIB, Disk
from lab.dom0 import Dom0
from tests.release_directory import VERSION
from tests.releases import OLDEST, installed, master, running


@pytest.fixture(scope="module", autouse=True)
def _two_versions(lab: CephRbdLab, driver_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    release = installed(OLDEST, tmp_path_factory.mktemp("release"))
    with running(lab, lab.hosts[1], release, driver_tree):
        yield


@pytest.fixture(params=[VERSION, OLDEST])
def hosts(request: pytest.FixtureRequest, lab: CephRbdLab) -> tuple[Dom0, Dom0]:
    """The host of that version, and the one of the other version."""
    present, oldest = lab.hosts
    return (present, oldest) if request.param == VERSION else (oldest, present)


def listed(sr: CephSr, host: Dom0) -> dict[str, dict[str, Any]]:
    """What XAPI has of each VDI after a scan by that host."""
    with master(sr.lab, host):
        sr.scan()
    with sr.lab.xapi.session() as session:
        rows = session.VDI.get_all_records().values()
        found = {row["uuid"]: row for row in rows if row["SR"] == session.SR.get_by_uuid(sr.uuid)}
    for row in found.values():
        row["sm_config"].pop("image-format", None)  # 0.1.0 leaves it, and newer versions remove it
    return found


def test_hosts_of_the_pool_have_two_versions(lab: CephRbdLab) -> None:
    said = [lab.admin("--version", host=number).stdout.decode() for number in (0, 1)]
    assert said == [f"smblock {VERSION}\n", f"smblock {OLDEST}\n"]


def test_each_version_uses_the_disks_that_the_other_has_made(shared_sr: CephSr, hosts: tuple[Dom0, Dom0]) -> None:
    sr, (writer, reader) = shared_sr, hosts
    with master(sr.lab, writer):
        disk = disk_with(sr, content(1), "made by the other")
        vm = vm_with(disk)
        before, snapshot = snapshot_vm(vm, sr)
        clone, of_snapshot = disk.clone(), snapshot.clone()
        sr.lab.xe("vdi-resize", f"uuid={clone.uuid}", f"disk-size={16 * MIB}")
        sr.lab.xe("vdi-param-set", f"uuid={disk.uuid}", "name-label=renamed")
        sr.lab.xe("sr-param-set", f"uuid={sr.uuid}", "name-label=two versions")
        Disk.create(sr).destroy()
    rows = listed(sr, writer)
    assert set(rows) == {each.uuid for each in (disk, snapshot, clone, of_snapshot)}
    assert listed(sr, reader) == rows
    with master(sr.lab, reader):
        assert disk.record()["xapi"]["name_label"] == "renamed"
        again, later = snapshot.clone(), clone.snapshot()
        assert (again.export(), later.export()[: 8 * MIB]) == (content(1), content(1))
        write(disk, content(2))
        revert_vm(before, sr)
        disk = disk_of(vm, sr)
        assert disk.export() == content(1)
        sr.lab.xe("vdi-resize", f"uuid={disk.uuid}", f"disk-size={24 * MIB}")
        snapshot.destroy()
    assert listed(sr, reader) == listed(sr, writer)
    with master(sr.lab, reader):
        for each in (clone, later, again, of_snapshot, disk):
            each.destroy()
        require_nothing_left(sr)


def test_each_version_recovers_a_command_of_the_other_that_was_killed(
    shared_sr: CephSr, hosts: tuple[Dom0, Dom0]
) -> None:
    sr, (writer, reader) = shared_sr, hosts
    with master(sr.lab, writer):
        disk = disk_with(sr, content(1))
    key = f"op.{disk.uuid}"
    with ThreadPoolExecutor() as threads, frozen_writer(disk), master(sr.lab, writer):
        snapshot = threads.submit(sr.lab.refused, "vdi-snapshot", f"uuid={disk.uuid}")
        wait_for(lambda: key in sr.catalogue_keys(), "the journal entry of the snapshot")
        entry = sr.pool.rados("getomapval", sr.catalogue, key, "/dev/stdout")
        owner = json.loads(entry[entry.index("{") : entry.rindex("}") + 1])["owner"]
        assert owner["host"] == writer.uuid
        writer.exec(["kill", "-KILL", str(owner["pid"])]).check()
        snapshot.result()
    assert key in sr.catalogue_keys()
    listed(sr, reader)
    let_lease_end(reader, f"{sr.uuid}.{key}")
    rows = listed(sr, reader)
    assert key not in sr.catalogue_keys()
    assert set(rows) == {disk.uuid}
    assert listed(sr, writer) == rows
    assert disk.snapshot_names() == set()
    with master(sr.lab, reader):
        disk.destroy()


def test_changes_across_a_revert_by_the_oldest_version_are_refused(shared_sr: CephSr, lab: CephRbdLab) -> None:
    """It takes no snapshot of the new image before its first change: nothing shows what was discarded there."""
    sr, (present, oldest) = shared_sr, lab.hosts
    with master(lab, present):
        disk = disk_with(sr, content(1))
        vm = vm_with(disk)
        lab.xe("vdi-enable-cbt", f"uuid={disk.uuid}")
        before, snapshot = snapshot_vm(vm, sr)
        write(disk, content(2))
        base = disk.snapshot()
    with master(lab, oldest):
        revert_vm(before, sr)
        sr.scan()
    with master(lab, present):
        disk = disk_of(vm, sr)
        sr.scan()
        lab.xe("vdi-enable-cbt", f"uuid={disk.uuid}")
        new = disk.snapshot()
        refused = lab.refused("vdi-list-changed-blocks", f"vdi-from-uuid={base.uuid}", f"vdi-to-uuid={new.uuid}")
        assert "SR_BACKEND_FAILURE_460" in refused
        for each in (new, base, snapshot, disk):
            each.destroy()
        require_nothing_left(sr)


def let_lease_end(host: Dom0, key: str) -> None:
    """Makes a host have seen a value of the catalogue for longer than a lease."""
    path = f"/run/smblock/seen/seen.{key}"
    seen = json.loads(host.get(path))
    host.put(path, json.dumps({**seen, "since": max(0, seen["since"] - 121)}).encode())


@contextmanager
def frozen_writer(disk: Disk) -> Iterator[None]:
    """Inside the `with` block a client has the image's exclusive lock, and does not reply: a snapshot waits for it."""
    ceph = disk.sr.lab.ceph
    bench = ["rbd", "--conf", str(ceph.conf), "bench", "--io-type", "write", "--io-size", "4K", "--io-threads", "1"]
    with subprocess.Popen([*bench, "--io-total", "1T", disk.image], stdout=subprocess.DEVNULL) as client:
        try:
            wait_for(lambda: "auto" in ceph.rbd("lock", "ls", disk.image), "the lock of the image")
            status = json.loads(ceph.rbd("status", "--format", "json", disk.image))
            client.send_signal(signal.SIGSTOP)
            yield
        finally:
            client.kill()
    for watcher in status["watchers"]:
        ceph.admin("osd", "blocklist", "add", watcher["address"])
