"""Disks of golden images: `smblock vdi import`, and what `smblock vdi spec` prints, read by QEMU itself."""

from __future__ import annotations

import dataclasses
import json
import random
import re
import shutil
import subprocess
import xml.etree.ElementTree as xml
from collections.abc import Iterator
from typing import Any

import pytest

from lab import run, wait_for
from lab.cephrbd import CephRbdLab, CephSr, RbdPool
from lab.copies import row
from lab.disk import MIB, Disk

GOLDEN = random.Random(1).randbytes(5 * MIB + 512)
UNIT = 2 * MIB
NEEDS_QEMU = pytest.mark.skipif(
    shutil.which("qemu-img") is None or b"rbd" not in run(["qemu-img", "--help"], timeout=10).stdout,
    reason="QEMU has no driver rbd here: the package qemu-block-extra is not installed",
)


@dataclasses.dataclass(frozen=True)
class Images:
    """A pool of golden images, which the user of the SRs may only read."""

    lab: CephRbdLab
    name: str = "images"

    def rbd(self, *words: str) -> str:
        return self.lab.ceph.rbd(*words)

    def make(self, image: str, data: bytes, *words: str) -> None:
        """An image with that data, and its snapshot `golden`."""
        argv = ["rbd", "--conf", str(self.lab.ceph.conf), "import", "--no-progress", "--image-feature", "layering"]
        run([*argv, *words, "-", f"{self.name}/{image}"], timeout=60, input=data)
        self.rbd("snap", "create", "--no-progress", f"{self.name}/{image}@golden")


@pytest.fixture(scope="module")
def images(lab: CephRbdLab) -> Iterator[Images]:
    images = Images(lab)
    lab.ceph.create_pool(images.name)
    images.make("debian", GOLDEN)
    yield images
    lab.ceph.admin("osd", "pool", "delete", images.name, images.name, "--yes-i-really-really-mean-it")


@pytest.fixture(scope="module")
def sr(shared_rbd_pool: RbdPool, images: Images) -> CephSr:
    lab, pool = shared_rbd_pool.lab, shared_rbd_pool.name
    rbd = f"profile rbd pool={pool}"
    user = lab.user("templates", mon="profile rbd", osd=f"{rbd}, profile rbd-read-only pool=images", mgr=rbd)
    return dataclasses.replace(shared_rbd_pool, user=user).create_sr("templates")


def make(sr: CephSr, source: str, *words: str) -> Disk:
    done = sr.lab.admin("vdi", "import", "--json", "--from", source, *words, sr.uuid)
    return Disk(sr, json.loads(done.check())["vdi"])


def refusal(sr: CephSr, source: str, *words: str) -> str:
    before = (sr.pool.images(), sr.catalogue_keys())
    done = sr.lab.admin("vdi", "import", "--from", source, *words, sr.uuid)
    assert done.returncode == 1, done
    assert (sr.pool.images(), sr.catalogue_keys()) == before
    return done.stderr.decode()


@pytest.fixture(scope="module")
def disk(sr: CephSr, images: Images) -> Disk:
    """A disk of the golden image."""
    return make(sr, f"{images.name}/debian@golden")


def info(sr: CephSr, disk: Disk) -> dict[str, Any]:
    return sr.pool.image_info(disk.record()["volume"]["image"]["name"])


def test_a_disk_of_a_golden_image_is_a_thin_clone_with_its_content(sr: CephSr, images: Images) -> None:
    disk = make(sr, "images/debian@golden", "--name-label", "web1", "--name-description", "a web server")
    shown = row(disk)
    assert (shown["name_label"], shown["name_description"]) == ("web1", "a web server")
    size = -(-len(GOLDEN) // UNIT) * UNIT
    assert (int(shown["virtual_size"]), shown["type"], shown["managed"]) == (size, "user", True)
    assert disk.export() == GOLDEN.ljust(size, b"\0")
    parent = info(sr, disk)["parent"]
    assert (parent["pool"], parent["image"], parent["snapshot"]) == ("images", "debian", "golden")
    assert not [name for name in sr.pool.objects() if name.startswith("rbd_data.")]
    image = sr.image(disk.uuid)
    # It is a disk as any other.
    snapshot, clone = disk.snapshot(), disk.clone()
    sr.lab.xe("vdi-resize", f"uuid={clone.uuid}", f"disk-size={size + UNIT}")
    assert snapshot.export() == clone.export()[:size] == disk.export()
    for each in (disk, snapshot, clone):
        each.destroy()

    def is_freed() -> bool:
        sr.scan()
        return image not in images.rbd("children", "--all", "images/debian@golden")

    wait_for(is_freed, "the golden image not to have the clone", seconds=60)
    listed = json.loads(images.rbd("snap", "ls", "--all", "--format", "json", "images/debian"))
    assert [each["name"] for each in listed] == ["golden"]


def test_a_disk_of_an_image_in_the_srs_own_pool_can_be_larger(sr: CephSr) -> None:
    own = Images(sr.lab, sr.pool.name)
    own.make("local", GOLDEN)
    disk = make(sr, f"{sr.pool.name}/local@golden", "--size", "64MiB")
    assert (int(row(disk)["virtual_size"]), row(disk)["name_label"]) == (64 * MIB, "local")
    assert disk.export() == GOLDEN.ljust(64 * MIB, b"\0")
    done = sr.lab.admin("vdi", "import", "--from", f"{sr.pool.name}/local@golden", "--size", "big", sr.uuid)
    assert done.returncode == 2 and b"--size big is no size" in done.stderr


def test_what_cannot_be_a_disk_is_refused_with_the_way_out(sr: CephSr, images: Images, disk: Disk) -> None:
    ceph = sr.lab.ceph
    ceph.create_pool("closed")
    Images(sr.lab, "closed").make("debian", GOLDEN[:MIB])
    assert "'profile rbd-read-only pool=closed'" in refusal(sr, "closed/debian@golden")
    ceph.admin("osd", "pool", "delete", "closed", "closed", "--yes-i-really-really-mean-it")
    images.make("locked", b"LUKS\xba\xbe\0\2".ljust(MIB, b"\0"))
    assert "LUKS header" in refusal(sr, "images/locked@golden")
    snapshot = disk.snapshot()
    assert "xe vdi-clone" in refusal(sr, f"{sr.pool.name}/{sr.image(disk.uuid)}@{snapshot.uuid}")
    bench = ["rbd", "--conf", str(ceph.conf), "bench", "--io-type", "write", "--io-total", "10G", "images/locked"]
    with subprocess.Popen(bench, stdout=subprocess.DEVNULL) as writer:
        try:
            wait_for(lambda: "watcher" in images.rbd("status", "images/locked"), "the writer to open the image")
            text = refusal(sr, "images/locked")
        finally:
            writer.kill()
    assert re.search(r"The client 127\.\S+ has it open", text), text
    assert "has the snapshots: golden" in text
    assert "rbd snap create images/locked@golden" in text


@pytest.mark.slow
def test_a_golden_image_stays_as_long_as_a_disk_needs_it(sr: CephSr, images: Images) -> None:
    images.make("old", GOLDEN)
    disk = make(sr, "images/old@golden")
    images.rbd("snap", "rm", "--no-progress", "images/old@golden")
    removed = run(["rbd", "--conf", sr.lab.ceph.conf, "rm", "--no-progress", "images/old"], timeout=60, check=False)
    assert removed.returncode != 0
    images.rbd("trash", "mv", "images/old")
    assert disk.export()[: len(GOLDEN)] == GOLDEN
    assert disk.snapshot().clone().export()[: len(GOLDEN)] == GOLDEN


def spec(sr: CephSr, disk: Disk) -> dict[str, Any]:
    return dict(json.loads(sr.lab.admin("vdi", "spec", "--json", "--vdi", disk.uuid, sr.uuid).check()))


@NEEDS_QEMU
def test_qemu_reads_a_disk_by_its_printed_name(sr: CephSr, disk: Disk) -> None:
    snapshot = disk.snapshot()
    host = sr.lab.hosts[0]
    for each in (disk, snapshot):
        name = spec(sr, each)["qemu"]
        assert sr.lab.ceph.key(sr.pool.user) not in name
        host.exec(["qemu-img", "convert", "-O", "raw", name, "/tmp/copied"], timeout=60).check()
        assert host.get("/tmp/copied") == each.export()


def test_the_xml_for_libvirt_names_pool_image_monitors_and_user(sr: CephSr, disk: Disk) -> None:
    snapshot = disk.snapshot()
    found = spec(sr, disk)
    shown = xml.fromstring(found["libvirt"])
    source = shown.find("source")
    assert source is not None
    image = f"{sr.pool.name}/{sr.image(disk.uuid)}"
    assert (shown.get("type"), source.get("protocol"), source.get("name")) == ("network", "rbd", image)
    hosts = [(host.get("name"), host.get("port")) for host in source.findall("host")]
    assert [f"{name}:{port}" for name, port in hosts] == found["monitors"] != []
    assert [auth.get("username") for auth in shown.findall("auth")] == [sr.pool.user]
    assert shown.find("readonly") is None
    shown = xml.fromstring(spec(sr, snapshot)["libvirt"])
    assert [each.get("name") for each in shown.findall("source/snapshot")] == [snapshot.uuid]
    assert shown.find("readonly") is not None
    text = sr.lab.admin("vdi", "spec", "--vdi", disk.uuid, sr.uuid).check().decode()
    assert text == f"{found['qemu']}\n\n{found['libvirt']}\n"
