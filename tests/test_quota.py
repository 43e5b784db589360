"""A pool's quota is the SR's size. A full pool refuses operations that take space, and no others."""

from __future__ import annotations

import pytest

from lab.cephrbd import CephSr, RbdPool, wait_for

# Without `rbd task`, a reclaim worker frees the space: other calls, another timing.
pytestmark = pytest.mark.needs_tasks

MIB = 1 << 20
GIB = 1 << 30


def fill(sr: CephSr, size: int) -> str:
    """A new disk with `size` bytes written, once the cluster has counted them: its uuid."""
    ceph, pool = sr.lab.ceph, sr.pool
    before = ceph.wait_pool_stats(pool.name)["stored"]
    vdi = sr.create_vdi("full")
    fill_image(sr, vdi, size)
    ceph.wait_pool_stats(pool.name, lambda stats: stats["stored"] >= before + size)
    return vdi


def fill_image(sr: CephSr, vdi: str, size: int) -> None:
    """Write `size` bytes to a disk."""
    sr.lab.ceph.rbd("bench", "--io-type", "write", "--io-size", "4M", "--io-total", str(size), "--io-threads", "2",
                    f"{sr.pool.name}/{sr.image(vdi)}")  # fmt: skip


def is_blocked(pool: RbdPool) -> bool:
    """Whether Ceph blocks the pool's writers for its quota."""
    pools = pool.lab.ceph.admin("osd", "dump")["pools"]
    return any(each["pool_name"] == pool.name and "full_quota" in each["flags_names"] for each in pools)


def size_and_use(sr: CephSr) -> tuple[int, int]:
    """The SR's size and utilisation in bytes, as XAPI has them after a scan."""
    sr.scan()
    return int(sr.get("physical-size")), int(sr.get("physical-utilisation"))


def test_an_srs_size_is_its_pools_quota_and_follows_it(sr: CephSr) -> None:
    ceph, pool = sr.lab.ceph, sr.pool
    ceph.wait_pool_stats(pool.name)
    for quota in (3 * GIB, 2 * GIB):
        ceph.set_quota(pool.name, max_bytes=quota)
        assert size_and_use(sr)[0] == quota

    ceph.set_quota(pool.name, max_bytes=1 << 50)  # more than the cluster has
    sr.wait_for_size_of_pool()


def test_disks_may_be_larger_than_the_quota(rbd_pool: RbdPool) -> None:
    rbd_pool.lab.ceph.set_quota(rbd_pool.name, max_bytes=2 * GIB)
    sr = rbd_pool.create_sr()
    for _ in range(3):
        sr.create_vdi("thin", "10TiB")
    assert size_and_use(sr)[0] == 2 * GIB


def test_a_pool_at_its_quota_refuses_disks_until_one_is_deleted(sr: CephSr) -> None:
    lab, pool = sr.lab, sr.pool
    other = sr.create_vdi("other")
    vdi = fill(sr, 64 * MIB)
    lab.ceph.set_quota(pool.name, max_bytes=66 * MIB)
    # Before Ceph itself blocks all writers, which takes seconds.
    complaint = lab.refused("vdi-create", f"sr-uuid={sr.uuid}", "name-label=never", "virtual-size=1GiB")
    assert "SR_BACKEND_FAILURE_44" in complaint
    assert "was not created" in complaint
    assert f"ceph osd pool set-quota {pool.name} max_bytes" in complaint
    assert "SR_BACKEND_FAILURE_44" in lab.refused("vdi-resize", f"uuid={other}", "disk-size=2GiB")
    size, use = size_and_use(sr)
    assert (size, use) == (66 * MIB, pytest.approx(64 * MIB, rel=0.02))
    assert sr.vdis() == {vdi, other}

    sr.destroy_vdi(vdi)
    lab.ceph.wait_pool_stats(pool.name, lambda stats: stats["stored"] < 8 * MIB)
    sr.create_vdi("room again")
    assert size_and_use(sr)[0] == 66 * MIB


def test_a_disk_can_be_destroyed_while_ceph_blocks_the_pools_writers(sr: CephSr) -> None:
    lab, pool = sr.lab, sr.pool
    vdi = fill(sr, 32 * MIB)
    lab.ceph.set_quota(pool.name, max_bytes=32 * MIB)
    wait_for(lambda: is_blocked(pool), "Ceph to enforce the quota")
    complaint = lab.refused("vdi-create", f"sr-uuid={sr.uuid}", "name-label=never", "virtual-size=1GiB")
    assert "SR_BACKEND_FAILURE_44" in complaint
    size, use = size_and_use(sr)
    assert size == use

    sr.destroy_vdi(vdi)
    assert sr.vdis() == set()
    assert pool.images() == set()
    # ceph-mgr may not write to a full pool: the driver's reclaim worker frees it.
    wait_for(lambda: not is_blocked(pool), "the pool to open again")
    sr.create_vdi("room again")


def test_snapshots_are_deleted_and_freed_while_ceph_blocks_writers(
    sr: CephSr,
) -> None:
    lab, pool = sr.lab, sr.pool
    vdi = fill(sr, 32 * MIB)
    snapshot = lab.xe("vdi-snapshot", f"uuid={vdi}")
    fill_image(sr, vdi, 32 * MIB)
    lab.ceph.wait_pool_stats(pool.name, lambda stats: stats["stored"] >= 64 * MIB)
    lab.ceph.set_quota(pool.name, max_bytes=64 * MIB)
    wait_for(lambda: is_blocked(pool), "Ceph to enforce the quota")
    assert "SR_BACKEND_FAILURE_44" in lab.refused("vdi-snapshot", f"uuid={vdi}")

    # The disk is deleted and its own data is freed; its snapshot keeps its data.
    sr.destroy_vdi(vdi)
    lab.ceph.wait_pool_stats(pool.name, lambda stats: stats["stored"] < 40 * MIB)
    assert sr.vdis() == {snapshot}
    wait_for(lambda: not is_blocked(pool), "the pool to open again")
    sr.destroy_vdi(snapshot)
    lab.ceph.wait_pool_stats(pool.name, lambda stats: stats["stored"] < 8 * MIB)
    assert pool.images() == set()


def test_a_quota_of_objects_counts_too(sr: CephSr) -> None:
    lab, pool = sr.lab, sr.pool
    fill(sr, 64 * MIB)
    objects = lab.ceph.wait_pool_stats(pool.name, lambda stats: stats["objects"] >= 16)["objects"]
    lab.ceph.set_quota(pool.name, max_objects=objects + 100)
    size, use = size_and_use(sr)
    assert size - use == pytest.approx(400 * MIB, rel=0.1)

    lab.ceph.set_quota(pool.name, max_objects=objects)
    complaint = lab.refused("vdi-create", f"sr-uuid={sr.uuid}", "name-label=never", "virtual-size=1GiB")
    assert "SR_BACKEND_FAILURE_44" in complaint
    assert f"ceph osd pool set-quota {pool.name} max_objects" in complaint or "it reached its quota" in complaint
    size, use = size_and_use(sr)
    assert size == use

    lab.ceph.set_quota(pool.name, max_objects=0)
    wait_for(lambda: not is_blocked(pool), "the pool to open again")
    sr.create_vdi("room again")


def test_no_sr_is_created_in_a_full_pool(sr: CephSr) -> None:
    lab, pool = sr.lab, sr.pool
    fill(sr, 16 * MIB)
    lab.ceph.set_quota(pool.name, max_bytes=16 * MIB)
    srs = lab.list("sr")
    complaint = lab.refused("sr-create", "type=cephrbd", "shared=true", "name-label=never", *pool.device_config)
    assert "SR_BACKEND_FAILURE_44" in complaint
    assert lab.list("sr") == srs
    assert {name for name in pool.objects() if name.startswith("smblock.sr.")} == {sr.catalogue}
