"""The trash: smblock frees only images that it moved there itself, and no image that a VDI still has."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from lab.cephrbd import CephSr, wait_for

# Without `rbd task`, a reclaim worker frees the space: other calls, another timing.
pytestmark = pytest.mark.needs_tasks

# In this time ceph-mgr, or a reclaim worker, would purge the image.
QUIET_SECONDS = 10.0


def move_by_hand(sr: CephSr, vdi: str) -> str:
    """Move a disk's image to the trash with `rbd`. Returns the image's id."""
    ident = str(sr.pool.image_info(sr.image(vdi))["id"])
    sr.lab.ceph.rbd("trash", "mv", f"{sr.pool.name}/{sr.image(vdi)}")
    return ident


def stays(sr: CephSr, ident: str, act: Callable[[], object]) -> None:
    """Repeat an action; the image must stay in the trash meanwhile."""
    end = time.monotonic() + QUIET_SECONDS
    while time.monotonic() < end:
        act()
        assert ident in sr.pool.trash()
        time.sleep(1)


def reclaim(sr: CephSr, *words: str) -> list[str]:
    """Run `smblock reclaim`. Returns the lines that it prints."""
    return sr.lab.admin("reclaim", "--sr", sr.uuid, *words, *sr.pool.device_config).check().decode().splitlines()


def test_scans_keep_a_disk_in_the_trash_until_it_is_restored(sr: CephSr) -> None:
    vdi = sr.create_vdi("thrown away", "64MiB")
    ident = move_by_hand(sr, vdi)
    stays(sr, ident, sr.scan)
    reclaim(sr)
    assert sr.vdis() == {vdi}
    (line,) = reclaim(sr, "--list")
    restore = f"rbd trash restore --pool {sr.pool.name} {ident}"
    assert line == (
        f"waits    {sr.image(vdi)}: moved to the trash outside smblock; left alone; "
        f"the key vdi.{vdi} of the catalogue names it: '{restore}' brings it back"
    )
    sr.lab.ceph.rbd(*restore.split()[1:])
    sr.scan()
    assert sr.vdis() == {vdi}
    assert reclaim(sr, "--list") == ["nothing pending"]


def test_a_deleted_disk_is_freed_beside_one_moved_to_the_trash_by_hand(sr: CephSr) -> None:
    kept, deleted = sr.create_vdi("kept"), sr.create_vdi("deleted")
    ident = move_by_hand(sr, kept)
    sr.destroy_vdi(deleted)
    wait_for(lambda: sr.image(deleted) not in sr.pool.trash(), "the deleted disk to be freed")
    stays(sr, ident, sr.scan)
    assert sr.vdis() == {kept}


def test_an_image_that_no_vdi_has_stays_in_the_trash_and_is_listed(sr: CephSr) -> None:
    stray = f"smblock.{sr.uuid}.stray"
    sr.lab.ceph.rbd("create", "--size", "16M", f"{sr.pool.name}/{stray}")
    ident = str(sr.pool.image_info(stray)["id"])
    sr.lab.ceph.rbd("trash", "mv", f"{sr.pool.name}/{stray}")
    stays(sr, ident, lambda: reclaim(sr))
    (line,) = reclaim(sr, "--list")
    remove = f"rbd trash rm --pool {sr.pool.name} {ident}"
    assert line == (
        f"waits    {stray}: moved to the trash outside smblock; left alone; "
        f"'rbd trash restore --pool {sr.pool.name} {ident}' brings it back, '{remove}' removes it with its data"
    )
    sr.unplug()
    refused = sr.lab.refused("sr-destroy", f"uuid={sr.uuid}")
    assert "not empty" in refused
    assert remove in refused
    sr.lab.ceph.rbd(*remove.split()[1:])
    sr.lab.xe("sr-destroy", f"uuid={sr.uuid}")


def test_a_renamed_image_is_freed_when_its_disk_is_destroyed(sr: CephSr) -> None:
    vdi = sr.create_vdi()
    sr.lab.ceph.rbd("rename", f"{sr.pool.name}/{sr.image(vdi)}", f"{sr.pool.name}/vm-db")
    sr.lab.ceph.stop_mgr()
    try:
        sr.destroy_vdi(vdi)
        wait_for(lambda: sr.pool.trash() == "", "the worker to free the renamed image")
    finally:
        sr.lab.ceph.start_mgr()
    sr.lab.ceph.wait_pool_stats(sr.pool.name)
    sr.scan()
    assert sr.catalogue_keys() == {"sr"}
    assert reclaim(sr, "--list") == ["nothing pending"]
