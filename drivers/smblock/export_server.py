"""The program of the server of exports, and its keeper: a thread that serves what this host is to serve.

After a boot nothing is plugged, whatever XAPI's records have: the keeper plugs the exports of this host again. It also
ends what XAPI has given to another host meanwhile.
"""

import threading
import time

from smblock import export_control as control
from smblock import export_place as place
from smblock import export_plug as plug
from smblock import export_records as records
from smblock import export_vms as vms
from smblock._core import Error, serve_exports
from smblock.hosts import LocalSession, bounded
from smblock.sm import util

CALLS_SECONDS = 300  # a plug waits for the storage
SOON, LATER = 5, 60  # seconds until the next look: while an export is missing, and when all is well
WATCH = 5  # seconds between two looks for VMs that use a disk


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
            served = look()
        except Exception:
            util.logException("export server: looking for this host's exports")
            served = None
        try:
            watch(served)
        except Exception:
            util.logException("export server: looking for VMs that use a disk")


def watch(served):
    """Waits until the next look. XAPI plugs an exported disk into a running VM: it does not ask SM, because this host
    has the disk active, and takes the control domain's use of it for safe. Then the next look is soon."""
    if served is None:
        time.sleep(SOON)
        return
    end = time.monotonic() + LATER
    writable = [export for export in served if not export.read_only]
    while time.monotonic() < end:
        time.sleep(WATCH)
        if set(control.vdis()) != {export.vdi for export in served}:
            return  # a command has added one, or removed one
        if writable:
            with LocalSession() as opened, bounded(opened, CALLS_SECONDS) as session:
                if place.has_users(session, writable):
                    return


def look():
    """Serves this host's exports, and no others. Returns them; None if one is not served."""
    with LocalSession() as opened, bounded(opened, CALLS_SECONDS) as session, control.changing():
        here = util.get_this_host()
        exports = [export for export in records.all_exports(session) if export.host == here]
        complete = True
        plug.end_stale(session)
        for export in exports:
            try:
                vms.block(session, export)  # also VMs that have got the disk since
                _end_if_used(session, export)
                if not place.is_served(session, export):
                    place.serve(session, export)
            except Exception:
                util.logException("export %s: serving it" % export.name)
                complete = False
        for vdi_uuid in set(control.vdis()) - {export.vdi for export in exports}:
            util.SMlog("VDI %s is not exported by this host any more" % vdi_uuid)
            control.take(vdi_uuid, True)
        place.unplug_others(session, exports)
        return exports if complete else None


def _end_if_used(session, export):
    """Ends the service of an export whose disk a VM has got since, so that one of the two writes: the VM."""
    users = [] if export.read_only else place.users(session, export)
    if users and export.vdi in control.vdis():
        util.SMlog("export %s: VM %s uses its disk: its clients lose it" % (export.name, ", ".join(users)))
        control.take(export.vdi, True)
