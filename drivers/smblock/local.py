"""The traces of a VDI on this host: SM's links, its tapdisk, and the note of an activation that is under way.

An activation writes a note, a file, before it changes anything. If SM's process is killed, the note stays.
xapi treats that activation as failed, so everything that it made must be removed.
"""

import contextlib
import errno
import os
import re
import time

from smblock.process import process_started
from smblock.sm import Lock, blktap2, util

NOTES = "/run/smblock/activating"
LOCK_SECONDS = 2  # the wait for SM's lock of a VDI, by what must not wait for an SM command
LOCK_POLL_SECONDS = 0.1
# The end of SM's link to the socket of a disk's tapdisk: its pid and its minor number.
TAPDISK_SOCKET = re.compile(r"/nbd(\d+)\.(\d+)$")
SECTOR = 512  # the unit of sizes in sysfs, for any device


def boot_id():
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


@contextlib.contextmanager
def vdi_lock(vdi_uuid, seconds=None):
    """Takes SM's lock of a VDI on this host. Yields whether it was taken within that time."""
    lock = Lock("vdi", vdi_uuid)
    if seconds is None:
        lock.acquire()
    else:
        end = time.monotonic() + seconds
        while not lock.acquireNoblock():
            if time.monotonic() > end:
                yield False
                return
            time.sleep(LOCK_POLL_SECONDS)
    try:
        yield True
    finally:
        lock.release()


class Note:
    """The note of an activation: its process, and the device that the driver has mapped."""

    def __init__(self, sr_uuid, vdi_uuid):
        self._directory = os.path.join(NOTES, sr_uuid)
        self.path = os.path.join(self._directory, vdi_uuid)

    @staticmethod
    def all(sr_uuid):
        """Returns the VDIs of an SR that have a note."""
        try:
            return [name for name in os.listdir(os.path.join(NOTES, sr_uuid)) if not name.startswith(".")]
        except FileNotFoundError:
            return []

    def write(self, device=""):
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        # Renamed when complete: it is read after this process was killed.
        new = os.path.join(self._directory, ".%s.new" % os.path.basename(self.path))
        with open(new, "w") as file:
            file.write("%d %d\n%s\n" % (os.getpid(), process_started(os.getpid()), device))
        os.rename(new, self.path)

    def read(self):
        """Returns (pid, start time, device), or None if there is no note."""
        try:
            with open(self.path) as file:
                owner, device = file.read().splitlines()
        except FileNotFoundError:
            return None
        pid, started = owner.split()
        return int(pid), int(started), device

    def remove(self):
        util.force_unlink(self.path)


class LocalVdi:
    """A VDI on this host. The caller of a method that changes something holds SM's lock of the VDI."""

    def __init__(self, sr_uuid, vdi_uuid):
        self.vdi_uuid = vdi_uuid
        self.note = Note(sr_uuid, vdi_uuid)
        self._phy = blktap2.VDI.PhyLink.from_uuid(sr_uuid, vdi_uuid)
        # The links through which a VM reaches the disk. SM 4 has only NBD sockets.
        kinds = [getattr(blktap2.VDI, name, None) for name in ("BackendLink", "NBDLink")]
        self._links = [kind.from_uuid(sr_uuid, vdi_uuid) for kind in kinds if kind is not None]

    def is_served(self):
        return any(os.path.lexists(link.path()) for link in self._links)

    def connection(self):
        """Returns the datapath ("aio", "phy") by which a VM reaches the disk, and the size in bytes of its device here.

        None for what does not exist."""
        try:
            device = os.stat(self._phy.path())
        except FileNotFoundError:
            return None, None
        datapath = "aio" if self.is_served() else None
        for link in self._links:
            with contextlib.suppress(FileNotFoundError):
                # SM gives blkback a device node of the same device, and tapdisk's device to any other.
                datapath = "phy" if os.stat(link.path()).st_rdev == device.st_rdev else datapath
        with open("/sys/dev/block/%d:%d/size" % (os.major(device.st_rdev), os.minor(device.st_rdev))) as file:
            return datapath, int(file.read()) * SECTOR

    def served_device(self):
        """Returns the disk's block device, and the pid of its tapdisk: None if it has none. (None, None) if no VM uses
        the disk here."""
        if not self.is_served():
            return None, None
        try:
            device = self._phy.readlink()
        except FileNotFoundError:
            return None, None
        for link in self._links:
            # SM's link of a tapdisk leads to .../nbdPID.MINOR. blkback has no link of this kind.
            with contextlib.suppress(OSError):
                found = TAPDISK_SOCKET.search(os.readlink(link.path()))
                if found:
                    return device, int(found.group(1))
        return device, None

    def has_traces(self):
        return self.is_served() or os.path.lexists(self._phy.path()) or os.path.lexists(self.note.path)

    def left_behind(self):
        """Returns whether the last activation here was killed."""
        found = self.note.read()
        return found is not None and process_started(found[0]) != found[1]

    def has_mapped(self, device):
        """Adds the device to the note of this process's activation. Removes SM's link to another device, which
        would make SM fail."""
        found = self.note.read()
        if found is not None and found[0] == os.getpid():
            self.note.write(device)
        try:
            target = self._phy.readlink()
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
            return
        if target != device:
            util.SMlog("removing %s -> %s: the device is %s" % (self._phy.path(), target, device))
            self._phy.unlink()

    def reconcile(self, core, failed=False):
        """Removes what an activation left that was killed, or that has `failed` in this process. Returns whether
        this host uses the VDI. The caller removes the note, after SM's tags."""
        found = self.note.read()
        over = failed or self.left_behind()
        if not over and (found is not None or self.is_served()):
            return True
        if over and found is not None and found[2]:
            if not self._end_tapdisk(found[2]):
                return True
            # From here on, another VDI may get the device.
            self.note.write()
        if over:
            for link in self._links:
                util.force_unlink(link.path() + ".attach_info")
                link.unlink()
        if core.reconcile_vdi(self.vdi_uuid):
            return True
        self._phy.unlink()
        return False

    @staticmethod
    def _end_tapdisk(device):
        """Ends the tapdisk of a device, also one that is paused. Returns False if the tapdisk is in use."""
        tapdisk = blktap2.Tapdisk.find_by_path(device)
        if tapdisk is None:
            return True
        util.SMlog("ending %s, which a killed or failed activation left" % tapdisk)
        try:
            tapdisk.shutdown()
        except blktap2.TapCtl.CommandFailure as failure:
            if failure.get_error_code() == errno.EBUSY:
                util.SMlog("%s is in use: %s" % (tapdisk, failure))
                return False
            raise
        return True
