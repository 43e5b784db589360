"""Opens the core of an SR, for programs that xapi does not start as an SM command."""

from smblock._core import Sr
from smblock.crucible import CrucibleXapi
from smblock.pause import CephXapi
from smblock.sm import util

CRUCIBLE = "crucible"


def core_of(session, sr_uuid):
    """Returns the core of an SR, with the device-config of this host's PBD, or of another host's."""
    found = sr_of(session, sr_uuid)
    if found is None:
        raise util.SMException("XAPI has no SR %s: list the SRs with 'xe sr-list'" % sr_uuid)
    sr_ref, sr_type = found
    here = util.get_this_host_ref(session)
    pbds = session.xenapi.PBD.get_all_records_where('field "SR" = "%s"' % sr_ref)
    pbds = sorted(pbds.values(), key=lambda pbd: pbd["host"] != here)
    if not pbds:
        raise util.SMException(
            "SR %s has no PBD, so its device-config is unknown: create one with 'xe pbd-create'" % sr_uuid
        )
    return open_core(sr_type, lambda: session, sr_uuid, pbds[0]["device_config"])


def sr_of(session, sr_uuid):
    """Returns XAPI's reference to an SR, and the SR's type. None if XAPI has no such SR."""
    for sr_ref, sr in session.xenapi.SR.get_all_records_where('field "uuid" = "%s"' % sr_uuid).items():
        return sr_ref, sr["type"]
    return None


def open_core(sr_type, session, sr_uuid, device_config):
    """Returns the core of an SR on this host. `session` returns the XAPI session; it is called if needed."""
    xapi = CrucibleXapi(session(), sr_uuid) if sr_type == CRUCIBLE else CephXapi(session, sr_uuid)
    return Sr(sr_type, sr_uuid, util.get_this_host(), device_config, xapi)
