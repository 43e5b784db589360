"""A week of incremental backups, with their sizes: the table of docs/user/backup.md.

    python -m bench.nights

Runs `lab.backup` on a disk in a cluster of its own, and writes the table into the page, between its marks.
"""

from __future__ import annotations

import random
import re
import struct
import sys
import tempfile
from pathlib import Path

from bench.commands import install
from bench.goals import Table, markdown
from lab import LabError, run
from lab.backup import Backup, Night
from lab.ceph import OneNodeCeph
from lab.cephrbd import CephRbdLab, RbdPool
from lab.copies import vm_with
from lab.disk import Disk
from lab.dom0 import LocalDom0
from lab.nbd import unplugged
from lab.tree import stage_sm
from lab.vdi import MIB
from lab.wheel import REPOSITORY
from lab.xapi import Settings

PAGE = REPOSITORY / "docs" / "user" / "backup.md"
SIZE = 1024 * MIB
_MARKS = re.compile("(<!-- nights -->\n).*(\n<!-- /nights -->)", re.DOTALL)


def write(disk: Disk, extents: dict[int, bytes]) -> None:
    """Write data at offsets, as the disk's VM would."""
    parts = (b"w" + struct.pack("<QQ", offset, len(data)) + data for offset, data in sorted(extents.items()))
    image = f"{disk.sr.pool.name}/{disk.record()['volume']['image']['name']}"
    argv = ["rbd", "--conf", str(disk.sr.lab.ceph.conf), "import-diff", "--no-progress", "-", image]
    run(argv, timeout=120, input=b"rbd diff v1\n" + b"".join(parts) + b"e")


def week(disk: Disk, revert_to: str) -> list[tuple[str, Night]]:
    """What happened before each night, and the night."""
    rng, backup, nights = random.Random(1), Backup(vm_with(disk), unplugged), []

    def night(before: str) -> None:
        nights.append((before, backup.run(disk)))

    write(disk, {offset * MIB: rng.randbytes(MIB) for offset in range(256)})
    night("the first backup, 256 MiB have data")
    night("nothing")
    write(disk, {(256 + offset) * MIB: rng.randbytes(MIB) for offset in range(64)})
    night("a file of 64 MiB was written")
    write(disk, {rng.randrange(0, 256 * MIB, 4096): rng.randbytes(4096) for _ in range(100)})
    night("100 blocks of 4 KiB were written, all over the data")
    disk.sr.lab.xe("vdi-snapshot", f"uuid={disk.uuid}", f"new-name-label={revert_to}")
    write(disk, {offset * MIB: rng.randbytes(MIB) for offset in range(32)})
    night("32 MiB were written over")
    with disk.sr.lab.xapi.session() as session:
        [snapshot] = session.VDI.get_by_name_label(revert_to)
        session.VDI.revert(snapshot)
    night("the disk was reverted to a snapshot of the day before")
    return nights


def table(nights: list[tuple[str, Night]]) -> Table:
    rows = [["before the night", "read", "list of the changes"]]
    for before, night in nights:
        listed = "none: a full backup" if night.is_full else f"{night.list_seconds:.1f} s"
        rows.append([before, f"{night.read // MIB} of {night.size // MIB} MiB", listed])
    return rows


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="smblock-nights-") as name:
        directory = Path(name)
        for part in ("root", "host", "sm"):
            (directory / part).mkdir()
        driver, sm = install(directory / "root"), stage_sm(None, directory / "sm")
        with (
            OneNodeCeph(directory / "ceph", pool="vms") as ceph,
            LocalDom0("nights", directory / "host") as host,
            CephRbdLab([host], sm, driver, ceph, directory / "lab.json") as lab,
        ):
            lab.xapi.pool.settings = Settings(revert=True)
            lab.xapi.pool.load_drivers(lab.xapi.pool.master)
            lab.distribute_keyring(ceph.create_user("xcp", "vms"))
            sr = RbdPool(lab, "vms", "xcp").create_sr()
            nights = table(week(Disk.create(sr, SIZE), "yesterday"))
    text = PAGE.read_text()
    if not _MARKS.search(text):
        raise LabError(f"{PAGE} has no marks <!-- nights --> and <!-- /nights -->")
    PAGE.write_text(_MARKS.sub(lambda found: found.group(1) + markdown(nights) + found.group(2), text))
    print(markdown(nights))
    return 0


if __name__ == "__main__":
    sys.exit(main())
