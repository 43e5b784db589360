"""The xapi plugin `smblock`, which one host of the pool calls on another.

version      returns the version of this host's smblock
settle       removes what a killed command left of a VDI here; returns whether the VDI is in use here
guard_pause  starts a guard, which resumes a disk of this host if the command dies that pauses it
end_guard    ends the guard
"""

import json
import uuid

from smblock import __version__, guard
from smblock.activation import forget_tags
from smblock.child import Child
from smblock.core import core_of
from smblock.local import LOCK_SECONDS, LocalVdi, boot_id, vdi_lock
from smblock.sm import util

SETTLE_SECONDS = 15


def version(_session, _args):
    """Returns the version of this host's smblock."""
    return __version__


def settle(session, args):
    """Removes what a killed command left of a VDI. Returns this host's boot, and whether it uses the VDI, as JSON."""
    sr_uuid, vdi_uuid = _uuid(args, "sr"), _uuid(args, "vdi")
    what = "settling VDI %s" % vdi_uuid
    in_use = Child(what, lambda: _settle(session, sr_uuid, vdi_uuid), SETTLE_SECONDS).result()
    util.SMlog("plugin settle: VDI %s is %s here" % (vdi_uuid, "in use" if in_use else "not in use"))
    return json.dumps({"boot_id": boot_id(), "in_use": in_use})


def _settle(session, sr_uuid, vdi_uuid):
    local = LocalVdi(sr_uuid, vdi_uuid)
    with vdi_lock(vdi_uuid, LOCK_SECONDS) as locked:
        # A command that holds the lock uses the VDI, or is about to.
        if not locked or local.settle(core_of(session, sr_uuid)):
            return True
        forget_tags(session, util.get_this_host_ref(session), vdi_uuid)
        local.note.remove()
        return False


def guard_pause(session, args):
    """Starts a guard of a disk that is about to be paused; see guard.py."""
    guard.start_guard(_uuid(args, "sr"), _uuid(args, "vdi"), _uuid(args, "guard"))
    return "True"


def end_guard(session, args):
    """Ends a guard, because the disk was resumed."""
    guard.Token(_uuid(args, "vdi"), _uuid(args, "guard")).remove()
    return "True"


def _uuid(args, name):
    """Returns a UUID of the arguments in its canonical form, because it becomes part of paths."""
    return str(uuid.UUID(args[name]))
