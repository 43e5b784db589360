"""The commands of docs/user/migration.md, as they are typed, in a pool whose hosts have kernels.

The lab has no SR of LVM or NFS: a second SR of smblock is what the disk is copied from.
"""

from __future__ import annotations

import json
import re
import shlex

import pytest

from lab.cephrbd import CephRbdLab, RbdPool
from lab.disk import Disk
from lab.dom0 import Dom0
from lab.vdi import MIB, write
from lab.wheel import REPOSITORY
from tests.test_adopt import make_older

PAGE = REPOSITORY / "docs/user/migration.md"
# Commands about a host's files, which tests/test_install_host.py runs.
ON_FILES = {"./install.sh --replace-driver --restart", "./install.sh --uninstall"}


def blocks(heading: str) -> list[list[str]]:
    """The commands of each block of a section."""
    text = PAGE.read_text()
    start = text.index(f"\n{heading}\n") + len(heading) + 2
    section = re.split(r"\n#{1,3} ", text[start:])[0]
    return [block.split("\n") for block in re.findall(r"```\n(.*?)\n```", section, re.DOTALL)]


def run(lab: CephRbdLab, command: str, values: dict[str, str]) -> str:
    """Run a command of the page, with values for its placeholders."""
    program, *words = [re.sub(r"\b[A-Z]{2,}\b", lambda m: values[m[0]], word) for word in shlex.split(command)]
    return lab.xe(*words) if program == "xe" else lab.admin(*words).check().decode()


def test_every_command_of_the_page_about_an_adoption_is_run(shared_rbd_pool: RbdPool) -> None:
    older = make_older(shared_rbd_pool, "")
    lab, shape = older.lab, older.shape()
    pbds = lab.list("pbd", f"sr-uuid={older.uuid}")
    commands = [c for heading in ("### Adopt", "### Undo") for block in blocks(heading) for c in block]
    assert len(commands) == 12
    for command in commands:
        is_plugged = lab.get("pbd", "currently-attached", pbds[0]) == "true"
        needs_no_run = command in ON_FILES or "vm-shutdown" in command or ("unplug" in command and not is_plugged)
        for pbd in () if needs_no_run else pbds if "PBD" in command else pbds[:1]:
            run(lab, command, {"SR": older.uuid, "PBD": pbd})
        if command == "smblock adopt SR --yes":
            assert older.pool.images() == {older.sr.image(older.disk), older.sr.image(older.clone)}
    assert older.shape() == shape


@pytest.mark.slow
def test_a_disk_is_copied_to_another_sr_and_given_to_its_vm(guests_rbd_pool: RbdPool, one: Dom0) -> None:
    lab = guests_rbd_pool.lab
    old, new = (guests_rbd_pool.create_sr(name) for name in ("old", "new"))
    disk = Disk.create(old)
    lab.xe("vdi-param-set", f"uuid={disk.uuid}", "name-label=root disk")
    vm, vbd = disk.start_vm(one)
    write(one, disk.device(one, vbd), bytes(range(256)) * (MIB // 256), offset=3 * MIB)
    values = {"VM": vm, "VBD": vbd, "VDI": disk.uuid, "SR": new.uuid}
    (commands,) = blocks("## From LVM, NFS, CephFS and others, by a copy")
    for command in commands:
        on_host = f" on={one.name}" if "vm-start" in command else ""  # the master has no kernel
        printed = run(lab, command + on_host, values)
        if "vdi-copy" in command:
            values["COPY"] = printed
    lab.xe("vm-shutdown", f"uuid={vm}")
    copy = Disk(new, values["COPY"])
    for name in ("name-label", "virtual-size"):
        assert lab.get("vdi", name, copy.uuid) == lab.get("vdi", name, disk.uuid)
    content, copied = (lab.ceph.rbd("export", "--no-progress", made.image, "-") for made in (disk, copy))
    assert content == copied and len(set(content)) > 100
    used = json.loads(lab.ceph.rbd("du", "--format", "json", copy.image))
    assert used["images"][0]["used_size"] == 4 * MIB  # one object: blocks of zeros are not written
    lab.xe("vm-destroy", f"uuid={vm}")
    for made in (disk, copy):
        made.destroy()


def test_a_copy_that_fails_leaves_no_disk(shared_rbd_pool: RbdPool) -> None:
    """The lab's `vdi-copy`, on hosts without a kernel."""
    sr = shared_rbd_pool.create_sr("without a kernel")
    disk = sr.create_vdi()
    assert "modprobe" in sr.lab.refused("vdi-copy", f"uuid={disk}", f"sr-uuid={sr.uuid}")
    assert sr.vdis() == {disk}
    assert not sr.lab.list("vbd", f"vdi-uuid={disk}")
