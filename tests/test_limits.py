"""Limits of disks: of an SR, of a VDI, changed while a VM uses the disk, measured by fio in a guest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lab.cephrbd import CephSr, RbdPool
from lab.crucible import CrucibleLab
from lab.disk import MIB, Disk
from lab.dom0 import Dom0
from lab.vdi import Vdi

CGROUP = "/sys/fs/cgroup"
V1 = f"{CGROUP}/blkio"
READ_IOPS = f"{V1}/blkio.throttle.read_iops_device"


@contextmanager
def control_groups(host: Dom0, version: int) -> Iterator[None]:
    """Mounts the hierarchy with the controller of block devices, as systemd does."""
    if version == 1:
        mount = f"mount -t tmpfs cgroup {CGROUP} && mkdir {V1} && mount -t cgroup -o blkio blkio {V1}"
        unmount = f"umount {V1} {CGROUP}"
    else:
        mount, unmount = f"mount -t cgroup2 cgroup2 {CGROUP}", f"umount {CGROUP}"
    host.exec(["sh", "-c", mount]).check()
    try:
        yield
    finally:
        host.exec(["sh", "-c", unmount]).check()


def limit(sr: CephSr, vdi: str, *words: str) -> str:
    done = sr.lab.admin("vdi", "limit", vdi, *words)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def measured(host: Dom0, device: str, kind: str, block: str, *, group: str = "") -> dict[str, float]:
    """What fio reaches: requests and megabytes a second. `group`: the control group that it runs in."""
    fio = f"fio --name=x --filename={device} --rw={kind} --bs={block} --direct=1 --ioengine=libaio --iodepth=8"
    fio += " --time_based --ramp_time=2 --runtime=8 --size=64M --output-format=json"
    join = f"echo $$ >{CGROUP}/{group}/cgroup.procs && " if group else ""
    said = host.exec(["sh", "-c", f"{join}exec {fio}"], timeout=120).check().decode()
    job = json.loads(said[said.index("{") :])["jobs"][0]["write" if "write" in kind else "read"]
    return {"iops": job["iops"], "mbps": job["bw_bytes"] / 1e6}


@pytest.fixture(scope="module")
def sr(guests_rbd_pool: RbdPool) -> CephSr:
    return guests_rbd_pool.create_sr("limits")


@pytest.fixture
def disk(sr: CephSr) -> Iterator[Disk]:
    disk = Disk.create(sr, 64 * MIB)
    yield disk
    sr.destroy_vdi(disk.uuid)


def number(host: Dom0, disk: Disk) -> str:
    """The number of its RBD device, as MAJOR:MINOR."""
    (device,) = disk.devices(host)
    return host.exec(["cat", f"/sys/block/{device.rpartition('/')[2]}/dev"]).check().decode().strip()


def test_a_limit_is_set_changed_and_removed_while_the_disk_is_in_use(disk: Disk, one: Dom0) -> None:
    sr = disk.sr
    assert "no host uses the disk" in limit(sr, disk.uuid, "--iops", "700")
    with control_groups(one, 1):
        with disk.plugged(one):
            device = number(one, disk)
            assert one.get(READ_IOPS).decode() == f"{device} 700\n", "from the activation on"
            said = limit(sr, disk.uuid, "--iops", "300", "--mbps", "5")
            assert "300 IOPS and 5 MB/s" in said
            assert f"host {one.uuid}: set" in said
            assert one.get(READ_IOPS).decode() == f"{device} 300\n"
            for way in ("read", "write"):
                assert one.get(f"{V1}/blkio.throttle.{way}_bps_device").decode() == f"{device} 5000000\n"
            other_config = sr.lab.get("vdi", "other-config", disk.uuid)
            assert "smblock:iops: 300" in other_config
            assert "no limit" in limit(sr, disk.uuid, "--none")
            assert one.get(READ_IOPS) == b""
            # A limit of an earlier device of the same number goes with the next activation.
            one.exec(["sh", "-c", f"echo {device} 9 >{READ_IOPS}"]).check()
        limit(sr, disk.uuid, "--default")
        with disk.plugged(one):
            assert number(one, disk) == device
            assert one.get(READ_IOPS) == b""


def test_a_bad_limit_is_refused_before_anything_is_changed(sr: CephSr, disk: Disk) -> None:
    lab = sr.lab
    for value in ("0", "-5", "many"):
        words = ("type=cephrbd", "name-label=bad", *sr.pool.device_config, f"device-config:iops={value}")
        refused = lab.refused("sr-create", *words)
        assert f"device-config:iops='{value}' is refused: give a whole number of requests a second" in refused
        done = lab.admin("vdi", "limit", disk.uuid, f"--mbps={value}")
        assert done.returncode == 1
        assert f"smblock:mbps='{value}' is refused: give a whole number of megabytes" in done.stderr.decode()
    assert "smblock" not in lab.get("vdi", "other-config", disk.uuid)
    wrong = lab.admin("vdi", "limit", disk.uuid, "--none", "--iops", "7")
    assert wrong.returncode == 2


@pytest.mark.slow  # the tests of hostos and sr have each case
def test_a_host_without_control_groups_plugs_the_disk_and_reports_it(disk: Disk, one: Dom0) -> None:
    lab = disk.sr.lab
    lab.xe("vdi-param-set", f"uuid={disk.uuid}", "other-config:smblock:iops=700")
    with disk.plugged(one):
        done = lab.admin("vdi", "limit", disk.uuid)
        assert done.returncode == 1
        assert "SMB-H015" in done.stdout.decode()
        found = lab.admin("doctor", disk.sr.uuid, "--json", host=lab.hosts.index(one)).stdout.decode()
        assert "SMB-F442" in found
        lab.xe("vdi-param-set", f"uuid={disk.uuid}", "other-config:smblock:iops=-3")
        refused = lab.admin("vdi", "limit", disk.uuid)
        assert refused.returncode == 1
        assert "SMB-P004" in refused.stderr.decode()
    with disk.plugged(one):  # nor does a bad value prevent it
        assert disk.claimed_by() == one.uuid


@pytest.mark.slow
@pytest.mark.parametrize("path", ["aio", "phy"])
def test_fio_reaches_the_limit_and_does_not_exceed_it(
    guests_rbd_pool: RbdPool, one: Dom0, serves_phy: bool, path: str
) -> None:
    """On cgroup v1. The SR's default, and the disk's own limit, changed under load."""
    if path == "phy" and not serves_phy:
        pytest.skip("this SM connects no block devices")
    words = (f"device-config:datapath={path}", "device-config:iops=60")
    sr = guests_rbd_pool.create_sr(f"limited-{path}", *words)
    disk = Disk.create(sr, 64 * MIB)
    with control_groups(one, 1), disk.plugged(one) as device:
        default = measured(one, device, "randwrite", "4k")
        assert default["iops"] == pytest.approx(60, rel=0.1)
        limit(sr, disk.uuid, "--iops", "30")
        half = measured(one, device, "randwrite", "4k")
        assert half["iops"] / default["iops"] == pytest.approx(0.5, rel=0.1)
        limit(sr, disk.uuid, "--iops", "none", "--mbps", "2")
        for kind in ("read", "write"):
            assert measured(one, device, kind, "64k")["mbps"] == pytest.approx(2, rel=0.1), kind
        limit(sr, disk.uuid, "--none")
        unlimited = measured(one, device, "randread", "4k")
        print(f"{path}: default {default}, half {half}, unlimited {unlimited}")
        assert unlimited["iops"] > 120
    sr.destroy_vdi(disk.uuid)


@pytest.mark.slow
def test_a_crucible_volume_has_the_limit_on_its_nbd_device(crucible_guests: CrucibleLab, one: Dom0) -> None:
    volume = crucible_guests.storage.create_volume("limited")
    crucible_guests.declare(volume)
    sr = crucible_guests.create_sr()
    try:
        with control_groups(one, 1), Vdi(sr, volume.uuid).plugged(one):
            done = sr.lab.admin("vdi", "limit", volume.uuid, "--iops", "40")
            assert done.returncode == 0, done.stdout.decode()
            link = one.exec(["readlink", f"/dev/sm/phy/{sr.uuid}/{volume.uuid}"]).check().decode().strip()
            assert link.startswith("/dev/nbd")
            device = one.exec(["cat", f"/sys/block/{link.rpartition('/')[2]}/dev"]).check().decode().strip()
            assert one.get(READ_IOPS).decode() == f"{device} 40\n"
    finally:
        sr.forget()


@pytest.mark.slow  # the last one: cgroup v1 cannot be mounted after it
def test_fio_in_tapdisks_group_of_cgroup_v2_reaches_the_limit(disk: Disk, one: Dom0) -> None:
    """The simulator's tapdisk sends no requests: fio sends them in its group."""
    limit(disk.sr, disk.uuid, "--iops", "50")
    with control_groups(one, 2), disk.plugged(one) as device:
        assert measured(one, device, "randwrite", "4k", group="smblock")["iops"] == pytest.approx(50, rel=0.1)
        limit(disk.sr, disk.uuid, "--none")
        assert number(one, disk) not in one.get(f"{CGROUP}/smblock/io.max").decode()
