"""Backups of a disk that runs, by changed blocks: on hosts with a real kernel, read from the plugged snapshot."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import pytest

from lab import wait_for
from lab.backup import Backup
from lab.cephrbd import RbdPool
from lab.disk import MIB, Disk, read, write
from lab.dom0 import Dom0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_running_disk_is_backed_up_from_its_plugged_snapshots(guests_rbd_pool: RbdPool, one: Dom0, two: Dom0) -> None:
    """Xen Orchestra's loop, with a VM that writes on one host, and the snapshot plugged on the other."""
    sr = guests_rbd_pool.create_sr("changed blocks")
    disk = Disk.create(sr, 16 * MIB)
    backup = Backup()
    plugged = ExitStack()

    def plug(snapshot: Disk) -> Callable[[int, int], bytes]:
        device = plugged.enter_context(snapshot.plugged(two, "RO"))
        return lambda offset, length: read(two, device, length, offset)

    with disk.plugged(one) as device:
        for night, (start, expected) in enumerate([(0, 16), (9, 2), (15, 4)]):
            write(one, device, bytes([night + 1]) * MIB, start * MIB)
            # A new object counts from its beginning: the last write is at the end of one.
            done = backup.run(disk, plug, plugged.close)
            assert (done.read, done.is_full) == (expected * MIB, night == 0)
    assert backup.base is not None
    backup.base.destroy()
    disk.destroy()

    def is_empty() -> bool:
        sr.scan()
        return sr.catalogue_keys() == {"sr"}

    wait_for(is_empty, "the space of all disks to be freed", seconds=120)
