"""The backup of one disk by changed-block tracking, step for step as Xen Orchestra makes it.

Followed: xen-orchestra 9ef53890b8, @xen-orchestra/backups/_runners/_vmRunners/_AbstractXapi.mjs (enable, snapshot,
bases, data_destroy) and @xen-orchestra/xapi/disks/XapiVhdCbt.mjs (blocks of 2 MiB, of which each is read if any of
its 32 bits is set).  The blocks are read over NBD: `lab.nbd`.
"""

from __future__ import annotations

import base64
import hashlib
import struct
import time
from dataclasses import dataclass, field

from lab.copies import snapshot_vm
from lab.disk import Disk
from lab.nbd import Extent, Reader
from lab.vdi import MIB

BLOCK = 2 * MIB


@dataclass(frozen=True)
class Night:
    """What one run did.  Sizes in bytes."""

    size: int
    read: int
    is_full: bool
    list_seconds: float


@dataclass
class Backup:
    """A copy of the one disk of a VM elsewhere, and the snapshot that it is the copy of."""

    vm: str
    reader: Reader
    copy: bytearray = field(default_factory=bytearray)
    base: Disk | None = None

    def run(self, disk: Disk) -> Night:
        """One night: the copy is what the new snapshot is."""
        xe = disk.sr.lab.xe
        xe("vdi-enable-cbt", f"uuid={disk.uuid}")
        snapshot, new = snapshot_vm(self.vm, disk.sr)
        size = int(disk.sr.lab.get("vdi", "virtual-size", new.uuid))
        began = time.monotonic()
        marked = None if self.base is None else self._marked(self.base, new, size)
        seconds = time.monotonic() - began
        every = [(start, min(BLOCK, size - start)) for start in range(0, size, BLOCK)]
        extents = every if marked is None else [every[block] for block in marked]
        with self.reader(new) as read:
            self._write(extents, read(extents), size)
            expected = hashlib.sha256(read(every)).hexdigest()
        assert hashlib.sha256(self.copy).hexdigest() == expected, f"the copy differs from snapshot {new.uuid}"
        xe("vm-destroy", f"uuid={snapshot}")
        xe("vdi-data-destroy", f"uuid={new.uuid}")
        if self.base is not None:
            self.base.destroy()
        self.base = new
        return Night(size, sum(length for _, length in extents), marked is None, seconds)

    def _write(self, extents: list[Extent], data: bytes, size: int) -> None:
        """Writes data one behind the other to the copy, which gets that size."""
        self.copy.extend(bytes(max(size - len(self.copy), 0)))
        del self.copy[size:]
        at = 0
        for offset, length in extents:
            self.copy[offset : offset + length] = data[at : at + length]
            at += length
        assert at == len(data)

    @staticmethod
    def _marked(base: Disk, new: Disk, size: int) -> list[int]:
        """The blocks that are to be read: `bitmap.readUInt32BE` for each of them, which fails beyond the bitmap."""
        reply = base.sr.lab.xe("vdi-list-changed-blocks", f"vdi-from-uuid={base.uuid}", f"vdi-to-uuid={new.uuid}")
        bitmap = base64.b64decode(reply, validate=True)
        words = (struct.unpack_from(">I", bitmap, block * 4)[0] for block in range(-(-size // BLOCK)))
        return [block for block, word in enumerate(words) if word]
