"""What the SM drivers share: SM's modules, which SM 3 and 4 keep in different places, and SM's errors."""

import functools
import os
import signal
import time

try:  # sm 4: a package
    from sm import SR, VDI, SRCommand, blktap2
    from sm.core import util, xs_errors
    from sm.core.lock import Lock
except ImportError:  # sm 3, as in XCP-ng 8.3: modules beside the drivers
    import blktap2
    import SR
    import SRCommand
    import util
    import VDI
    import xs_errors
    from lock import Lock

import XenAPI

from smblock._core import Error

__all__ = ["DATAPATHS", "SR", "VDI", "CoreSR", "Lock", "XenAPI", "as_sm_error", "blktap2", "fist_point"]
__all__ += ["Error", "SRCommand", "set_attributes", "util", "xs_errors"]


def _connects_devices():
    """Returns whether this SM can give xapi a block device, and not only a tapdisk's NBD socket. SM 3 can.

    SM 3.2.12 with QCOW2 checks for a coalesce chain at each activation. Some of its versions do not support the
    type `phy` there, and refuse every disk of it (blktap2.py, _check_journal_coalesce_chain).
    """
    if not hasattr(blktap2.VDI, "BackendLink"):
        return False
    if not hasattr(blktap2.VDI, "_check_journal_coalesce_chain"):
        return True
    try:
        blktap2.getCowUtil("phy")
    except Exception:
        return False
    return True


# The data paths that this SM has.
DATAPATHS = ("aio", "phy") if _connects_devices() else ("aio",)

# Points where a test can kill a command: after a snapshot has paused the disk's tapdisk, after the snapshot was
# taken, and for each command after the core has finished and before XAPI has the result.
FIST_POINTS = ["smblock_vdi_snapshot_paused", "smblock_vdi_snapshot_taken"]
FIST_POINTS += ["smblock_vdi_%s" % command for command in ("create", "delete", "snapshot", "clone", "revert", "resize")]
FIST_POINTS += ["smblock_vdi_data_destroy"]
# After an activation has mapped the disk, and after SM has done its part.
FIST_POINTS += ["smblock_vdi_activate", "smblock_vdi_activate_done"]
util.fistpoint.points.extend(FIST_POINTS)


def fist_point(name):
    """A FIST point, SM's fault-injection point: kills this process if the file /tmp/fist_smblock_NAME exists."""
    util.fistpoint.activate_custom_fn("smblock_" + name, lambda: os.kill(os.getpid(), signal.SIGKILL))


def as_sm_error(method):
    """Turns an error of the core into SM's error for it, with the same text."""

    @functools.wraps(method)
    def wrapper(*args, **kwargs):
        try:
            return method(*args, **kwargs)
        except Error as error:
            raise xs_errors.XenError(error.key, opterr=str(error)) from error

    return wrapper


def set_attributes(target, attributes):
    """Sets the attributes of SM's object for an SR or a VDI. Returns the object."""
    for name, value in attributes.items():
        setattr(target, name, value)
    return target


# Commands under SM's lock of the SR on this host. A scan must not run beside a command that adds or removes VDIs,
# and XAPI forgets which commands run when it is restarted. Commands that a VM waits for take no lock.
OPS_EXCLUSIVE = ["sr_create", "sr_delete", "sr_attach", "sr_detach", "sr_scan", "sr_update", "vdi_create"]
OPS_EXCLUSIVE += ["vdi_introduce", "vdi_delete", "vdi_snapshot", "vdi_clone", "vdi_resize", "vdi_revert"]


class SrLock:
    """SM's lock of an SR on this host. A command that waits for it logs that, and for how long.

    The wait has no deadline. It ends with the command that holds the lock, which has deadlines.
    """

    def __init__(self, sr_uuid):
        self._sr_uuid = sr_uuid
        self._lock = Lock("sr", sr_uuid)

    def acquire(self):
        if self._lock.acquireNoblock():
            return
        lock = "/var/lock/sm/%s/sr" % self._sr_uuid
        util.SMlog("SR %s: waiting for another command of this host, which holds %s" % (self._sr_uuid, lock))
        began = time.monotonic()
        self._lock.acquire()
        util.SMlog("SR %s: waited %.1f s for %s" % (self._sr_uuid, time.monotonic() - began, lock))

    def __getattr__(self, name):
        return getattr(self._lock, name)


class CoreSR(SR.SR):
    """An SR with a core: self.core implements SM's commands."""

    def load(self, sr_uuid):
        self.lock = SrLock(sr_uuid)
        self.ops_exclusive = OPS_EXCLUSIVE

    @as_sm_error
    def delete(self, uuid):
        self.core.delete()

    @as_sm_error
    def attach(self, uuid):
        self.core.attach(DATAPATHS)

    @as_sm_error
    def detach(self, uuid):
        self.core.detach()

    @as_sm_error
    def scan(self, uuid):
        found = self.core.scan(self.own_vdi_records())
        set_attributes(self, found.sr)
        for attributes in found.vdis:
            self.vdis[attributes["uuid"]] = set_attributes(self.vdi(attributes["uuid"]), attributes)
        super().scan(uuid)
        vdi = self.session.xenapi.VDI
        for snapshot, disk in found.disks_of_snapshots.items():
            vdi.set_snapshot_of(vdi.get_by_uuid(snapshot), vdi.get_by_uuid(disk))

    def has_succeeded(self):
        """Called after a command that succeeded. A driver ends the supervisors of the command here."""

    def after_command(self):
        """Called after each command. A driver starts the command's background work here."""

    def vdi_records(self, query):
        """Returns XAPI's records of the VDIs that a query finds, by reference."""
        return self.session.xenapi.VDI.get_all_records_where(query)

    def own_vdi_records(self):
        return self.vdi_records('field "SR" = "%s"' % self.sr_ref)
