"""Kernels use the disks of an SR in a RADOS namespace, with stripes, and reach nothing else of the pool."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from lab import krbd
from lab.cephrbd import CephSr, RbdPool
from lab.disk import MIB, Disk, read, write
from lab.dom0 import Dom0
from lab.ha import StaticVdis, create, without_xapi

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def guest_place(guests_rbd_pool: RbdPool) -> RbdPool:
    return guests_rbd_pool.tenant("guests")


@pytest.fixture(scope="module")
def striped(guest_place: RbdPool) -> Iterator[CephSr]:
    layout = ["object_size=1MiB", "stripe_unit=64KiB", "stripe_count=4"]
    sr = guest_place.create_sr("striped", *(f"device-config:{word}" for word in layout))
    yield sr
    sr.destroy()


def test_kernels_use_striped_disks_in_a_namespace_and_their_copies(striped: CephSr, one: Dom0, two: Dom0) -> None:
    disk = Disk.create(striped)
    info = striped.pool.image_info(striped.image(disk.uuid))
    assert (info["object_size"], info["stripe_unit"], info["stripe_count"]) == (MIB, MIB // 16, 4)
    first, second = (bytes((n * step) % 251 for n in range(3 * MIB)) for step in (1, 7))
    with disk.plugged(one) as device:
        (mapped,) = disk.devices(one)
        assert f"_pool_ns={striped.pool.namespace}" in krbd.options(one, mapped)
        write(one, device, first, offset=MIB)
        snapshot = disk.snapshot()
        write(one, device, second, offset=MIB)
        assert "in use" in striped.lab.refused("vdi-destroy", f"uuid={disk.uuid}")
    clone = snapshot.clone()
    with disk.plugged(two) as device:
        assert read(two, device, 3 * MIB, offset=MIB) == second
    with clone.plugged(two) as device:
        assert read(two, device, 3 * MIB, offset=MIB) == first
        write(two, device, second[:MIB], offset=2 * MIB)
    with clone.plugged(one) as device:
        assert read(one, device, 3 * MIB, offset=MIB) == first[:MIB] + second[:MIB] + first[2 * MIB :]
    # librbd has the data where the kernel has it.
    assert disk.export()[MIB : 4 * MIB] == second
    for each in (clone, snapshot, disk):
        each.destroy()


def test_a_kernel_with_the_key_of_a_namespace_maps_no_image_of_another(striped: CephSr, one: Dom0) -> None:
    lab, pool = striped.lab, striped.pool
    other = dataclasses.replace(pool, user="other", namespace="").tenant("others")
    lab.ceph.rbd("create", "--size", "16M", "--image-feature", "layering", f"{other.spec}/secret")
    lab.ceph.rbd("create", "--size", "16M", "--image-feature", "layering", f"{pool.name}/secret")
    for namespace in ("others", ""):
        option = f",_pool_ns={namespace}" if namespace else ""
        order = f"{lab.ceph.mon_host} name={pool.user},secret={lab.ceph.key(pool.user)}{option} {pool.name} secret -"
        tried = one.exec(["tee", "/sys/bus/rbd/add_single_major"], input=order.encode())
        assert b"Operation not permitted" in tried.stderr, tried
    assert krbd.devices(one) == {}
    for spec in (other.spec, pool.name):
        lab.ceph.rbd("rm", "--no-progress", f"{spec}/secret")


def test_the_statefile_of_high_availability_can_be_in_a_namespace(striped: CephSr, one: Dom0) -> None:
    statefile = create(striped, "ha_statefile")
    assert striped.pool.image_info(striped.image(statefile))["features"] == ["layering"]
    static = StaticVdis(one)
    static.add(statefile)
    with without_xapi(one):
        device = static.attach(statefile)
        assert f"_pool_ns={striped.pool.namespace}" in krbd.options(one, device)
        static.detach(statefile)
    static.delete(statefile)
    striped.destroy_vdi(statefile)
