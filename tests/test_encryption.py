"""Disks over encrypted connections: device-config:ms_mode=secure, on a cluster that accepts no others."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from lab import krbd
from lab.ceph import OneNodeCeph
from lab.cephrbd import CephRbdLab, CephSr, OtherPool
from lab.disk import MIB, Disk, read, write
from lab.dom0 import Dom0

pytestmark = pytest.mark.slow

DATA = b"data" * (MIB // 4)


@pytest.fixture(scope="module")
def pool(new_cluster: Callable[..., OneNodeCeph], guests: CephRbdLab) -> Iterator[OtherPool]:
    with new_cluster(messenger="v2", encrypted=True) as cluster:
        yield OtherPool.create(guests, cluster, "encrypted")


@pytest.fixture
def mode(request: pytest.FixtureRequest) -> str:
    """The ms_mode of the SR."""
    return str(request.param)


@pytest.fixture
def sr(pool: OtherPool, mode: str) -> Iterator[CephSr]:
    words = [f"device-config:ms_mode={mode}"] if mode else []
    sr = pool.create_sr(f"encrypted-{mode}", *words)
    yield sr
    sr.forget()


def options(disk: Disk, host: Dom0) -> set[str]:
    (device,) = disk.devices(host)
    return krbd.options(host, device)


@pytest.mark.parametrize("mode", ["secure", "prefer-secure", ""], indirect=True)
def test_a_disk_is_written_and_read_over_encrypted_connections(mode: str, sr: CephSr, one: Dom0, two: Dom0) -> None:
    disk = Disk.create(sr)
    with disk.plugged(one) as device:
        assert f"ms_mode={mode or 'prefer-crc'}" in options(disk, one)
        write(one, device, DATA)
    with disk.plugged(two) as device:
        assert read(two, device, MIB) == DATA
    disk.destroy()


@pytest.mark.parametrize("mode", ["crc"], indirect=True)
def test_an_sr_without_encryption_is_refused_by_such_a_cluster(sr: CephSr, one: Dom0) -> None:
    """That the cluster refuses this proves that the other test's connections are encrypted."""
    disk = Disk.create(sr)
    refusal = disk.refusal(one, "vdi_activate", "true")
    assert "no connections with ms_mode=crc: choose another device-config:ms_mode" in refusal, refusal
    assert disk.claimed_by() is None
    disk.destroy()
