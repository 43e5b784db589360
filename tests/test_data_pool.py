"""An SR whose disks keep their data in a pool of its own, which may be erasure coded."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator

import pytest

from lab.ceph import OneNodeCeph
from lab.cephrbd import CephRbdLab, CephSr, OtherPool, wait_for
from lab.disk import MIB, Disk, read, write
from lab.dom0 import Dom0

DATA = "erasure"
GIB = 1 << 30


def prepare(lab: CephRbdLab, ceph: OneNodeCeph, name: str) -> OtherPool:
    """A replicated pool, an erasure-coded one, and a user of both with the caps that `smblock check` prints."""
    pool = OtherPool.create(lab, ceph, name)
    ceph.create_erasure_pool(DATA)
    ceph.create_pool("plain")
    rbd = ", ".join(f"profile rbd pool={each}" for each in (pool.name, DATA, "plain"))
    ceph.admin("auth", "caps", f"client.{pool.user}", "mon", "profile rbd", "osd", rbd, "mgr", rbd)
    return pool


@pytest.fixture(scope="module")
def pool(lab: CephRbdLab, new_cluster: Callable[..., OneNodeCeph]) -> Iterator[OtherPool]:
    with new_cluster(osds=3, pool=None) as ceph:
        yield prepare(lab, ceph, "erasure")


@pytest.fixture(scope="module")
def sr(pool: OtherPool) -> Iterator[CephSr]:
    sr = pool.create_sr("erasure", f"device-config:data_pool={DATA}")
    yield sr
    # Commands about all SRs of a host would wait for the cluster, which ends now.
    sr.forget()


def data_objects(sr: CephSr) -> set[str]:
    """Those of images. librbd marks the pool by another one, `rbd_info`."""
    found = dataclasses.replace(sr.pool, name=DATA).rados("ls").split()
    return {name for name in found if name.startswith("rbd_data.")}


def data_pool_of(sr: CephSr, image: str) -> str:
    return str(sr.pool.image_info(image)["data_pool"])


def is_any_blocked(ceph: OneNodeCeph) -> bool:
    return any("full_quota" in pool["flags_names"] for pool in ceph.admin("osd", "dump")["pools"])


def test_disks_and_all_their_copies_have_their_data_in_the_data_pool(sr: CephSr) -> None:
    lab, ceph = sr.lab, sr.pool.lab.ceph
    # A default of the cluster changes nothing.
    ceph.admin("config", "set", "client", "rbd_default_data_pool", "plain")
    disk = sr.create_vdi("disk")
    image = f"{sr.pool.name}/{sr.image(disk)}"
    ceph.rbd("bench", "--io-type", "write", "--io-size", "64K", "--io-total", "1M", "--io-threads", "1", image)
    assert len(data_objects(sr)) == 1
    snapshot = lab.xe("vdi-snapshot", f"uuid={disk}")
    clone = lab.xe("vdi-clone", f"uuid={snapshot}")
    lab.xe("vdi-clone", f"uuid={disk}")
    assert {data_pool_of(sr, each) for each in sr.pool.images()} == {DATA}
    assert sr.image(clone) in sr.pool.images()
    for vdi in sr.vdis():
        sr.destroy_vdi(vdi)

    def is_freed() -> bool:
        sr.scan()
        return not data_objects(sr)

    wait_for(is_freed, "the data pool to be empty", seconds=60)
    ceph.admin("config", "rm", "client", "rbd_default_data_pool")


def test_the_size_of_the_sr_is_the_data_pools_quota(sr: CephSr) -> None:
    ceph, lab = sr.pool.lab.ceph, sr.lab
    ceph.wait_pool_stats(DATA)
    ceph.set_quota(DATA, max_bytes=2 * GIB)
    sr.scan()
    used = int(sr.get("physical-utilisation"))
    assert 0 <= int(sr.get("physical-size")) - 2 * GIB <= used
    ceph.wait_pool_stats(sr.pool.name, lambda stats: stats["stored"] > 0)
    page = lab.admin("metrics").stdout.decode()
    size, used, free = (
        int(re.findall(rf'^smblock_sr_{name}_bytes{{.*sr="{sr.uuid}".*}} (\d+)$', page, re.MULTILINE)[0])
        for name in ("size", "used", "free")
    )
    assert size == used + free
    ceph.set_quota(DATA, max_bytes=1)
    assert f"'{DATA}'" in lab.refused("vdi-create", f"sr-uuid={sr.uuid}", "name-label=x", "virtual-size=1GiB")
    ceph.set_quota(DATA, max_bytes=0)
    ceph.set_quota(sr.pool.name, max_bytes=1)
    assert f"'{sr.pool.name}'" in lab.refused("vdi-create", f"sr-uuid={sr.uuid}", "name-label=x", "virtual-size=1GiB")
    ceph.set_quota(sr.pool.name, max_bytes=0)
    # The monitors do it at their next report of the pools' sizes.
    wait_for(lambda: not is_any_blocked(ceph), "the pools to accept writes")


def test_a_data_pool_that_cannot_hold_images_is_refused_with_the_command(pool: OtherPool) -> None:
    ceph = pool.lab.ceph
    ceph.create_erasure_pool("appending", overwrites=False)
    ceph.create_pool("other", application=None, init=False)
    for name, text in (
        ("appending", "ceph osd pool set appending allow_ec_overwrites true"),
        ("other", "ceph osd pool application enable other rbd"),
        ("missing", "the cluster has no pool 'missing', which device-config:data_pool names"),
        (pool.name, "it is the pool of the SR itself"),
    ):
        words = ["sr-create", "type=cephrbd", "shared=true", "name-label=x", *pool.device_config]
        assert text in pool.lab.refused(*words, f"device-config:data_pool={name}")
    assert pool.rados("ls").count("smblock.sr.") <= 1


def test_a_disk_in_a_former_data_pool_keeps_its_figure(pool: OtherPool) -> None:
    lab, ceph = pool.lab, pool.lab.ceph
    sr = pool.create_sr("former", f"device-config:data_pool={DATA}")
    disk = Disk(sr, sr.create_vdi("disk"))

    def fill(total: str) -> None:
        image = f"{sr.pool.name}/{sr.image(disk.uuid)}"
        words = ("--io-type", "write", "--io-size", "4M", "--io-total", total, "--io-threads", "1")
        ceph.rbd("bench", *words, image)

    def counted() -> int:
        lab.admin("reclaim", sr.uuid).check()
        sr.scan()
        return int(lab.get("vdi", "physical-utilisation", disk.uuid))

    fill("4M")
    assert counted() == 64 * MIB
    sr.replug(*sr.pool.device_config, "device-config:data_pool=plain")
    assert counted() == 64 * MIB
    fill("80M")
    assert counted() == 128 * MIB
    disk.destroy()
    sr.forget()


def test_the_check_names_the_data_pool_and_the_caps_for_it(pool: OtherPool) -> None:
    words = ["check", *pool.device_config, f"device-config:data_pool={DATA}"]
    report = pool.lab.admin(*words).stdout.decode()
    assert f"the data of new disks is in {DATA} (erasure coded)" in report
    ceph = pool.lab.ceph
    profile = f"profile rbd pool={pool.name}"
    ceph.admin("auth", "caps", f"client.{pool.user}", "mon", "profile rbd", "osd", profile, "mgr", profile)
    report = pool.lab.admin(*words).stdout.decode()
    assert f"profile rbd pool={DATA}, profile rbd pool={pool.name}" in report


@pytest.mark.slow
def test_a_kernel_writes_and_reads_a_disk_in_an_erasure_coded_pool(
    guests: CephRbdLab, one: Dom0, two: Dom0, new_cluster: Callable[..., OneNodeCeph]
) -> None:
    with new_cluster(osds=3, pool=None, store="bluestore") as ceph:
        pool = prepare(guests, ceph, "bluestore")
        sr = pool.create_sr("erasure", f"device-config:data_pool={DATA}")
        disk = Disk.create(sr)
        content = bytes(range(256)) * (4 * MIB // 256)
        with disk.plugged(one) as device:
            write(one, device, content, offset=3 * MIB)
        with disk.plugged(two) as device:
            assert read(two, device, 4 * MIB, offset=3 * MIB) == content
        disk.destroy()
        sr.forget()
