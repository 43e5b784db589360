"""Kernels reach a cluster by both versions of its messenger protocol, and through any of its monitors.

The cluster has three monitors. The session's own cluster has v1 only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from lab import LabError, krbd, wait_for
from lab.ceph import OneNodeCeph
from lab.cephrbd import CephRbdLab, CephSr, OtherPool, RbdPool
from lab.disk import MIB, Disk, read, write
from lab.dom0 import Dom0

DATA = b"data" * (MIB // 4)
PREFER_CRC = "ms_mode=prefer-crc"


@pytest.fixture(scope="module")
def three(new_cluster: Callable[..., OneNodeCeph]) -> Iterator[OneNodeCeph]:
    with new_cluster(monitors="abc", messenger="both") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def three_pool(three: OneNodeCeph, guests: CephRbdLab) -> RbdPool:
    return OtherPool.create(guests, three, "three")


@pytest.fixture(scope="module")
def sr(three_pool: RbdPool) -> Iterator[CephSr]:
    sr = three_pool.create_sr("three")
    yield sr
    sr.forget()


def the_device(disk: Disk, host: Dom0) -> str:
    (device,) = disk.devices(host)
    return device


def client_address(host: Dom0, device: str) -> str:
    return host.get(f"/sys/bus/rbd/devices/{device.removeprefix('/dev/rbd')}/client_addr").decode().strip()


@pytest.mark.slow  # the matrix of kernels has it, too
def test_a_kernel_speaks_v2_and_is_fenced_by_its_claims_address(sr: CephSr, one: Dom0) -> None:
    disk = Disk.create(sr)
    with disk.plugged(one):
        device = the_device(disk, one)
        assert PREFER_CRC in krbd.options(one, device)
        write(one, device, DATA)
        assert read(one, device, MIB) == DATA
        address = client_address(one, device)
        assert disk.record()["claim"]["addresses"] == [address]
        sr.pool.lab.ceph.admin("osd", "blocklist", "add", address)
        with pytest.raises(LabError, match="Input/output error"):
            write(one, device, DATA)


@pytest.mark.slow
def test_disks_are_plugged_while_a_monitor_is_frozen_or_dead(sr: CephSr, three: OneNodeCeph, one: Dom0) -> None:
    """One of three monitors; each map has a client of its own, which may connect to any of them first."""
    disks = [Disk.create(sr) for _ in range(3)]
    three.pause_monitor("a")
    try:
        for disk in disks:
            with disk.plugged(one):
                write(one, the_device(disk, one), DATA)
    finally:
        three.resume_monitor("a")
    three.stop_monitor("b")
    try:
        for disk in disks:
            with disk.plugged(one):
                assert read(one, the_device(disk, one), MIB) == DATA
    finally:
        three.start_monitor("b")


@pytest.mark.slow
def test_another_ms_mode_gives_disks_a_client_of_their_own(sr: CephSr, three_pool: RbdPool, one: Dom0) -> None:
    legacy = three_pool.create_sr("legacy", "device-config:ms_mode=legacy")
    disks = [Disk.create(sr), Disk.create(legacy)]
    with disks[0].plugged(one), disks[1].plugged(one):
        devices = [the_device(disk, one) for disk in disks]
        addresses = [client_address(one, device) for device in devices]
        assert not [option for option in krbd.options(one, devices[1]) if option.startswith("ms_mode")]
        assert addresses[0] != addresses[1]
        for disk, address in zip(disks, addresses, strict=True):
            assert disk.record()["claim"]["addresses"] == [address]
    legacy.forget()


@pytest.mark.slow
def test_a_check_names_the_protocol_and_a_monitor_that_is_down(
    three_pool: RbdPool, three: OneNodeCeph, guests: CephRbdLab, one: Dom0
) -> None:
    def check(*words: str) -> str:
        argv = ["check", *three_pool.device_config, *words]
        return guests.admin(*argv, host=guests.hosts.index(one)).stdout.decode()

    said = check()
    assert "monitors: the kernel reaches a, b, c by v2 (ms_mode=prefer-crc)" in said, said
    assert "user: client.xcp is authenticated; the kernel accepts its key" in said, said
    assert "by v1 (ms_mode=legacy)" in check("device-config:ms_mode=legacy")
    three.stop_monitor("c")
    try:
        said = check()
    finally:
        three.start_monitor("c")
    assert f"accept no connection: {three.address}:3302" in said, said


def has_quorum_without_v1(three: OneNodeCeph) -> bool:
    """Whether most monitors are in the quorum of a map without v1 addresses; an older map has another quorum."""
    status = three.admin("quorum_status")
    addresses = [address for mon in status["monmap"]["mons"] for address in mon["public_addrs"]["addrvec"]]
    return len(status["quorum"]) >= 2 and all(address["type"] == "v2" for address in addresses)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_monitors_of_one_version_each_have_an_error_with_the_command(sr: CephSr, three: OneNodeCeph, one: Dom0) -> None:
    """The last test: it does not restore the monitors' addresses."""
    disk = Disk.create(sr)
    three.admin("mon", "set-addrs", "a", f"[v2:{three.address}:3300]")
    three.admin("mon", "set-addrs", "b", f"[v1:{three.address}:6790]")
    refusal = disk.refusal(one, "vdi_activate", "true")
    assert "monitor b has no v2 address" in refusal, refusal
    command = f"ceph mon set-addrs b '[v2:{three.address}:3300,v1:{three.address}:6790]'"
    assert command in refusal, refusal
    assert disk.claimed_by() is None
    # The monitors' own ports: all three have one address.
    three.admin("mon", "set-addrs", "b", f"[v2:{three.address}:3301]")
    three.admin("mon", "set-addrs", "c", f"[v2:{three.address}:3302]")
    wait_for(lambda: has_quorum_without_v1(three), "a quorum of monitors without v1", 60)
    with disk.plugged(one):
        assert PREFER_CRC in krbd.options(one, the_device(disk, one))
        write(one, the_device(disk, one), DATA)
