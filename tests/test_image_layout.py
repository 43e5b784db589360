"""How the images of an SR are split into objects: what its device-config requests, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.cephrbd import CephRbdLab, CephSr, RbdPool

KIB, MIB = 1 << 10, 1 << 20
# What an administrator may have set for other images of the cluster.
DEFAULTS = {
    "rbd_default_order": "20",
    "rbd_default_stripe_unit": "8192",
    "rbd_default_stripe_count": "5",
    "rbd_default_features": "61",
    "rbd_default_clone_format": "1",
}


def layout(sr: CephSr, image: str) -> tuple[int, int, int]:
    """The object size, stripe unit and stripe count of an image."""
    info = sr.pool.image_info(image)
    size = info["object_size"]
    return size, info.get("stripe_unit", size), info.get("stripe_count", 1)


@pytest.fixture
def _defaults(lab: CephRbdLab) -> Iterator[None]:
    for name, value in DEFAULTS.items():
        lab.ceph.admin("config", "set", "client", name, value)
    yield
    for name in DEFAULTS:
        lab.ceph.admin("config", "rm", "client", name)


@pytest.mark.usefixtures("_defaults")
def test_images_and_clones_have_the_layout_of_the_device_config(rbd_pool: RbdPool) -> None:
    lab = rbd_pool.lab
    plain = rbd_pool.create_sr("plain")
    words = ["object_size=8MiB", "stripe_unit=16KiB", "stripe_count=3"]
    striped = rbd_pool.create_sr("striped", *(f"device-config:{word}" for word in words))
    for sr, expected in ((plain, (4 * MIB, 4 * MIB, 1)), (striped, (8 * MIB, 16 * KIB, 3))):
        disk = sr.create_vdi()
        snapshot = lab.xe("vdi-snapshot", f"uuid={disk}")
        clones = [lab.xe("vdi-clone", f"uuid={source}") for source in (snapshot, disk)]
        images = {sr.image(vdi) for vdi in (disk, *clones)}
        assert {layout(sr, image) for image in images} == {expected}
        features = {feature for image in images for feature in sr.pool.image_info(image)["features"]}
        assert features == {"layering", "exclusive-lock", "operations"} | ({"striping"} if sr is striped else set())
    statefile = striped.create_vdi("statefile", "4MiB", "type=ha_statefile")
    assert striped.pool.image_info(striped.image(statefile))["features"] == ["layering"]
    assert layout(striped, striped.image(statefile)) == (4 * MIB, 4 * MIB, 1)
    report = lab.admin("check", *rbd_pool.device_config).stdout.decode()
    assert "rbd_default_order=20, rbd_default_stripe_unit=8192, rbd_default_stripe_count=5" in report


def test_a_disk_keeps_its_layout_when_that_of_the_sr_changes(sr: CephSr) -> None:
    lab = sr.lab
    old = sr.create_vdi("old")
    snapshot = lab.xe("vdi-snapshot", f"uuid={old}")
    sr.replug(*sr.pool.device_config, "device-config:object_size=64K")
    clone, new = lab.xe("vdi-clone", f"uuid={snapshot}"), sr.create_vdi("new")
    lab.xe("vdi-resize", f"uuid={old}", "disk-size=2GiB")
    sizes = [layout(sr, sr.image(vdi))[0] for vdi in (old, clone, new)]
    assert sizes == [4 * MIB, 64 * KIB, 64 * KIB]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["object_size=3MiB"], "give a power of two from 4KiB to 32MiB"),
        (["stripe_unit=64KiB"], "it needs device-config:stripe_count"),
        (["stripe_unit=3MiB", "stripe_count=2"], "divides object_size (4194304 bytes)"),
        (["stripe_unit=64KiB", "stripe_count=0"], "give a number from 1 to 256"),
    ],
)
def test_a_layout_that_no_image_can_have_is_refused(shared_rbd_pool: RbdPool, words: list[str], text: str) -> None:
    before = shared_rbd_pool.objects()
    given = [*shared_rbd_pool.device_config, *(f"device-config:{word}" for word in words)]
    assert text in shared_rbd_pool.lab.refused("sr-create", "type=cephrbd", "shared=true", "name-label=x", *given)
    assert shared_rbd_pool.objects() == before
