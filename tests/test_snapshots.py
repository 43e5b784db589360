"""Snapshots and clones, as an administrator sees them through `xe`, on a real cluster.

Disks are not plugged here; `test_snapshots_plugged.py` has those that run, `test_reverts.py` has reverts.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab.cephrbd import CephSr, RbdPool
from lab.copies import (
    NULL,
    SIZE,
    content,
    disk_of,
    disk_with,
    require_nothing_left,
    revert_vm,
    row,
    snapshot_vm,
    vm_with,
    write,
)
from lab.disk import MIB, Disk
from lab.dom0 import Dom0
from lab.sr import fist_point
from lab.xapi import ApiError


@pytest.fixture(scope="module")
def sr(shared_sr: CephSr) -> CephSr:
    """One SR for the tests that do not check what is left at the end."""
    return shared_sr


# Their records and data


def test_snapshots_name_their_disk_and_have_its_data(sr: CephSr) -> None:
    disk = disk_with(sr, content(1), "root disk")
    snapshot = disk.snapshot()
    write(disk, content(2))
    clone = snapshot.clone()
    of_snapshot, of_clone = snapshot.snapshot(), clone.snapshot()
    for taken, source in ((snapshot, disk), (of_snapshot, snapshot), (of_clone, clone)):
        said = row(taken)
        assert (said["is_a_snapshot"], said["read_only"]) == (True, True)
        assert said["snapshot_of"] == source.uuid
        assert str(said["snapshot_time"]) > "20260101T"
        assert (said["name_label"], said["virtual_size"]) == ("root disk", str(SIZE))
        assert said["sm_config"] == {}
        assert taken.export() == content(1)
    assert disk.export() == content(2)
    assert (row(disk)["is_a_snapshot"], row(disk)["read_only"]) == (False, False)


def test_clones_are_disks_of_their_own(sr: CephSr) -> None:
    disk = disk_with(sr, content(1), "template")
    snapshot = disk.snapshot()
    write(disk, content(2))
    of_snapshot, of_disk = snapshot.clone(), disk.clone()
    of_clone = of_disk.clone()
    for made, source in ((of_snapshot, snapshot), (of_disk, disk), (of_clone, of_disk)):
        said = row(made)
        assert (said["is_a_snapshot"], said["read_only"], said["snapshot_of"]) == (False, False, None)
        assert (said["name_label"], said["virtual_size"]) == ("template", str(SIZE))
        assert made.export() == source.export()
    write(of_disk, content(3))
    assert [each.export() for each in (of_disk, of_clone, disk, snapshot)] == [
        content(3), content(2), content(2), content(1),
    ]  # fmt: skip


def test_a_clone_has_what_was_written_to_the_disks_image_by_hand(sr: CephSr) -> None:
    disk = disk_with(sr, content(1), "template")
    first, shared = disk.clone(), disk.clone()
    assert len(disk.snapshot_names()) == 1, "the clones share one snapshot"
    base = disk.record()["base"]
    write(disk, content(2))
    renewed, again = disk.clone(), disk.clone()
    assert [each.export() for each in (first, shared, renewed, again)] == [
        content(1), content(1), content(2), content(2),
    ]  # fmt: skip
    assert len(disk.snapshot_names()) == 1
    assert disk.record()["base"]["id"] != base["id"]


def test_blkback_serves_a_snapshot_and_a_clone_where_it_serves_the_disk(
    shared_rbd_pool: RbdPool, serves_phy: bool
) -> None:
    if not serves_phy:
        pytest.skip("this SM connects no block devices")
    sr = shared_rbd_pool.create_sr("phy", "device-config:datapath=phy")
    disk = Disk.create(sr, SIZE)
    family = (disk, disk.snapshot(), disk.clone())
    for _ in range(2):
        assert [row(vdi)["sm_config"]["backend-kind"] for vdi in family] == ["vbd"] * 3
        sr.scan()


def test_a_forgotten_sr_comes_back_with_what_every_vdi_is_a_snapshot_of(own_sr: CephSr) -> None:
    lab = own_sr.lab
    disk = Disk.create(own_sr, SIZE)
    snapshot, orphan = disk.snapshot(), disk.clone().snapshot()
    clone = snapshot.clone()
    lab.xe("vdi-param-set", f"uuid={snapshot.uuid}", "name-label=before the update", "name-description=of Monday")
    lab.xe("vdi-param-set", f"uuid={clone.uuid}", "name-label=try")
    Disk(own_sr, str(row(orphan)["snapshot_of"])).destroy()
    kept = ("name_label", "name_description", "is_a_snapshot", "read_only", "virtual_size", "snapshot_of")
    family = (disk, snapshot, orphan, clone)

    def known() -> list[list[str]]:
        return [[*(row(vdi)[field] for field in kept), str(row(vdi)["snapshot_time"])] for vdi in family]

    own_sr.scan()
    before = known()
    assert [each[5] for each in before] == [None, disk.uuid, None, None]
    own_sr.forget()
    own_sr.pool.introduce_sr(own_sr.uuid)
    assert own_sr.vdis() == {vdi.uuid for vdi in family}
    assert known() == before


def test_a_snapshot_keeps_its_disk_at_each_moment_of_a_forgotten_sr(own_sr: CephSr) -> None:
    pool, db = own_sr.pool, own_sr.lab.xapi.pool.db
    disk = Disk.create(own_sr, SIZE)
    taken = disk.snapshot()  # followed by a vdi_update

    def reintroduce() -> None:
        own_sr.forget()
        pool.introduce_sr(own_sr.uuid)
        assert row(taken)["snapshot_of"] == disk.uuid

    reintroduce()
    own_sr.lab.xe("vdi-param-set", f"uuid={taken.uuid}", "name-label=renamed")
    reintroduce()
    # If a scan is killed after SM has introduced the VDIs, XAPI has no reference.
    for update in (False, True):
        reference = db.by_uuid("VDI", taken.uuid)
        db.set("VDI", reference, "snapshot_of", NULL)
        if update:
            own_sr.lab.xe("vdi-param-set", f"uuid={taken.uuid}", "name-label=renamed again")
        own_sr.scan()
        assert row(taken)["snapshot_of"] == disk.uuid
        reintroduce()
    # XAPI's revert sets another disk as snapshot_of, and calls vdi_update.
    other = Disk.create(own_sr, SIZE)
    db.set("VDI", db.by_uuid("VDI", taken.uuid), "snapshot_of", db.by_uuid("VDI", other.uuid))
    own_sr.lab.xe("vdi-param-set", f"uuid={taken.uuid}", "name-label=of another")
    own_sr.forget()
    pool.introduce_sr(own_sr.uuid)
    assert row(taken)["snapshot_of"] == other.uuid
    # A reference to a VDI that XAPI has lost has no meaning.
    db.set("VDI", db.by_uuid("VDI", taken.uuid), "snapshot_of", "OpaqueRef:gone")
    own_sr.lab.xe("vdi-param-set", f"uuid={taken.uuid}", "name-label=of a lost one")
    assert taken.record()["xapi"]["snapshot_of"] == other.uuid


def test_a_killed_snapshot_command_leaves_a_snapshot_that_has_its_disk(own_sr: CephSr) -> None:
    disk = Disk.create(own_sr, SIZE)
    with fist_point(own_sr.lab.hosts[0], "vdi_snapshot"):
        own_sr.lab.refused("vdi-snapshot", f"uuid={disk.uuid}")
    own_sr.forget()
    again = own_sr.pool.introduce_sr(own_sr.uuid)
    (taken,) = again.vdis() - {disk.uuid}
    assert row(Disk(again, taken))["snapshot_of"] == disk.uuid


# Deletion


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4, 5), (1, 0, 4, 2, 5, 3)], ids=str)
def test_a_tree_of_clones_is_deleted_in_any_order(own_sr: CephSr, order: tuple[int, ...]) -> None:
    disk = disk_with(own_sr, content(1))
    snapshot = disk.snapshot()
    clone = snapshot.clone()
    of_clone = clone.snapshot()
    family = [disk, snapshot, snapshot.snapshot(), clone, of_clone, of_clone.clone()]
    for number, index in enumerate(order):
        family[index].destroy()
        left = [family[i] for i in order[number + 1 :]]
        assert own_sr.vdis() == {vdi.uuid for vdi in left}
        if left:
            assert left[-1].export() == content(1)
    require_nothing_left(own_sr)


def test_an_sr_does_not_change_the_snapshots_of_another_in_its_pool(own_sr: CephSr, sr: CephSr) -> None:
    theirs = disk_with(sr, content(1))
    family = {theirs: content(2), theirs.snapshot(): content(1), theirs.clone(): content(1)}
    write(theirs, content(2))
    mine = disk_with(own_sr, content(3))
    snapshot, clone = mine.snapshot(), mine.clone()
    for vdi in (mine, snapshot, clone):
        vdi.destroy()
    require_nothing_left(own_sr)
    sr.scan()
    assert {vdi.uuid for vdi in family} <= sr.vdis()
    assert {vdi: vdi.export() for vdi in family} == family


# Refusals


def test_a_chain_that_no_kernel_could_map_is_refused_with_the_fix(sr: CephSr) -> None:
    clone = Disk.create(sr, SIZE).clone()
    deep = clone.record() | {"depth": 15}  # as after 15 clones, each of the one before
    sr.pool.rados("setomapval", sr.catalogue, f"vdi.{clone.uuid}", json.dumps(deep))
    for command in ("vdi-snapshot", "vdi-clone"):
        complaint = sr.lab.refused(command, f"uuid={clone.uuid}")
        assert "SR_BACKEND_FAILURE_109" in complaint
        assert "has a clone chain of 15 parents, and kernels map at most 16" in complaint
        assert "rbd flatten" in complaint


def test_a_nearly_full_pool_refuses_copies_but_not_deletions_and_reverts(rbd_pool: RbdPool) -> None:
    lab, sr = rbd_pool.lab, rbd_pool.create_sr()
    disk = disk_with(sr, content(1))
    vm = vm_with(disk)
    snapshot, its_disk = snapshot_vm(vm, sr)
    clone = its_disk.clone()
    write(disk, content(2))
    lab.ceph.wait_pool_stats(rbd_pool.name, lambda stats: stats["stored"] >= 2 * SIZE)
    lab.ceph.set_quota(rbd_pool.name, max_bytes=2 * SIZE + MIB // 2)
    for words in (("vdi-snapshot", f"uuid={disk.uuid}"), ("vdi-clone", f"uuid={disk.uuid}")):
        complaint = lab.refused(*words)
        assert "SR_BACKEND_FAILURE_44" in complaint
        assert f"pool '{rbd_pool.name}' has too little free space" in complaint
    clone.destroy()
    # xapi deletes the disk before it checks the free space for the other one.
    revert_vm(snapshot, sr)
    assert disk_of(vm, sr).export() == content(1)


def test_a_snapshot_that_was_removed_by_hand_is_named_and_can_be_deleted(sr: CephSr) -> None:
    lab = sr.lab
    disk = disk_with(sr, content(1))
    lost, kept = disk.snapshot(), disk.snapshot()
    volume = lost.record()["volume"]
    lab.ceph.rbd("snap", "rm", f"{sr.pool.name}/{volume['image']['name']}@{volume['snapshot']['name']}")
    sr.scan()
    assert {lost.uuid, kept.uuid, disk.uuid} <= sr.vdis()
    complaint = lab.refused("vdi-clone", f"uuid={lost.uuid}")
    assert "SR_BACKEND_FAILURE_46" in complaint
    assert volume["image"]["name"] in complaint
    assert "it was removed outside smblock" in complaint
    lost.destroy()
    assert kept.clone().export() == content(1)


def test_a_disk_removed_by_hand_and_its_snapshot_stay_until_destroyed(sr: CephSr) -> None:
    lab = sr.lab
    lost, kept = Disk.create(sr, SIZE), disk_with(sr, content(1))
    of_lost, of_kept = lost.snapshot(), kept.snapshot()
    lab.ceph.rbd("snap", "purge", "--no-progress", lost.image)
    lab.ceph.rbd("rm", "--no-progress", lost.image)
    with pytest.raises(ApiError, match="SR_BACKEND_FAILURE_46"):
        lost.command(lab.hosts[0], "vdi_snapshot")
    sr.scan()
    assert {lost.uuid, of_lost.uuid, kept.uuid, of_kept.uuid} <= sr.vdis()
    of_lost.destroy()
    lost.destroy()
    sr.scan()
    assert sr.vdis() & {lost.uuid, of_lost.uuid, kept.uuid, of_kept.uuid} == {kept.uuid, of_kept.uuid}
    assert of_kept.clone().export() == content(1)


# Two hosts at once


def test_two_hosts_snapshot_clone_and_delete_disks_concurrently(own_sr: CephSr) -> None:
    sr, lab = own_sr, own_sr.lab
    shared = Disk.create(sr)
    own = [Disk.create(sr), Disk.create(sr)]

    # Without xapi, which lets one operation at a time change an SR, on its master.
    def copy(host: Dom0, own: Disk) -> list[Disk]:
        clones = []
        for disk, left in ((own, [own]), (shared, [])):
            snapshot = Disk(sr, disk.command(host, "vdi_snapshot")["uuid"])
            clones.append(Disk(sr, disk.command(host, "vdi_clone")["uuid"]))
            for vdi in (*left, snapshot):
                vdi.command(host, "vdi_delete")
        return clones

    with ThreadPoolExecutor() as both:
        clones = [clone for clones in both.map(copy, lab.hosts, own) for clone in clones]
    shared.destroy()
    sr.scan()
    assert {clone.uuid for clone in clones} <= sr.vdis()
    assert sr.vdis().isdisjoint({disk.uuid for disk in (shared, *own)})
    for clone in clones:
        clone.destroy()
    require_nothing_left(sr)


# Killed commands


@pytest.mark.parametrize("command", ["snapshot", "clone"])
def test_a_scan_finds_a_copy_whose_command_was_killed(own_sr: CephSr, command: str) -> None:
    lab = own_sr.lab
    disk = disk_with(own_sr, content(1))
    with fist_point(lab.hosts[0], f"vdi_{command}"):
        assert "SR_BACKEND_FAILURE" in lab.refused(f"vdi-{command}", f"uuid={disk.uuid}")
    assert own_sr.vdis() == {disk.uuid}
    own_sr.scan()
    (found,) = [Disk(own_sr, uuid) for uuid in own_sr.vdis() - {disk.uuid}]
    assert found.export() == content(1)
    assert row(found)["snapshot_of"] == (disk.uuid if command == "snapshot" else None)
    for vdi in (disk, found):
        vdi.destroy()
    require_nothing_left(own_sr)
