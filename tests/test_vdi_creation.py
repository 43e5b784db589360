"""Disks of all sizes and names are created, grown and destroyed; a refused one leaves nothing behind."""

from __future__ import annotations

import threading

import pytest

from lab.cephrbd import CephRbdLab, CephSr, RbdPool, wait_for
from lab.xapi import ApiError

GIB = 1 << 30
TIB = 1 << 40


@pytest.fixture(scope="module")
def sr(shared_sr: CephSr) -> CephSr:
    """One SR for all tests of this file, which do not touch each other's disks."""
    return shared_sr


def refused_size(sr: CephSr, size: int) -> str:
    """Create a disk through the API, which unlike `xe` accepts any size. Returns the error."""
    with sr.lab.xapi.session() as session:
        record = {
            "SR": session.SR.get_by_uuid(sr.uuid),
            "name_label": "never made",
            "virtual_size": str(size),
            "type": "user",
        }
        with pytest.raises(ApiError) as failure:
            session.VDI.create(record)
    return str(failure.value)


@pytest.mark.parametrize("size", [1, 511, GIB, GIB + 1, 64 * TIB], ids=str)
def test_a_disk_is_never_smaller_than_asked(sr: CephSr, size: int) -> None:
    vdi = sr.create_vdi("sized", str(size))
    reported = int(sr.lab.get("vdi", "virtual-size", vdi))
    assert size <= reported < size + (2 << 20)
    assert reported % (2 << 20) == 0, "as the size of each VHD"
    assert sr.pool.image_info(sr.image(vdi))["size"] == reported


@pytest.mark.parametrize("size", [0, -1, 2**63, 2**64 + 1], ids=str)
def test_a_size_that_no_disk_can_have_is_refused_clearly_and_leaves_nothing(sr: CephSr, size: int) -> None:
    images, keys, vdis = sr.pool.images(), sr.catalogue_keys(), sr.vdis()
    complaint = refused_size(sr, size)
    assert "SR_BACKEND_FAILURE_79" in complaint
    assert f"cannot create a VDI of {size} bytes: the size must be from 1 byte to" in complaint
    assert (sr.pool.images(), sr.catalogue_keys(), sr.vdis()) == (images, keys, vdis)


NAMES = {
    "64 KiB": "x" * 65536,
    "emoji": "💾 диск データ",
    "markup": "a<b> & \"c\" 'd' ]]> %s",
    "path": "../../etc/passwd",
    "dash": "-rf",
    "spaces": " two  spaces ",
    "empty": "",
}


def test_disks_keep_any_name_even_when_only_the_catalogue_remembers_it(rbd_pool: RbdPool) -> None:
    lab, sr = rbd_pool.lab, rbd_pool.create_sr()
    made = {sr.create_vdi(name): name for name in NAMES.values()}
    sr.scan()
    assert {vdi: lab.get("vdi", "name-label", vdi) for vdi in made} == made
    sr.forget()
    again = rbd_pool.introduce_sr(sr.uuid)
    assert {vdi: lab.get("vdi", "name-label", vdi) for vdi in again.vdis()} == made


@pytest.mark.parametrize("name", ["bell \x07", "\ufffe"], ids=["control", "noncharacter"])
def test_a_name_that_xml_cannot_have_creates_no_disk(sr: CephSr, name: str) -> None:
    images, keys = sr.pool.images(), sr.catalogue_keys()
    xapi = sr.lab.xapi.pool
    with pytest.raises(ApiError, match="SR_BACKEND_FAILURE_143"):
        # Without `xe` and the API: their own XML cannot have such a name.
        xapi.sm(xapi.master, "vdi_create", sr=xapi.db.by_uuid("SR", sr.uuid), vdi_sm_config={},
                args=[str(GIB), name, "", "", "false", "19700101T00:00:00Z", "", "false"])  # fmt: skip
    assert (sr.pool.images(), sr.catalogue_keys()) == (images, keys)
    sr.scan()


def test_the_disk_of_a_migration_to_the_sr_is_refused_with_another_way(sr: CephSr) -> None:
    xapi = sr.lab.xapi.pool
    before = sr.pool.images(), sr.vdis()
    with pytest.raises(ApiError, match="cannot receive disks of a storage migration.*xe vdi-copy"):
        xapi.sm(xapi.master, "vdi_create", sr=xapi.db.by_uuid("SR", sr.uuid), vdi_type="user",
                vdi_sm_config={"base_mirror": "x/y"},
                args=[str(GIB), "leaf", "", "", "false", "19700101T00:00:00Z", "", "false"])  # fmt: skip
    assert (sr.pool.images(), sr.vdis()) == before


def test_a_created_image_has_exactly_the_features_asked_for(rbd_pool: RbdPool) -> None:
    default = rbd_pool.create_sr("default")
    image = default.image(default.create_vdi())
    assert set(rbd_pool.image_info(image)["features"]) == {"layering", "exclusive-lock"}

    wanted = "layering,exclusive-lock,object-map,fast-diff"
    chosen = rbd_pool.create_sr("chosen", f"device-config:image_features={wanted}")
    info = rbd_pool.image_info(chosen.image(chosen.create_vdi()))
    assert set(info["features"]) == set(wanted.split(","))
    assert info["format"] == 2


def test_a_disk_grows_and_its_image_with_it(sr: CephSr) -> None:
    vdi = sr.create_vdi("grows")
    for size in (GIB + 1, 10 * GIB, 64 * TIB):
        sr.lab.xe("vdi-resize", f"uuid={vdi}", f"disk-size={size}")
        assert int(sr.lab.get("vdi", "virtual-size", vdi)) >= size
        assert sr.pool.image_info(sr.image(vdi))["size"] >= size
    sr.scan()
    assert int(sr.lab.get("vdi", "virtual-size", vdi)) >= 64 * TIB


def test_a_disk_does_not_shrink(sr: CephSr) -> None:
    vdi = sr.create_vdi("stays", "2GiB")
    complaint = sr.lab.refused("vdi-resize", f"uuid={vdi}", "disk-size=1GiB")
    assert "SR_BACKEND_FAILURE_79" in complaint
    assert "shrinking would destroy data" in complaint
    assert sr.lab.get("vdi", "virtual-size", vdi) == str(2 * GIB)
    assert sr.pool.image_info(sr.image(vdi))["size"] == 2 * GIB


def test_an_image_of_our_naming_that_is_not_ours_is_left_alone(sr: CephSr) -> None:
    rbd = sr.lab.ceph.rbd
    foreign = sr.image("11111111-2222-3333-4444-555555555555")
    rbd("create", "--size", "7M", f"{sr.pool.name}/{foreign}")
    known = sr.vdis()
    with sr.lab.xapi.session() as session:
        ref = session.SR.get_by_uuid(sr.uuid)
        # xapi's request, for a disk of that uuid.
        with pytest.raises(ApiError, match="VDI_MISSING"):
            session.VDI.introduce(
                "11111111-2222-3333-4444-555555555555", "guess", "", ref, "user", False, False, {},
                "11111111-2222-3333-4444-555555555555", {}, {},
            )  # fmt: skip
    sr.scan()
    assert sr.vdis() == known
    assert sr.pool.image_info(foreign)["size"] == 7 << 20
    rbd("rm", f"{sr.pool.name}/{foreign}")


def test_a_disk_can_be_destroyed_twice(sr: CephSr) -> None:
    vdi = sr.create_vdi("gone")
    with sr.lab.xapi.session() as session:
        record = session.VDI.get_record(session.VDI.get_by_uuid(vdi))
        sr.destroy_vdi(vdi)
        # As after a destroy whose reply was lost: XAPI still has the record.
        again = session.VDI.db_introduce(
            vdi, "gone", "", record["SR"], "user", False, False, {}, record["location"], {}, {}
        )  # fmt: skip
        session.VDI.destroy(again)
    assert vdi not in sr.vdis()
    assert sr.image(vdi) not in sr.pool.images()
    assert not {key for key in sr.catalogue_keys() if vdi in key}


def test_a_destroyed_disks_space_is_freed_without_a_command(sr: CephSr) -> None:
    lab = sr.lab
    vdi = sr.create_vdi("full")
    lab.ceph.rbd("bench", "--io-type", "write", "--io-size", "4M", "--io-total", "64M", "--io-threads", "2",
                 f"{sr.pool.name}/{sr.image(vdi)}")  # fmt: skip
    prefix = sr.pool.image_info(sr.image(vdi))["block_name_prefix"]
    assert any(name.startswith(prefix) for name in sr.pool.objects())
    sr.destroy_vdi(vdi)
    wait_for(lambda: sr.pool.trash() == "", "the trash to be emptied")
    assert not {name for name in sr.pool.objects() if name.startswith(prefix)}


def test_eight_disks_made_at_once_are_eight_disks(sr: CephSr) -> None:
    made: list[str] = []
    threads = [threading.Thread(target=lambda: made.append(sr.create_vdi("at once"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 8
    sr.scan()
    assert set(made) <= sr.vdis()
    assert {sr.image(vdi) for vdi in made} <= sr.pool.images()


def test_a_failed_creation_leaves_nothing(lab: CephRbdLab, rbd_pool: RbdPool) -> None:
    sr = rbd_pool.create_sr()
    # The user may write the catalogue, but not an image's header.
    lab.ceph.admin("auth", "caps", f"client.{rbd_pool.user}", "mon", "profile rbd", "mgr", "profile rbd",
                   "osd", f"allow rwx pool={rbd_pool.name} object_prefix smblock., "
                   f"allow rwx pool={rbd_pool.name} object_prefix rbd_id., "
                   f"allow rx pool={rbd_pool.name} object_prefix rbd_")  # fmt: skip
    complaint = lab.refused("vdi-create", f"sr-uuid={sr.uuid}", "name-label=never", "virtual-size=1GiB")
    assert "creating image" in complaint
    profile = f"profile rbd pool={rbd_pool.name}"
    lab.ceph.admin("auth", "caps", f"client.{rbd_pool.user}", "mon", "profile rbd", "osd", profile, "mgr", profile)
    sr.scan()
    assert sr.vdis() == set()
    assert rbd_pool.images() == set()
    assert sr.catalogue_keys() == {"sr"}
    sr.create_vdi("works again")
