"""What `smblock doctor --repair` removes of SM's: keys of sm_config and links that the core has found stale."""

import contextlib
import os

from smblock.cli.facts import LINKS
from smblock.hosts import call_plugin
from smblock.local import LOCK_SECONDS, vdi_lock
from smblock.sm import util


def remove_stale(session, findings):
    """Does what the core offers for each finding. One that fails stays a finding, and SMlog has the reason."""
    for finding in findings:
        if finding.remedy is None:
            continue
        what, vdi_uuid, name = finding.remedy
        try:
            _REMEDIES[what](session, vdi_uuid, name)
        except Exception:
            util.logException("doctor: %s %s of VDI %s" % (what, name, vdi_uuid))


def _remove_key(session, vdi_uuid, key):
    util.SMlog("doctor: removing sm-config:%s of VDI %s" % (key, vdi_uuid))
    vdi = session.xenapi.VDI
    vdi.remove_from_sm_config(vdi.get_by_uuid(vdi_uuid), key)


def _settle_host(session, vdi_uuid, host_ref):
    vdi = session.xenapi.VDI
    sr_uuid = session.xenapi.SR.get_uuid(vdi.get_SR(vdi.get_by_uuid(vdi_uuid)))
    # The host itself removes its key, if it does not use the VDI.
    call_plugin(session, host_ref, "settle", {"sr": sr_uuid, "vdi": vdi_uuid})


def _remove_link(_session, vdi_uuid, path):
    if not path.startswith(tuple(folder + "/" for folder in LINKS)):
        raise ValueError("%s is no link of SM" % path)
    with vdi_lock(vdi_uuid, LOCK_SECONDS) as locked:
        # A command that holds the lock may be about to use the link.
        if locked and os.path.islink(path) and not os.path.exists(path):
            util.SMlog("doctor: removing %s -> %s" % (path, os.readlink(path)))
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


_REMEDIES = {"remove_key": _remove_key, "settle_host": _settle_host, "remove_link": _remove_link}
