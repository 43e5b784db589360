"""`smblock adopt` on a real cluster: a pool of the shape that the driver CephRBDSR leaves, taken over and given back.

`rbd` makes the shape: the disks are made by smblock, and get the names, the protected snapshots and the features of
that driver.  XAPI's records of the SR, its VDIs, VMs and snapshots of VMs are as a pool with that driver has them.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from lab import wait_for
from lab.cephrbd import CephSr, RbdPool
from lab.dom0 import Completed
from lab.sm_source import PLUGIN_DIR

PLUGIN = f"{PLUGIN_DIR}/smblock"


@dataclass
class OlderSr:
    """An SR of CephRBDSR, unplugged, with a disk of a VM, a snapshot of that VM and a clone of the snapshot."""

    sr: CephSr
    prefix: str
    vm: str
    disk: str
    snapshot: str
    clone: str

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sr, name)

    @property
    def image(self) -> str:
        """The disk's image in CephRBDSR, with its pool."""
        return f"{self.pool.name}/{self.prefix}vdi-{self.disk}"

    @property
    def words(self) -> list[str]:
        return ["adopt", "--json", self.uuid, "--prefix", self.prefix]

    def adopt(self, *words: str) -> dict[str, Any]:
        """`smblock adopt WORDS`, which must not be refused."""
        return dict(json.loads(self.lab.admin(*self.words, *words).check()))

    def refused(self, *words: str) -> str:
        """Why `smblock adopt WORDS` is refused."""
        done: Completed = self.lab.admin(*self.words, *words)
        assert done.returncode == 1, done
        report = json.loads(done.stdout)
        assert not report["done"]
        return json.dumps(report["refused"])

    def run_printed(self, report: dict[str, Any]) -> None:
        """Run the commands that the report names as the next ones."""
        for command in report["next"]:
            outer, _, inner = command.rstrip(")").partition("$(")
            words = shlex.split(outer)
            assert words.pop(0) == "xe"
            if inner:
                words[-1] += self.lab.xe(*shlex.split(inner)[1:])
            self.lab.xe(*words)

    def shape(self) -> dict[str, Any]:
        """What CephRBDSR reads: `rbd ls -l`."""
        listed = json.loads(self.lab.ceph.rbd("ls", "-l", "--format", "json", self.pool.name))
        entries = {(entry["image"], entry.get("snapshot")): entry for entry in listed}
        return {str(key): (entry["size"], entry.get("protected"), entry["id"]) for key, entry in entries.items()}

    @contextmanager
    def opened(self, image: str) -> Iterator[None]:
        """Inside the `with` block a client has the image open for writing: it waits for its input."""
        ceph = self.lab.ceph
        argv = ["rbd", "--conf", str(ceph.conf), "import-diff", "--no-progress", "-", image]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL):
            wait_for(lambda: "watcher=" in ceph.rbd("status", "--format", "plain", image), "a watcher")
            yield

    def id_objects(self) -> set[str]:
        """The objects by which clients find an image from its name."""
        return {name for name in self.pool.objects() if name.startswith("rbd_id.")}


@pytest.fixture(scope="module")
def older(shared_rbd_pool: RbdPool) -> OlderSr:
    """One SR for all tests: each gives back what it has taken over."""
    return make_older(shared_rbd_pool, "lab-")


def make_older(pool: RbdPool, prefix: str) -> OlderSr:
    lab, rbd = pool.lab, pool.lab.ceph.rbd
    sr = pool.create_sr("old", "name-description=the old one", "device-config:image_features=layering")
    disk = sr.create_vdi("root disk")
    vm = lab.xe("vm-create", "name-label=vm")
    lab.xe("vbd-create", f"vm-uuid={vm}", f"vdi-uuid={disk}", "device=0")
    lab.xe("vm-snapshot", f"uuid={vm}", "new-name-label=kept")
    (snapshot,) = lab.list("vdi", f"sr-uuid={sr.uuid}", "is-a-snapshot=true")
    lab.xe("vdi-param-set", f"uuid={snapshot}", "name-label=root disk (snapshot)")
    clone = lab.xe("vdi-clone", f"uuid={snapshot}", "new-name-label=cloned")
    sr.unplug()
    image, cloned = (f"{pool.name}/{prefix}vdi-{vdi}" for vdi in (disk, clone))
    rbd("rm", f"{pool.name}/{sr.image(clone)}")
    rbd("image-meta", "remove", f"{pool.name}/{sr.image(disk)}", "smblock")
    rbd("rename", f"{pool.name}/{sr.image(disk)}", image)
    rbd("snap", "rename", f"{image}@{snapshot}", f"{image}@{prefix}snap-{snapshot}")
    rbd("snap", "protect", f"{image}@{prefix}snap-{snapshot}")
    rbd("clone", "--rbd-default-clone-format", "1", f"{image}@{prefix}snap-{snapshot}", cloned)
    pool.rados("rm", sr.catalogue)
    pool.rados("rm", "smblock.directory")
    for pbd in lab.list("pbd", f"sr-uuid={sr.uuid}"):
        lab.xe("pbd-destroy", f"uuid={pbd}")
    for host in lab.hosts:
        words = [f"device-config:prefix={prefix}"] if prefix else []
        lab.xe("pbd-create", f"sr-uuid={sr.uuid}", f"host-uuid={host.uuid}", *pool.device_config, *words)
    return OlderSr(sr, prefix, vm, disk, snapshot, clone)


def test_an_sr_is_taken_over_in_place_and_given_back(older: OlderSr) -> None:
    lab, before, records = older.lab, older.shape(), older.vdis()
    fields = {vdi: lab.get("vdi", "name-label", vdi) for vdi in records}
    planned = older.adopt()
    assert planned == json.loads(lab.admin("adopt", "--json", older.uuid).check())  # the PBD has the prefix
    assert (older.shape(), planned["done"]) == (before, False)
    assert [disk["name"] for disk in planned["disks"]] == [fields[disk["uuid"]] for disk in planned["disks"]]
    done = older.adopt("--yes")
    assert done["done"] and done["disks"] == planned["disks"]
    older.run_printed(done)
    assert older.vdis() == records
    assert {vdi: lab.get("vdi", "name-label", vdi) for vdi in records} == fields
    (vbd,) = lab.list("vbd", f"vm-uuid={older.vm}")
    assert lab.get("vbd", "vdi-uuid", vbd) == older.disk
    assert older.pool.images() == {older.sr.image(older.disk), older.sr.image(older.clone)}
    assert older.id_objects() == {f"rbd_id.{image}" for image in older.pool.images()}
    lab.xe("vdi-destroy", f"uuid={lab.xe('vdi-snapshot', f'uuid={older.clone}')}")
    older.unplug()
    assert older.adopt("--undo")["done"] is False
    undone = older.adopt("--undo", "--yes")
    assert undone["done"] and any(f"device-config:prefix={older.prefix}" in command for command in undone["next"])
    assert older.shape() == before
    assert older.id_objects() == {f"rbd_id.{older.prefix}vdi-{vdi}" for vdi in (older.disk, older.clone)}
    assert older.pool.rados("ls").find(older.catalogue) < 0
    assert lab.ceph.rbd("image-meta", "list", older.image).find("smblock") < 0


def test_a_plugged_sr_an_open_image_and_an_older_host_are_refused(older: OlderSr) -> None:
    assert older.adopt("--yes")["done"]
    older.plug()
    assert "it is plugged on: one, two" in older.refused("--undo", "--yes")
    older.unplug()
    assert older.adopt("--undo", "--yes")["done"]
    before = older.shape()
    with older.opened(older.image):
        assert "has it open" in older.refused("--yes")
    older.lab.hosts[1].exec(["mv", PLUGIN, f"{PLUGIN}.off"]).check()
    assert "host(s) two" in older.refused("--yes")
    older.lab.hosts[1].exec(["mv", f"{PLUGIN}.off", PLUGIN]).check()
    assert older.shape() == before
    done = older.lab.admin("adopt", older.uuid, "--prefix", older.prefix)
    assert (done.returncode, b"nothing was changed; to do it, add --yes" in done.stdout) == (0, True), done


@pytest.mark.parametrize("moment", ["before the directory", "after the directory"])
def test_a_rename_that_was_killed_inside_is_completed_either_way(older: OlderSr, moment: str) -> None:
    """librbd makes the object of the new name, changes the directory, and removes the object of the old name."""
    old, new = f"rbd_id.{older.prefix}vdi-{older.disk}", f"rbd_id.{older.sr.image(older.disk)}"
    content = older.pool.rados("get", old, "-").encode()
    if moment == "after the directory":
        assert older.adopt("--yes")["done"]
        older.pool.rados("rm", older.catalogue)
    older.pool.rados("put", new if moment == "before the directory" else old, "-", input=content)
    assert older.adopt("--yes")["done"]
    assert older.id_objects() == {f"rbd_id.{image}" for image in older.pool.images()}
    older.pool.rados("put", old, "-", input=content)
    assert older.adopt("--undo", "--yes")["done"]
    assert new not in older.id_objects() and old in older.id_objects()


def test_a_vdi_in_another_sr_of_xapi_names_that_sr(older: OlderSr) -> None:
    other = older.pool.create_sr("new", "device-config:image_features=layering")
    done = older.lab.admin("adopt", "--json", other.uuid, "--prefix", older.prefix, "--yes")
    assert done.returncode == 1
    assert f"smblock adopt {older.uuid}" in done.stdout.decode()
    other.forget()


def test_an_sr_that_is_not_adopted_yet_names_the_command(rbd_pool: RbdPool) -> None:
    sr = str(uuid.uuid4())
    lab = rbd_pool.lab
    lab.xe("sr-introduce", f"uuid={sr}", "type=cephrbd", "shared=true", "name-label=old", "content-type=user")
    pbd = lab.xe("pbd-create", f"sr-uuid={sr}", f"host-uuid={lab.hosts[0].uuid}", *rbd_pool.device_config)
    assert f"'smblock adopt {sr}'" in lab.refused("pbd-plug", f"uuid={pbd}")


def test_an_adopted_snapshot_is_destroyed_after_its_clone_is_flattened(older: OlderSr) -> None:
    lab = older.lab
    assert older.adopt("--yes")["done"]
    older.plug()
    refused = lab.refused("vdi-destroy", f"uuid={older.snapshot}")
    assert "clones of format 1 depend on it" in refused and "EBUSY" in refused
    lab.ceph.rbd("flatten", "--no-progress", f"{older.pool.name}/{older.sr.image(older.clone)}")
    older.destroy_vdi(older.snapshot)
    assert lab.refused("vdi-resize", f"uuid={older.disk}", "disk-size=1MiB")
    older.unplug()
    assert older.adopt("--undo", "--yes")["done"]  # what was destroyed is not missed
