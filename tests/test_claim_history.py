"""A random history of two hosts with kernels of their own: no disk ever has two writers, no data is lost.

The hosts activate two disks, are killed while they do, freeze, lose their networks, are declared dead, boot, and
set their clocks by days; the disks are snapshotted and reverted. Each writer reads its disk when it gets
it and as long as it has it; `tests/history` records and judges what it reads.

SMBLOCK_HISTORY_SEED repeats a history, SMBLOCK_HISTORY_STEPS sets its length.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.cephrbd import CephRbdLab, RbdPool
from lab.disk import Disk
from lab.dom0 import Dom0, GuestDom0
from tests.history.plan import plan
from tests.history.pool import history_pool

STEPS = 200


@pytest.fixture
def disks(guests: CephRbdLab, guests_rbd_pool: RbdPool, serves_phy: bool) -> Iterator[list[Disk]]:
    """Two disks, of SRs with different protection besides the driver.

    The first one is connected by blkback if SM can, so SM's tags refuse no host. It has no exclusive lock, so no
    kernel breaks the lock of another host and blocklists that host. The second one is the usual disk.
    """
    first = [f"device-config:datapath={'phy' if serves_phy else 'aio'}", "device-config:image_features=layering"]
    settings = guests.xapi.pool.settings
    settings.revert = True
    guests.xapi.pool.load_drivers(guests.xapi.pool.master)
    yield [
        Disk.create(guests_rbd_pool.create_sr(f"history-{number}", *words)) for number, words in enumerate((first, []))
    ]
    settings.revert = False
    guests.xapi.pool.load_drivers(guests.xapi.pool.master)


@pytest.mark.slow
@pytest.mark.timeout(3 * 60 * 60)
def test_a_disk_never_has_two_writers_on_real_kernels(
    guests: CephRbdLab, one: Dom0, two: Dom0, disks: list[Disk], tmp_path: Path
) -> None:
    assert isinstance(one, GuestDom0)
    assert isinstance(two, GuestDom0)
    seed = int(os.environ.get("SMBLOCK_HISTORY_SEED") or random.SystemRandom().randrange(1 << 32))
    steps = int(os.environ.get("SMBLOCK_HISTORY_STEPS") or STEPS)
    log = tmp_path / "history"
    print(f"SMBLOCK_HISTORY_SEED={seed} SMBLOCK_HISTORY_STEPS={steps}; the history is in {log}")
    with history_pool(guests, [one, two], disks, log) as pool:
        pool.run(plan(seed, steps))
