"""Warns of an SR that only one host of the pool can use."""

from smblock.hosts import Hosts
from smblock.sm import util

NOT_SHARED = "SMBLOCK_SR_NOT_SHARED"
WARNING = "3"  # XAPI's priority


def warn_unless_shared(sr):
    """Raises an alert if an SR was created without shared=true in a pool of several hosts."""
    try:
        xenapi = sr.session.xenapi
        if xenapi.SR.get_shared(sr.sr_ref):
            return
        hosts = xenapi.host.get_all()
        text = "SR %s was created without shared=true: only host %s can use it. " % (sr.uuid, util.get_this_host())
        text += "To share it, run 'xe sr-param-set uuid=%s shared=true'; then, for each other host, run " % sr.uuid
        text += "'xe pbd-create host-uuid=HOST sr-uuid=%s' with the same device-config, and 'xe pbd-plug'." % sr.uuid
        util.SMlog(text)
        if len(hosts) > 1:
            Hosts(lambda: sr.session, sr.uuid).alert(NOT_SHARED, WARNING, "SR", sr.uuid, text)
    except Exception:  # the SR was created, and must not fail for this
        util.logException("SR %s: warning that it is not shared" % sr.uuid)
