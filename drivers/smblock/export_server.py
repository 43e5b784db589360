"""The program of the server of exports, and its keeper: a thread that serves what this host is to serve.

After a boot nothing is plugged, also if XAPI's records differ: the keeper plugs the exports of this host again. It also
ends what XAPI has given to another host, or to a VM, meanwhile. Each plug and unplug has a thread of its own, because
storage that does not reply holds it up for minutes: the keeper, and the other exports, do not wait for it.
"""

import functools
import socket
import threading
import time

from smblock import export_control as control
from smblock import export_place as place
from smblock import export_plug as plug
from smblock import export_records as records
from smblock import export_vms as vms
from smblock._core import Error, serve_exports
from smblock.hosts import LocalSession
from smblock.sm import util

CALLS_SECONDS = 300  # a plug waits for the storage
SOON, LATER = 5, 60  # seconds until the next look: while an export is missing, and when all is well
WATCH = 5  # seconds between two looks for VMs that use a disk

# The threads that plug and unplug: the VDI or VBD of each.
_busy = set()


def run():
    """Serves until this process is killed. Returns the exit status."""
    socket.setdefaulttimeout(CALLS_SECONDS)  # for the sessions of all threads
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
            with LocalSession() as session:
                if place.has_users(session, writable):
                    return


def look():
    """Ends what is not this host's or a VM's, then begins to serve what is missing. Returns the host's exports; None if
    one is not served yet."""
    with LocalSession() as session:
        exports = _end_others(session)
        complete = True
        missing = []
        for export in exports:
            try:
                vms.block(session, export)  # also VMs that have got the disk since
                _end_if_used(session, export)
                if not place.is_served(session, export):
                    missing.append(export)
            except Exception:
                util.logException("export %s: looking at it" % export.name)
                complete = False
        plug.end_stale(session)  # before each plug
        for export in missing:
            _begin(export.vdi, "export %s: serving it" % export.name, functools.partial(_serve, export=export))
        for ref, vbd in place.others(session, exports).items():
            work = functools.partial(place.unplug_other, ref=ref, vbd=vbd)
            _begin(ref, "VBD %s: unplugging it" % vbd["uuid"], work)
        return exports if complete and not missing else None


def _end_others(session):
    """Ends the service of all but this host's exports. Returns these."""
    with control.choosing():
        exports = records.of_host(session, util.get_this_host())
        for vdi_uuid in set(control.vdis()) - {export.vdi for export in exports}:
            util.SMlog("VDI %s is not exported by this host any more" % vdi_uuid)
            try:
                control.take(vdi_uuid, True)
            except Exception:
                util.logException("VDI %s: ending its service" % vdi_uuid)
        return exports


def _begin(key, what, work):
    """Calls `work(session)` in a thread, unless one with this key is at work."""
    if key in _busy:
        return
    _busy.add(key)

    def run_it():
        try:
            with LocalSession() as session:
                work(session)
        except Exception:
            util.logException(what)
        finally:
            _busy.discard(key)

    threading.Thread(target=run_it, daemon=True).start()


def _serve(session, export):
    with control.changing(export.vdi):
        export.load(session)  # a command may have ended it, or another host taken it
        if export.host == util.get_this_host() and not place.is_served(session, export):
            place.serve(session, export)


def _end_if_used(session, export):
    """Ends the service of an export whose disk a VM has got since, so that one of the two writes: the VM."""
    users = [] if export.read_only else place.users(session, export)
    if users and export.vdi in control.vdis():
        util.SMlog("export %s: VM %s uses its disk: its clients lose it" % (export.name, ", ".join(users)))
        control.take(export.vdi, True)
