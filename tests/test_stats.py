"""An SR's sizes in XAPI are bytes, come from Ceph, and stay if Ceph has no statistics."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from lab.cephrbd import CephRbdLab, CephSr, RbdPool, wait_for

MIB = 1 << 20
GIB = 1 << 30


@pytest.fixture
def no_manager(lab: CephRbdLab) -> Iterator[Callable[[], None]]:
    """ceph-mgr is stopped; the returned function starts it, at the latest after the test."""
    away = True

    def back() -> None:
        nonlocal away
        if away:
            lab.ceph.start_mgr()
            away = False
            wait_for(lambda: bool(lab.ceph.admin("mgr", "dump")["available"]), "the manager")

    lab.ceph.stop_mgr()
    yield back
    back()


def numbers(sr: CephSr) -> dict[str, int]:
    return {name: int(sr.get(name)) for name in ("physical-size", "physical-utilisation", "virtual-allocation")}


def write(sr: CephSr, vdi: str, size: int) -> None:
    sr.lab.ceph.rbd("bench", "--io-type", "write", "--io-size", "4M", "--io-total", str(size), "--io-threads", "2",
                    f"{sr.pool.name}/{sr.image(vdi)}")  # fmt: skip


def test_size_utilisation_and_allocation_are_bytes_and_cephs_own(sr: CephSr) -> None:
    ceph, pool = sr.lab.ceph, sr.pool
    vdis = [sr.create_vdi("root", "10GiB"), sr.create_vdi("odd", str(3 * GIB + 1))]
    write(sr, vdis[0], 32 * MIB)
    stored = ceph.wait_pool_stats(pool.name, lambda stats: stats["stored"] >= 32 * MIB)["stored"]
    allocated = sum(int(sr.lab.get("vdi", "virtual-size", vdi)) for vdi in vdis)

    sr.wait_for_size_of_pool()
    reported = numbers(sr)
    assert reported["virtual-allocation"] == allocated >= 13 * GIB + 1
    assert reported["physical-utilisation"] == pytest.approx(stored, rel=0.02)

    sr.lab.xe("sr-update", f"uuid={sr.uuid}")
    assert numbers(sr)["virtual-allocation"] == allocated


def test_the_numbers_follow_what_is_created_grown_and_destroyed(sr: CephSr) -> None:
    first, second = sr.create_vdi("first", "1GiB"), sr.create_vdi("second", "2GiB")
    sr.lab.xe("vdi-resize", f"uuid={first}", "disk-size=4GiB")
    sr.scan()
    assert numbers(sr)["virtual-allocation"] == 6 * GIB
    write(sr, second, 32 * MIB)
    sr.lab.ceph.wait_pool_stats(sr.pool.name, lambda stats: stats["stored"] >= 32 * MIB)
    sr.destroy_vdi(second)
    sr.lab.ceph.wait_pool_stats(sr.pool.name, lambda stats: stats["stored"] < 8 * MIB)
    sr.scan()
    reported = numbers(sr)
    assert reported["virtual-allocation"] == 4 * GIB
    assert reported["physical-utilisation"] < 8 * MIB


def test_a_pool_without_statistics_yet_can_be_used(
    new_rbd_pool: Callable[[], RbdPool], no_manager: Callable[[], None]
) -> None:
    pool = new_rbd_pool()  # made while ceph-mgr is down
    try:
        sr = pool.create_sr()
        sr.create_vdi("disk", "2GiB")
        sr.scan()
        assert sr.names() == {"disk"}
        assert numbers(sr)["virtual-allocation"] == 2 * GIB
        pool.lab.ceph.set_quota(pool.name, max_bytes=5 * GIB)
        sr.scan()
        assert numbers(sr)["physical-size"] == 5 * GIB
        assert numbers(sr)["physical-utilisation"] == 0

        no_manager()
        pool.lab.ceph.wait_pool_stats(pool.name, lambda stats: stats["stored"] > 0)
        sr.scan()
        assert numbers(sr)["physical-size"] == 5 * GIB
        assert numbers(sr)["physical-utilisation"] > 0
    finally:
        pool.delete()


def test_disks_and_statistics_work_without_ceph_mgr(sr: CephSr, request: pytest.FixtureRequest) -> None:
    doomed = sr.create_vdi("doomed", "1GiB")
    sr.lab.ceph.wait_pool_stats(sr.pool.name)
    sr.scan()
    before = numbers(sr)
    manager_back: Callable[[], None] = request.getfixturevalue("no_manager")

    sr.create_vdi("new", "1GiB")
    began = time.monotonic()
    sr.destroy_vdi(doomed)
    assert time.monotonic() - began < 15  # Ceph waits for ceph-mgr, the driver does not
    sr.scan()
    assert sr.names() == {"new"}
    assert numbers(sr)["physical-size"] == pytest.approx(before["physical-size"], rel=0.1)
    wait_for(lambda: sr.pool.trash() == "", "the space to be freed by a reclaim worker")
    manager_back()
