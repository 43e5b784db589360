"""The core of an SR, for what xapi does not start as an SM command."""

from smblock import Sr, crucible
from smblock.pause import Toolstack
from smblock.sm import util


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
        return crucible.core_of(session, sr_uuid, config)
    return Sr(sr_uuid, util.get_this_host(), config, Toolstack(lambda: session, sr_uuid))
