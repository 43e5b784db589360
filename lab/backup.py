"""The backup of one disk by changed-block tracking, step for step as Xen Orchestra makes it.

Followed: xen-orchestra 9ef53890b8, @xen-orchestra/backups/_runners/_vmRunners/_AbstractXapi.mjs (enable, snapshot,
bases, data_destroy) and @xen-orchestra/xapi/disks/XapiVhdCbt.mjs (blocks of 2 MiB, of which each is read if any of
its 32 bits is set).  Xen Orchestra reads the blocks by NBD from the snapshot.
"""

from __future__ import annotations

import base64
import hashlib
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from lab.disk import Disk
from lab.vdi import MIB

BLOCK = 2 * MIB
# Opens a snapshot, and returns what reads it: offset and length.
Reader = Callable[[Disk], Callable[[int, int], bytes]]


@dataclass(frozen=True)
class Night:
    """What one run did.  Sizes in bytes."""

    size: int
    read: int
    is_full: bool
    list_seconds: float


@dataclass
class Backup:
    """A copy of a disk elsewhere, and the snapshot that it is the copy of."""

    copy: bytearray = field(default_factory=bytearray)
    base: Disk | None = None

    def run(self, disk: Disk, reader: Reader, close: Callable[[], None] = lambda: None) -> Night:
        """One night: the copy is what the new snapshot is.  `close` ends what the reader has opened."""
        xe = disk.sr.lab.xe
        xe("vdi-enable-cbt", f"uuid={disk.uuid}")
        new = disk.snapshot()
        size = int(disk.sr.lab.get("vdi", "virtual-size", new.uuid))
        began = time.monotonic()
        blocks = None if self.base is None else self._marked(self.base, new, size)
        seconds = time.monotonic() - began
        is_full = blocks is None
        read = reader(new)
        if blocks is None:
            blocks, self.copy = list(range(-(-size // BLOCK))), bytearray(size)
        elif len(self.copy) < size:
            self.copy.extend(bytes(size - len(self.copy)))
        del self.copy[size:]
        total = 0
        for block in blocks:
            start = block * BLOCK
            data = read(start, min(BLOCK, size - start))
            self.copy[start : start + len(data)] = data
            total += len(data)
        expected = hashlib.sha256(read(0, size)).hexdigest()
        assert hashlib.sha256(self.copy).hexdigest() == expected, f"the copy differs from snapshot {new.uuid}"
        close()
        xe("vdi-data-destroy", f"uuid={new.uuid}")
        if self.base is not None:
            self.base.destroy()
        self.base = new
        return Night(size, total, is_full, seconds)

    @staticmethod
    def _marked(base: Disk, new: Disk, size: int) -> list[int]:
        """The blocks that are to be read: `bitmap.readUInt32BE` for each of them, which fails beyond the bitmap."""
        reply = base.sr.lab.xe("vdi-list-changed-blocks", f"vdi-from-uuid={base.uuid}", f"vdi-to-uuid={new.uuid}")
        bitmap = base64.b64decode(reply, validate=True)
        words = (struct.unpack_from(">I", bitmap, block * 4)[0] for block in range(-(-size // BLOCK)))
        return [block for block, word in enumerate(words) if word]


def exported(snapshot: Disk) -> Callable[[int, int], bytes]:
    """Reads a snapshot that is not plugged, by `rbd export`."""
    data = snapshot.export()
    return lambda offset, length: data[offset : offset + length]
