"""A disk is unplugged even if its pool was renamed or deleted, or refuses this host."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from lab.ceph import OneNodeCeph
from lab.cephrbd import CephRbdLab, CephSr, RbdPool
from lab.disk import Disk, write
from lab.dom0 import Dom0

_numbers = itertools.count(1)


@pytest.fixture
def sr(guests: CephRbdLab) -> Iterator[CephSr]:
    """An SR in a pool of its own, which the test removes."""
    number = next(_numbers)
    pool = RbdPool(guests, name=f"vms-unplug-{number}", user=f"xcp-unplug-{number}")
    guests.ceph.create_pool(pool.name)
    guests.distribute_keyring(guests.ceph.create_user(pool.user, pool.name))
    sr = pool.create_sr("unplug")
    yield sr
    for pbd in guests.list("pbd", f"sr-uuid={sr.uuid}"):
        guests.xe("pbd-unplug", f"uuid={pbd}")
    guests.xe("sr-forget", f"uuid={sr.uuid}")


@pytest.fixture
def short_watches(ceph: OneNodeCeph) -> Iterator[None]:
    """Lets the cluster keep the watch of a kernel that is gone for 10 s; the default is 30 s."""
    with ceph.osd_option("osd_client_watch_timeout", "10"):
        yield


def start_vm(disk: Disk, host: Dom0) -> tuple[str, str]:
    """Start a VM with the disk. Returns the VM and its VBD."""
    lab = disk.sr.lab
    vm = lab.xe("vm-create", "name-label=guest")
    vbd = disk.attach_to(vm)
    lab.xe("vm-start", f"uuid={vm}", f"on={host.name}")
    write(host, disk.device(host, vbd), b"data" * 1024)
    return vm, vbd


def shut_down(disk: Disk, vm: str) -> None:
    lab = disk.sr.lab
    lab.xe("vm-shutdown", f"uuid={vm}")
    lab.xe("vm-destroy", f"uuid={vm}")


def test_a_vm_is_shut_down_after_its_pool_was_renamed(short_watches: None, sr: CephSr, one: Dom0, two: Dom0) -> None:
    lab, pool = sr.lab, sr.pool
    disk = Disk.create(sr)
    vm, _ = start_vm(disk, one)
    lab.ceph.admin("osd", "pool", "rename", pool.name, pool.name + "-renamed")
    refused = lab.refused("sr-scan", f"uuid={sr.uuid}")
    pool_id = refused.partition("the pool with id ")[2].partition(" ")[0]
    assert f"the pool with id {pool_id} of this SR is now called {pool.name}-renamed" in refused
    assert f"ceph osd pool rename {pool.name}-renamed {pool.name}" in refused
    shut_down(disk, vm)
    assert disk.traces(one) == []
    lab.ceph.admin("osd", "pool", "rename", pool.name + "-renamed", pool.name)
    assert disk.claimed_by() == one.uuid
    # The second host asks the first, which runs. Then it waits for the first one's watch: a user whose caps name
    # the pool's old name cannot end it.
    with disk.plugged(two):
        assert disk.claimed_by() == two.uuid
    sr.destroy_vdi(disk.uuid)
    pool.delete()


@pytest.mark.slow  # the same code as above
@pytest.mark.parametrize("anew", [False, True])
def test_a_vm_is_shut_down_after_its_pool_was_deleted(sr: CephSr, one: Dom0, anew: bool) -> None:
    lab, pool = sr.lab, sr.pool
    disk = Disk.create(sr)
    vm, _ = start_vm(disk, one)
    lab.ceph.admin("osd", "pool", "delete", pool.name, pool.name, "--yes-i-really-really-mean-it")
    if anew:
        lab.ceph.create_pool(pool.name)
    assert "which was deleted with all disks in it" in lab.refused("sr-scan", f"uuid={sr.uuid}")
    shut_down(disk, vm)
    assert disk.traces(one) == []


@pytest.mark.slow  # the same code as above
def test_a_vm_is_shut_down_after_its_key_was_revoked(sr: CephSr, one: Dom0) -> None:
    lab, pool = sr.lab, sr.pool
    disk = Disk.create(sr)
    vm, _ = start_vm(disk, one)
    lab.ceph.admin("auth", "rm", f"client.{pool.user}")
    shut_down(disk, vm)
    assert disk.traces(one) == []
