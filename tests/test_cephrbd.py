"""The life of an SR of type cephrbd, as an administrator sees it through `xe`, on a real cluster."""

from __future__ import annotations

import time
import uuid
from xml.etree import ElementTree

from lab.cephrbd import STANDING_OBJECTS, CephRbdLab, CephSr, RbdPool, wait_for
from lab.copies import row
from lab.disk import Disk

GIB = 1 << 30


def probe(lab: CephRbdLab, *words: str) -> ElementTree.Element:
    """The parsed output of `xe sr-probe`."""
    return ElementTree.fromstring(lab.xe("sr-probe", "type=cephrbd", *words))


def test_the_driver_is_listed_with_what_it_can_do_and_how_it_is_configured(lab: CephRbdLab) -> None:
    (sm,) = lab.list("sm", "type=cephrbd")
    features = lab.get("sm", "features", sm)
    for feature in ("SR_PROBE", "SR_UPDATE", "VDI_CREATE", "VDI_DELETE", "VDI_RESIZE", "VDI_ACTIVATE", "LARGE_VDI"):
        assert f"{feature}: 1" in features
    for feature in ("VDI_SNAPSHOT: 1", "VDI_CLONE: 1", "VDI_RESET_ON_BOOT: 2"):
        assert feature in features
    assert "VDI_MIRROR" not in features  # not before it works
    assert "pool: Ceph pool that holds the disks (required)" in lab.get("sm", "configuration", sm)


def test_an_sr_is_plugged_on_every_host_and_has_the_size_of_its_pool(shared_sr: CephSr) -> None:
    lab = shared_sr.lab
    assert len(lab.list("pbd", f"sr-uuid={shared_sr.uuid}", "currently-attached=true")) == len(lab.hosts) == 2
    shared_sr.wait_for_size_of_pool()


def test_a_probe_without_a_pool_lists_pools_with_free_space_and_quota(rbd_pool: RbdPool, pool: str) -> None:
    lab = rbd_pool.lab
    lab.ceph.admin("osd", "pool", "application", "disable", pool, "rbd", "--yes-i-really-mean-it")
    lab.ceph.set_quota(rbd_pool.name, max_bytes=3 * GIB)
    lab.ceph.wait_pool_stats(rbd_pool.name)
    found = probe(lab, f"device-config:ceph_user={rbd_pool.user}")
    pools = {entry.findtext("name"): entry for entry in found.iter("Pool")}
    assert found.tag == "PoolList"
    assert pool not in pools
    others = {name: entry.findtext("refused", "") for name, entry in pools.items() if name != rbd_pool.name}
    assert "rbd" in others
    for name, refused in others.items():
        assert refused == f"client.{rbd_pool.user} lacks the cap osd 'profile rbd pool={name}'"
    assert pools[rbd_pool.name].findtext("refused") is None
    mine = pools[rbd_pool.name]
    assert int(mine.findtext("quota", "")) == 3 * GIB
    assert 0 < int(mine.findtext("free", "")) <= 3 * GIB


def test_a_probe_leaves_notes_of_activations_of_any_sr_alone(rbd_pool: RbdPool) -> None:
    note = f"/run/smblock/activating/{uuid.uuid4()}/{uuid.uuid4()}"
    for host in rbd_pool.lab.hosts:
        host.put(note, b"{}")
    assert list(probe(rbd_pool.lab, *rbd_pool.device_config)) == []
    assert all(host.get(note) == b"{}" for host in rbd_pool.lab.hosts)


def test_probing_a_pool_finds_the_srs_in_it_with_their_names(rbd_pool: RbdPool) -> None:
    lab = rbd_pool.lab
    assert list(probe(lab, *rbd_pool.device_config)) == []
    sr = rbd_pool.create_sr("production <1> & 2", "name-description=of the 3rd floor")
    lab.ceph.wait_pool_stats(rbd_pool.name)  # before that Ceph reports no size
    (found,) = probe(lab, *rbd_pool.device_config)
    assert found.findtext("UUID") == sr.uuid
    assert found.findtext("name_label") == "production <1> & 2"
    assert found.findtext("name_description") == "of the 3rd floor"
    assert int(found.findtext("Size", "")) > 0


def test_a_renamed_sr_is_found_by_its_new_name(sr: CephSr) -> None:
    lab = sr.lab
    lab.xe("sr-param-set", f"uuid={sr.uuid}", "name-label=renamed", "name-description=moved house")
    sr.scan()
    (found,) = probe(lab, *sr.pool.device_config)
    assert (found.findtext("name_label"), found.findtext("name_description")) == ("renamed", "moved house")


def test_a_forgotten_sr_comes_back_with_every_disk_name_and_description(sr: CephSr) -> None:
    lab = sr.lab
    kept = {
        sr.create_vdi("root disk", "10GiB", "name-description=boots <from> & here"): "10737418240",
        sr.create_vdi("データ 💾", "3GiB"): "3221225472",
    }
    renamed = sr.create_vdi("first name")
    kept[renamed] = "1073741824"
    lab.xe("vdi-param-set", f"uuid={renamed}", "name-label=second name", "name-description=set afterwards")
    sr.forget()
    assert sr.uuid not in lab.list("sr")

    again = sr.pool.introduce_sr(sr.uuid)
    assert {vdi: lab.get("vdi", "virtual-size", vdi) for vdi in again.vdis()} == kept
    assert again.names() == {"root disk", "データ 💾", "second name"}
    descriptions = {lab.get("vdi", "name-description", vdi) for vdi in kept}
    assert descriptions == {"boots <from> & here", "", "set afterwards"}


def test_a_forgotten_sr_comes_back_with_the_metadata_disk_of_its_pool(sr: CephSr) -> None:
    # What xapi does for `xe sr-enable-database-replication`, which needs SR_METADATA (xapi_sr.ml).
    with sr.lab.xapi.session() as session:
        pool = session.pool.get_all()[0]
        record = {
            "name_label": "Metadata for DR",
            "type": "metadata",
            "sharable": False,
            "virtual_size": str(256 << 20),
        }
        vdi = session.VDI.create(record | {"SR": session.SR.get_by_uuid(sr.uuid), "sm_config": {"type": "raw"}})
        session.VDI.set_metadata_of_pool(vdi, pool)
        session.VDI.update(vdi)
        uuid = session.VDI.get_uuid(vdi)
    sr.forget()
    sr.pool.introduce_sr(sr.uuid)
    with sr.lab.xapi.session() as session:
        found = session.VDI.get_record(session.VDI.get_by_uuid(uuid))
    assert (found["type"], found["metadata_of_pool"]) == ("metadata", pool)


def test_two_srs_of_a_pool_are_independent_and_one_outlives_the_other(sr: CephSr) -> None:
    second = sr.pool.create_sr("second")
    mine, theirs = sr.create_vdi("mine"), second.create_vdi("theirs")
    for each, disk in ((sr, mine), (second, theirs)):
        each.scan()
        assert each.vdis() == {disk}
    assert {found.findtext("UUID") for found in probe(sr.lab, *sr.pool.device_config)} == {sr.uuid, second.uuid}

    sr.destroy_vdi(mine)
    sr.destroy()
    second.scan()
    assert second.names() == {"theirs"}
    assert sr.pool.images() == {second.image(theirs)}
    assert [found.findtext("UUID") for found in probe(sr.lab, *sr.pool.device_config)] == [second.uuid]


def test_an_sr_with_disks_is_not_destroyed_even_if_xapi_forgot_them(sr: CephSr) -> None:
    lab = sr.lab
    vdi = sr.create_vdi("precious")
    lab.xe("vdi-forget", f"uuid={vdi}")
    sr.unplug()
    assert "not empty" in lab.refused("sr-destroy", f"uuid={sr.uuid}")
    assert sr.pool.images() == {sr.image(vdi)}

    for pbd in lab.list("pbd", f"sr-uuid={sr.uuid}"):
        lab.xe("pbd-plug", f"uuid={pbd}")
    sr.scan()
    assert sr.names() == {"precious"}
    sr.create_vdi("and it takes new ones")


def test_a_destroyed_sr_leaves_nothing_in_its_pool(rbd_pool: RbdPool) -> None:
    before = rbd_pool.objects()
    rbd_pool.lab.ceph.rbd("create", "--size", "1G", f"{rbd_pool.name}/foreign")
    sr = rbd_pool.create_sr()
    for vdi in [sr.create_vdi(f"disk {number}") for number in range(3)]:
        sr.destroy_vdi(vdi)
    sr.destroy()
    assert rbd_pool.images() == {"foreign"}
    assert rbd_pool.trash() == ""
    rbd_pool.lab.ceph.rbd("rm", f"{rbd_pool.name}/foreign")
    assert rbd_pool.objects() - before <= STANDING_OBJECTS
    assert rbd_pool.rados("listomapkeys", "smblock.directory") == ""
    assert probe(rbd_pool.lab, *rbd_pool.device_config).findall("SR") == []


def test_a_scan_fails_and_drops_nothing_while_the_cluster_is_down(sr: CephSr) -> None:
    lab = sr.lab
    sr.create_vdi("survivor")
    lab.ceph.stop_monitor()
    began = time.monotonic()
    try:
        complaint = lab.refused("sr-scan", f"uuid={sr.uuid}")
    finally:
        lab.ceph.start_monitor()
    assert time.monotonic() - began < 38  # 30 s for the monitors, the rest for Python and SM
    assert "SR_BACKEND_FAILURE_47" in complaint
    assert f"compare the key with 'ceph auth get client.{sr.pool.user}'" in complaint
    assert "smblock check" in complaint
    assert sr.names() == {"survivor"}
    sr.scan()
    assert sr.names() == {"survivor"}


def test_an_sr_can_be_unplugged_while_the_cluster_is_down(sr: CephSr) -> None:
    sr.create_vdi("survivor")
    sr.lab.ceph.stop_monitor()
    try:
        sr.unplug()
    finally:
        sr.lab.ceph.start_monitor()
    sr.plug()
    assert sr.names() == {"survivor"}


def test_a_disk_without_its_image_is_listed_until_it_is_destroyed(sr: CephSr) -> None:
    lost, kept = sr.create_vdi("lost"), sr.create_vdi("kept")
    sr.lab.ceph.rbd("rm", f"{sr.pool.name}/{sr.image(lost)}")
    sr.scan()
    assert sr.names() == {"lost", "kept"}
    sr.destroy_vdi(lost)
    assert sr.vdis() == {kept}
    sr.forget()
    assert sr.pool.introduce_sr(sr.uuid).vdis() == {kept}


def test_a_disk_whose_image_was_shrunk_by_hand_is_not_resized(sr: CephSr) -> None:
    vdi = sr.create_vdi("shrunk", "64MiB")
    resize = ("resize", "--allow-shrink", "--no-progress", f"{sr.pool.name}/{sr.image(vdi)}", "--size")
    sr.lab.ceph.rbd(*resize, "16M")
    for size in ("64MiB", "128MiB"):
        complaint = sr.lab.refused("vdi-resize", f"uuid={vdi}", f"disk-size={size}")
        assert "it was shrunk outside smblock" in complaint
    sr.lab.ceph.rbd(*resize, "96M")
    sr.lab.xe("vdi-resize", f"uuid={vdi}", "disk-size=80MiB")
    assert sr.lab.get("vdi", "virtual-size", vdi) == str(96 << 20), "the image was grown by hand"


def test_a_disk_whose_image_was_trashed_by_hand_is_not_forgotten(sr: CephSr) -> None:
    vdi = sr.create_vdi("thrown away")
    sr.lab.ceph.rbd("trash", "mv", "--expires-at", "tomorrow", f"{sr.pool.name}/{sr.image(vdi)}")
    sr.scan()
    assert sr.vdis() == {vdi}


def test_a_disk_with_a_corrupt_record_is_listed_and_harms_no_other(sr: CephSr) -> None:
    lab = sr.lab
    damaged, other = sr.create_vdi("damaged", "2GiB"), sr.create_vdi("other")
    sr.pool.rados("setomapval", sr.catalogue, f"vdi.{damaged}", "\x7fgarbage{")
    sr.scan()
    assert sr.names() == {"damaged", "other"}
    assert lab.get("vdi", "virtual-size", damaged) == str(2 * GIB)

    complaint = lab.refused("vdi-resize", f"uuid={damaged}", "disk-size=3GiB")
    assert "SR_BACKEND_FAILURE_181" in complaint
    assert f"vdi.{damaged}" in complaint
    lab.xe("vdi-resize", f"uuid={other}", "disk-size=3GiB")
    sr.create_vdi("yet another")

    sr.forget()
    again = sr.pool.introduce_sr(sr.uuid)
    assert again.names() == {"damaged", "other", "yet another"}
    assert lab.get("vdi", "virtual-size", damaged) == str(2 * GIB)


def test_a_scan_passes_over_a_damaged_record_of_an_unknown_vdi(sr: CephSr) -> None:
    good = sr.create_vdi("good")
    key = f"vdi.{uuid.uuid4()}"
    sr.pool.rados("setomapval", sr.catalogue, key, "garbage")
    sr.scan()
    assert sr.vdis() == {good}
    assert key in sr.catalogue_keys(), "the driver removes no record that it cannot read"


def test_an_sr_whose_catalogue_is_gone_is_an_error_and_never_an_empty_sr(sr: CephSr) -> None:
    vdi = sr.create_vdi("survivor")
    sr.pool.rados("rm", sr.catalogue)
    complaint = sr.lab.refused("sr-scan", f"uuid={sr.uuid}")
    assert sr.catalogue in complaint
    assert sr.vdis() == {vdi}
    assert sr.pool.images() == {sr.image(vdi)}


def test_foreign_images_in_the_pool_are_neither_listed_nor_touched(sr: CephSr) -> None:
    rbd = sr.lab.ceph.rbd
    foreign = {"vm-100-disk-0", f"RBD-{sr.uuid}", f"smblock.{sr.uuid}.stray"}
    for image in foreign:
        rbd("create", "--size", "1G", f"{sr.pool.name}/{image}")
    vdi = sr.create_vdi("mine")
    sr.scan()
    assert sr.vdis() == {vdi}
    sr.destroy_vdi(vdi)
    sr.scan()
    wait_for(lambda: sr.pool.trash() == "", "the trash to be emptied")
    assert sr.pool.images() == foreign


def test_an_sr_of_an_unknown_uuid_cannot_be_plugged(rbd_pool: RbdPool) -> None:
    lab = rbd_pool.lab
    uuid = "00000000-1111-2222-3333-444444444444"
    lab.xe("sr-introduce", f"uuid={uuid}", "type=cephrbd", "shared=true", "name-label=guess", "content-type=user")
    pbd = lab.xe("pbd-create", f"sr-uuid={uuid}", f"host-uuid={lab.hosts[0].uuid}", *rbd_pool.device_config)
    complaint = lab.refused("pbd-plug", f"uuid={pbd}")
    assert "SR_BACKEND_FAILURE_47" in complaint
    assert f"pool {rbd_pool.name} holds no SR {uuid}" in complaint
    lab.xe("sr-forget", f"uuid={uuid}")


def test_a_disk_created_with_a_format_has_none(sr: CephSr) -> None:
    # Xen Orchestra asks for qcow2 above 2040 GiB, XAPI for raw for high availability.
    asked = ("image-format=qcow2", "image-format=vhd", "type=raw")
    disks = [Disk(sr, sr.create_vdi("large", "3TiB", f"sm-config:{key}")) for key in asked]
    every = [*disks, disks[0].snapshot(), disks[0].clone()]
    for _ in range(2):
        assert [row(each)["sm_config"] for each in every] == [{}] * 5
        assert {row(each)["virtual_size"] for each in every} == {str(3 << 40)}
        sr.scan()
    sr.lab.xe("vdi-resize", f"uuid={disks[0].uuid}", "disk-size=5TiB")
    assert row(disks[0])["sm_config"] == {}


def test_a_scan_leaves_the_format_of_exports_to_the_size_of_the_disk(sr: CephSr) -> None:
    # Xen Orchestra exports a disk as VHD if its sm_config names another format than qcow2.
    small, large = sr.create_vdi("small"), sr.create_vdi("large", "3TiB")
    with sr.lab.xapi.session() as session:
        refs = [session.VDI.get_by_uuid(vdi) for vdi in (small, large)]
        session.VDI.add_to_sm_config(refs[0], "image-format", "raw")
        sr.scan()
        assert [session.VDI.get_sm_config(ref) for ref in refs] == [{}, {}]
