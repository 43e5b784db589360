"""Changes made to an image by hand stop an operation: the error names them, without a long wait."""

from __future__ import annotations

import json
import re
import shlex
import time

from lab import run, wait_for
from lab.cephrbd import CephSr
from lab.commands import commands_in

# The limit in docs/user/operations.md for a command.
DEADLINE_SECONDS = 30.0


def lock(sr: CephSr, vdi: str) -> tuple[str, str]:
    """Lock a disk's image with `rbd lock add`. Returns its pool and name, and the command that removes the lock."""
    spec = f"{sr.pool.name}/{sr.image(vdi)}"
    sr.lab.ceph.rbd("lock", "add", spec, "mylock")
    (held,) = json.loads(sr.lab.ceph.rbd("lock", "ls", "--format", "json", spec))
    return spec, f"rbd lock rm {spec} mylock {held['locker']}"


def unlock(sr: CephSr, remedy: str) -> None:
    sr.lab.ceph.rbd(*remedy.replace("'", "").split()[1:])


def test_a_disk_locked_by_hand_is_refused_by_name_and_delays_no_other(sr: CephSr) -> None:
    vdi = sr.create_vdi("locked", "64MiB")
    _, remedy = lock(sr, vdi)
    start = time.monotonic()
    changes = (
        ("vdi-destroy", f"uuid={vdi}"),
        ("vdi-snapshot", f"uuid={vdi}"),
        ("vdi-clone", f"uuid={vdi}"),
        ("vdi-resize", f"uuid={vdi}", "disk-size=128MiB"),
    )
    for words in changes:
        refused = sr.lab.refused(*words)
        assert remedy in refused, words
        assert "SR is not available" not in refused, words
    other = sr.create_vdi("other")
    sr.scan()
    assert sr.vdis() == {vdi, other}
    sr.destroy_vdi(other)
    assert time.monotonic() - start < DEADLINE_SECONDS

    unlock(sr, remedy)
    sr.lab.xe("vdi-resize", f"uuid={vdi}", "disk-size=128MiB")
    sr.destroy_vdi(vdi)
    sr.scan()
    assert sr.vdis() == set()


def test_a_lock_on_an_image_in_the_trash_is_removed_by_the_printed_command(sr: CephSr) -> None:
    vdi = sr.create_vdi("locked", "64MiB")
    spec = f"{sr.pool.name}/{sr.image(vdi)}"
    ident = str(sr.pool.image_info(sr.image(vdi))["id"])
    sr.lab.ceph.rbd("trash", "mv", spec)
    sr.pool.rados("lock", "get", f"rbd_header.{ident}", "rbd_lock", "--lock-cookie", "my lock")
    refused = sr.lab.refused("vdi-destroy", f"uuid={vdi}")
    (command,) = (c for c in commands_in(refused) if " lock " in c)
    program, *words = shlex.split(command)
    run([program, "--conf", sr.lab.ceph.conf, *words], timeout=30)
    sr.destroy_vdi(vdi)
    wait_for(lambda: ident not in sr.pool.trash(), "the image to be freed")


def test_a_lock_of_any_name_is_removed_by_the_printed_command(sr: CephSr) -> None:
    vdi = sr.create_vdi("locked", "64MiB")
    for name in ("it's", "-dash", "ctl\x01x"):
        sr.lab.ceph.rbd("lock", "add", "--", f"{sr.pool.name}/{sr.image(vdi)}", name)
        refused = sr.lab.refused("vdi-resize", f"uuid={vdi}", "disk-size=128MiB")
        _, _, rest = refused.partition("remove it: rbd ")
        command = f"rbd --conf {sr.lab.ceph.conf} {rest.rpartition(')]')[0]}"
        run(["bash", "-c", command], timeout=30)
    sr.lab.xe("vdi-resize", f"uuid={vdi}", "disk-size=128MiB")


def test_disks_stay_when_the_pool_loses_its_directory(sr: CephSr) -> None:
    disks = {sr.create_vdi("one", "64MiB"), sr.create_vdi("two", "64MiB")}
    sr.pool.rados("setomapval", sr.catalogue, "stray", "no record")
    sr.pool.rados("rm", "rbd_directory")
    sr.scan()
    assert sr.vdis() == disks
    for vdi in disks:
        refused = sr.lab.refused("vdi-snapshot", f"uuid={vdi}")
        commands = re.findall(r"(printf '.*?' \| rados) (-p \S+ setomapval rbd_directory \S+?)(?=;|\]|$)", refused)
        for printf, words in commands:
            run(["bash", "-c", f"{printf} --conf {sr.lab.ceph.conf} {words}"], timeout=30)
        sr.lab.xe("vdi-snapshot", f"uuid={vdi}")
    assert sr.pool.images() == {sr.image(vdi) for vdi in disks}


def test_the_error_at_the_limit_of_snapshots_is_not_a_lack_of_space(sr: CephSr) -> None:
    vdi = sr.create_vdi()
    spec = f"{sr.pool.name}/{sr.image(vdi)}"
    sr.lab.ceph.rbd("snap", "limit", "set", spec, "--limit", "1")
    sr.lab.xe("vdi-snapshot", f"uuid={vdi}")
    refused = sr.lab.refused("vdi-snapshot", f"uuid={vdi}")
    assert f"rbd snap limit clear {spec}" in refused
    assert "insufficient space" not in refused


def test_a_demoted_disk_is_refused_with_the_command_that_promotes_it(sr: CephSr) -> None:
    vdi = sr.create_vdi()
    spec = f"{sr.pool.name}/{sr.image(vdi)}"
    sr.lab.ceph.rbd("mirror", "pool", "enable", sr.pool.name, "image")
    sr.lab.ceph.rbd("mirror", "image", "enable", spec, "snapshot")
    sr.lab.ceph.rbd("mirror", "image", "demote", spec)
    refused = sr.lab.refused("vdi-resize", f"uuid={vdi}", "disk-size=2GiB")
    assert f"rbd mirror image promote {spec}" in refused
    assert "SR is not available" not in refused
    sr.lab.ceph.rbd("mirror", "image", "promote", spec)
    sr.lab.xe("vdi-resize", f"uuid={vdi}", "disk-size=2GiB")
    sr.lab.ceph.rbd("mirror", "image", "disable", spec)
    sr.lab.ceph.rbd("mirror", "pool", "disable", sr.pool.name)


def test_a_data_pool_that_the_cluster_defaults_to_gets_no_disk(sr: CephSr) -> None:
    ceph, user = sr.lab.ceph, "client"
    ceph.create_pool("elsewhere")
    ceph.admin("config", "set", user, "rbd_default_data_pool", "elsewhere")
    try:
        vdi = sr.create_vdi()
        checked = sr.lab.admin("check", *sr.pool.device_config).stdout.decode()
    finally:
        ceph.admin("config", "rm", user, "rbd_default_data_pool")
        ceph.admin("osd", "pool", "delete", "elsewhere", "elsewhere", "--yes-i-really-really-mean-it")
    assert "data_pool" not in sr.pool.image_info(sr.image(vdi))
    assert "rbd_default_data_pool=elsewhere" in checked
