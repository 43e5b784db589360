"""The program of the server of exports, and its keeper: a thread that serves what this host is to serve.

After a boot nothing is plugged: the keeper plugs the exports of this host again. It also ends what XAPI has given to
another host meanwhile.
"""

import threading
import time

from smblock import export_control as control
from smblock import export_place as place
from smblock import export_records as records
from smblock import export_vms as vms
from smblock._core import Error, serve_exports
from smblock.hosts import LocalSession, bounded
from smblock.sm import util

CALLS_SECONDS = 300  # a plug waits for the storage
SOON, LATER = 5, 60  # seconds until the next look: while an export is missing, and when all is well


def run():
    """Serves until this process is killed. Returns the exit status."""
    threading.Thread(target=keep, daemon=True).start()
    try:
        serve_exports(control.settings(), control.DIRECTORY)
    except (Error, control.ServerError) as error:
        util.SMlog("export server: %s" % error)
        control.note_failure(str(error))
    return 1


def keep():
    """Looks again and again."""
    while True:
        try:
            complete = look()
        except Exception:
            util.logException("export server: looking for this host's exports")
            complete = False
        time.sleep(LATER if complete else SOON)


def look():
    """Serves this host's exports, and no others. Returns whether that is so now."""
    with LocalSession() as opened, bounded(opened, CALLS_SECONDS) as session, control.changing():
        here = util.get_this_host()
        exports = [export for export in records.all_exports(session) if export.host == here]
        complete = True
        for export in exports:
            try:
                vms.block(session, export)  # also VMs that have got the disk since
                if not place.is_served(session, export):
                    place.serve(session, export)
            except Exception:
                util.logException("export %s: serving it" % export.name)
                complete = False
        for vdi_uuid in set(control.vdis()) - {export.vdi for export in exports}:
            util.SMlog("VDI %s is not exported by this host any more" % vdi_uuid)
            control.take(vdi_uuid, True)
        place.unplug_others(session, exports)
        return complete
