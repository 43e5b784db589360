"""Runs the server of a Crucible volume, and raises an alarm if it ends by itself."""

import os

from smblock._core import Error, alarm_ended_server, serve_crucible
from smblock.core import core_of
from smblock.hosts import LocalSession
from smblock.sm import util


def run_server(directory):
    """Runs a volume's server until it ends. Returns the exit status."""
    try:
        died = serve_crucible(directory, lambda line: util.SMlog("crucible: " + line))
    except Error as error:
        util.SMlog("crucible: %s" % error)
        return 1
    if died is None:
        return 0
    vdi_uuid = os.path.basename(os.path.normpath(directory))
    util.SMlog("crucible: the server of VDI %s ended: %s. Its I/O fails until it is plugged again" % (vdi_uuid, died))
    try:
        with LocalSession() as session:
            vdi = session.xenapi.VDI
            vdi_ref = vdi.get_by_uuid(vdi_uuid)
            sr_uuid = session.xenapi.SR.get_uuid(vdi.get_SR(vdi_ref))
            name = vdi.get_name_label(vdi_ref)
            alarm_ended_server(core_of(session, sr_uuid), vdi_uuid, name, util.get_this_host(), died)
    except Exception:  # XAPI may be down; the log has the text, and the next check raises the alarm
        util.logException("crucible: VDI %s: raising the alarm that its server ended" % vdi_uuid)
    return 1
