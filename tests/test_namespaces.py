"""SRs in RADOS namespaces: several tenants in one pool, whose keys see nothing of each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from lab import LabError
from lab.cephrbd import CephRbdLab, CephSr, RbdPool, wait_for
from lab.copies import content, disk_of, disk_with, revert_vm, snapshot_vm, vm_with
from lab.copies import write as rewrite


@pytest.fixture(scope="module")
def places(shared_rbd_pool: RbdPool) -> list[RbdPool]:
    """Two namespaces of a pool, and the pool without a namespace."""
    return [shared_rbd_pool.tenant("a"), shared_rbd_pool.tenant("b"), shared_rbd_pool]


@pytest.fixture(scope="module")
def srs(places: list[RbdPool]) -> list[CephSr]:
    return [place.create_sr(f"sr-{place.namespace or 'plain'}") for place in places]


def probe(lab: CephRbdLab, *words: str) -> dict[str, str | None]:
    """The SRs that `xe sr-probe` finds, each with its namespace."""
    found = ElementTree.fromstring(lab.xe("sr-probe", "type=cephrbd", *words))
    return {sr.findtext("UUID", ""): sr.findtext("namespace") for sr in found}


def all_objects(pool: RbdPool) -> set[tuple[str, str]]:
    """The objects of a pool with their namespaces."""
    rows = (line.partition("\t") for line in pool.rados("ls", "--all").splitlines())
    return {(namespace, name) for namespace, _, name in rows}


def fill(disk: str, sr: CephSr) -> None:
    sr.lab.ceph.rbd("bench", "--io-type", "write", "--io-size", "64K", "--io-total", "1M", "--io-threads", "1",
                    f"{sr.pool.spec}/{sr.image(disk)}")  # fmt: skip


def test_srs_of_two_namespaces_and_of_none_are_used_side_by_side(srs: list[CephSr]) -> None:
    lab = srs[0].lab
    first, second = content(1), content(2)
    for sr in srs:
        disk = disk_with(sr, first)
        vm = vm_with(disk)
        snapshot, copy = snapshot_vm(vm, sr)
        clone = copy.clone()
        rewrite(disk, second)
        revert_vm(snapshot, sr)
        reverted = disk_of(vm, sr)
        assert (reverted.export(), clone.export()) == (first, first)
        lab.xe("vdi-resize", f"uuid={clone.uuid}", "disk-size=16MiB")
        lab.xe("vm-destroy", f"uuid={vm}")
    for sr in srs:
        assert sr.pool.images()
        assert all(image.startswith(f"smblock.{sr.uuid}.") for image in sr.pool.images())
    spaces = {namespace for namespace, name in all_objects(srs[2].pool) if name.startswith("rbd_data.")}
    assert spaces == {"", "a", "b"}
    for sr in srs:
        for vdi in sr.vdis():
            sr.destroy_vdi(vdi)

    def is_freed() -> bool:
        for sr in srs:
            sr.scan()
        return not any(name.startswith("rbd_data.") for _, name in all_objects(srs[2].pool))

    wait_for(is_freed, "the data to be freed", seconds=60)


@pytest.mark.needs_tasks
def test_ceph_mgr_frees_the_space_of_disks_in_a_namespace(srs: list[CephSr]) -> None:
    sr = srs[0]
    assert "mgr caps: ceph-mgr frees deleted disks" in sr.lab.admin("check", *sr.pool.device_config).stdout.decode()
    sr.destroy_vdi(sr.create_vdi())
    wait_for(lambda: not sr.pool.trash(), "the trash to be emptied")
    # ceph-mgr writes its tasks there.
    assert "rbd_task" in sr.pool.objects()


def test_the_key_of_a_namespace_sees_nothing_of_another_one(srs: list[CephSr]) -> None:
    a, b, plain = srs
    for sr in srs:
        fill(sr.create_vdi("secret"), sr)
    for other in (b, plain):
        (image,) = other.pool.images()
        for words in (["ls", other.pool.spec], ["trash", "ls", other.pool.spec], ["info", f"{other.pool.spec}/{image}"],
                      ["export", "--no-progress", f"{other.pool.spec}/{image}", "-"],
                      ["snap", "create", f"{other.pool.spec}/{image}@x"], ["rm", f"{other.pool.spec}/{image}"],
                      ["clone", f"{other.pool.spec}/{image}@x", f"{a.pool.spec}/y"]):  # fmt: skip
            keyring = ["--keyring", str(a.lab.ceph.directory / f"client.{a.pool.user}.keyring")]
            with pytest.raises(LabError, match="Operation not permitted|No such file"):
                a.lab.ceph.rbd(*keyring, *words, user=a.pool.user)
        assert other.pool.images() == {image}
        stranger = dataclasses.replace(other.pool, user=a.pool.user)
        refused = a.lab.refused("sr-probe", "type=cephrbd", *stranger.device_config)
        cap = f"profile rbd pool={other.pool.name}" + (f" namespace={other.pool.namespace}" if other is b else "")
        assert f"client.{a.pool.user} lacks the cap osd '{cap}'" in refused
        report = a.lab.admin("check", *stranger.device_config).stdout.decode()
        # The command keeps the caps for the other SRs of this user.
        assert f"namespace={a.pool.namespace}" in report
        assert cap in report
        assert "FAILED   osd caps" in report
    assert "device-config:namespace must name the namespace of its caps" in refused
    for sr in srs:
        for vdi in sr.vdis():
            sr.destroy_vdi(vdi)


def test_a_probe_finds_the_srs_that_the_user_may_see(srs: list[CephSr]) -> None:
    a, b, plain = srs
    lab = a.lab
    assert probe(lab, *a.pool.device_config) == {a.uuid: "a"}
    assert probe(lab, *b.pool.device_config) == {b.uuid: "b"}
    # The user of the whole pool may read its namespaces.
    assert probe(lab, *plain.pool.device_config) == {a.uuid: "a", b.uuid: "b", plain.uuid: None}
    pools = lab.xe("sr-probe", "type=cephrbd", f"device-config:ceph_user={a.pool.user}", "device-config:namespace=a")
    entries = ElementTree.fromstring(pools).iter("Pool")
    usable = [pool.findtext("name") for pool in entries if pool.find("refused") is None]
    assert usable == [a.pool.name]


def test_a_namespace_that_does_not_exist_is_refused_with_its_command(rbd_pool: RbdPool) -> None:
    lab, spec = rbd_pool.lab, f"{rbd_pool.name}/later"
    place = dataclasses.replace(rbd_pool, namespace="later")
    command = ["namespace", "create", spec]
    before = all_objects(rbd_pool)
    words = ["sr-create", "type=cephrbd", "shared=true", "name-label=x", *place.device_config]
    refused = lab.refused(*words)
    assert f"pool {rbd_pool.name} has no namespace later" in refused
    assert f"rbd {' '.join(command)}. Nothing was changed" in refused
    report = lab.admin("check", *place.device_config).stdout.decode()
    assert f"FAILED   pool: {rbd_pool.name} has no namespace later" in report
    assert all_objects(rbd_pool) == before
    lab.ceph.rbd(*command)
    sr = place.create_sr()
    lab.ceph.rbd("namespace", "remove", spec)
    refused = lab.refused("vdi-create", f"sr-uuid={sr.uuid}", "name-label=x", "virtual-size=1GiB")
    assert f"rbd {' '.join(command)}" in refused
    sr.unplug()
    (pbd, *_) = lab.list("pbd", f"sr-uuid={sr.uuid}")
    assert "SMB-C172" in lab.refused("pbd-plug", f"uuid={pbd}")
    lab.ceph.rbd(*command)
    sr.plug()
    sr.create_vdi()
    assert len(place.images()) == 1


def test_an_sr_in_a_namespace_is_forgotten_introduced_and_examined(places: list[RbdPool]) -> None:
    a, _, plain = places
    sr = a.create_sr("moves")
    disk = sr.create_vdi("kept")
    lab = sr.lab
    assert f"pool {a.spec} of cluster" in lab.admin("sr", "show", sr.uuid).stdout.decode()
    doctor = lab.admin("doctor", sr.uuid).stdout.decode()
    assert "FAILED" not in doctor, doctor
    sr.forget()
    assert sr.uuid in probe(lab, *a.device_config)
    # Without the namespace there is no such SR.
    lab.xe("sr-introduce", f"uuid={sr.uuid}", "type=cephrbd", "shared=true", "name-label=x", "content-type=user")
    pbd = lab.xe("pbd-create", f"sr-uuid={sr.uuid}", f"host-uuid={lab.hosts[0].uuid}", *plain.device_config)
    refused = lab.refused("pbd-plug", f"uuid={pbd}")
    assert f"pool {plain.name} holds no SR {sr.uuid}" in refused
    assert "Check device-config:pool and :namespace" in refused
    lab.xe("sr-forget", f"uuid={sr.uuid}")
    again = a.introduce_sr(sr.uuid)
    assert again.vdis() == {disk}
    again.destroy_vdi(disk)
    again.destroy()
    assert sr.catalogue not in a.objects()


def test_texts_about_an_image_in_a_namespace_have_commands_that_work(places: list[RbdPool]) -> None:
    a = places[0]
    sr = a.create_sr("by-hand")
    disk = sr.create_vdi()
    ident = a.image_info(sr.image(disk))["id"]
    sr.lab.ceph.rbd("trash", "mv", f"{a.spec}/{sr.image(disk)}")
    doctor = sr.lab.admin("doctor", sr.uuid).stdout.decode()
    command = f"rbd trash restore --pool {a.name} --namespace a {ident}"
    assert command in doctor
    sr.lab.ceph.rbd(*command.split()[1:])
    assert "FAILED" not in sr.lab.admin("doctor", sr.uuid).stdout.decode()
    sr.destroy_vdi(disk)
    sr.destroy()


def test_an_adoption_into_a_namespace_is_refused(places: list[RbdPool]) -> None:
    sr = places[0].create_sr("not-adopted")
    done = sr.lab.admin("adopt", sr.uuid)
    assert done.returncode != 0
    assert b"SMB-C173" in done.stdout + done.stderr
    sr.destroy()


def test_the_data_pool_of_a_namespace_is_used_in_the_same_namespace(
    places: list[RbdPool], new_rbd_pool: Callable[[], RbdPool]
) -> None:
    a, data = places[0], new_rbd_pool()
    lab = a.lab
    profiles = ", ".join(f"profile rbd pool={name} namespace=a" for name in sorted([a.name, data.name]))
    words = [*a.device_config, f"device-config:data_pool={data.name}"]
    assert profiles in lab.admin("check", *words).stdout.decode()
    both = lab.user(f"{a.user}-data", mon="profile rbd", osd=profiles, mgr=profiles)
    sr = dataclasses.replace(a, user=both).create_sr("data", f"device-config:data_pool={data.name}")
    disk = sr.create_vdi()
    fill(disk, sr)
    names = {(space, name.partition(".")[0]) for space, name in all_objects(data)} - {("", "rbd_info")}
    assert names == {("a", "rbd_data")}
    sr.destroy_vdi(disk)
    sr.destroy()
    data.delete()
