"""The xapi plugin `smblock`: what one host of the pool does for another.

settle       what is left of a VDI here by a killed command goes; is the VDI in use here?
"""

import json
import uuid

from smblock import CrucibleSr, Sr, crucible
from smblock.activation import forget_tags
from smblock.child import run_in_child
from smblock.local import LOCK_SECONDS, LocalVdi, boot_id, vdi_lock
from smblock.pause import Toolstack
from smblock.sm import util

SETTLE_SECONDS = 15


def settle(session, args):
    """JSON: this host's boot, and whether it uses the VDI. What a killed command left is gone then."""
    sr_uuid, vdi_uuid = _uuid(args, "sr"), _uuid(args, "vdi")
    what = "settling VDI %s" % vdi_uuid
    in_use = run_in_child(what, lambda: _settle(session, sr_uuid, vdi_uuid), SETTLE_SECONDS)
    util.SMlog("plugin settle: VDI %s is %s here" % (vdi_uuid, "in use" if in_use else "not in use"))
    return json.dumps({"boot_id": boot_id(), "in_use": in_use})


def _settle(session, sr_uuid, vdi_uuid):
    local = LocalVdi(sr_uuid, vdi_uuid)
    with vdi_lock(vdi_uuid, LOCK_SECONDS) as locked:
        # A command that holds the lock is about to use it, or has not let go of it yet.
        if not locked or local.settle(core_of(session, sr_uuid)):
            return True
        forget_tags(session, util.get_this_host_ref(session), vdi_uuid)
        local.note.remove()
        return False


def core_of(session, sr_uuid):
    """The core of an SR, as the device-config of this host's PBD has it, or any host's."""
    sr_ref = session.xenapi.SR.get_by_uuid(sr_uuid)
    here = util.get_this_host_ref(session)
    pbds = session.xenapi.PBD.get_all_records_where('field "SR" = "%s"' % sr_ref)
    pbds = sorted(pbds.values(), key=lambda pbd: pbd["host"] != here)
    if not pbds:
        raise util.SMException("SR %s has no PBD: its device-config is unknown" % sr_uuid)
    config = pbds[0]["device_config"]
    if crucible.is_meant(config):
        xapi = crucible.Xapi(session, sr_uuid)
        return CrucibleSr(sr_uuid, util.get_this_host(), config, xapi, crucible.RUNNER)
    return Sr(sr_uuid, util.get_this_host(), config, Toolstack(lambda: session, sr_uuid))


def _uuid(args, name):
    """A UUID among the arguments, in its usual spelling: paths are made of it."""
    return str(uuid.UUID(args[name]))
