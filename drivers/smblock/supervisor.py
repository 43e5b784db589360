"""Undoes what a killed command left, on the host of the command, without waiting for the next command."""

import sys
import time

from smblock.process import process_started

POLL = 0.5
DELAYS = (0, 5, 20)  # seconds before each try


def wait_for_end(pid, started):
    """Waits until a command ends. It pauses disks: until then this process leaves the processors to it."""
    while process_started(pid) == started:
        time.sleep(POLL)


def undo(sr_uuid, vdi_uuids, token):
    """Has the core undo what a command left, if it did not succeed."""
    from smblock.core import core_of
    from smblock.hosts import LocalSession
    from smblock.sm import util

    for delay in DELAYS:
        time.sleep(delay)
        if not token.is_there():
            return
        util.SMlog("supervisor: the command on VDI %s did not succeed" % ", ".join(vdi_uuids))
        for vdi_uuid in vdi_uuids:
            try:
                with LocalSession() as session:
                    core_of(session, sr_uuid).recover_vdi(vdi_uuid)
            except Exception:
                util.logException("supervisor: VDI %s" % vdi_uuid)
    token.remove()


def main():
    kind, sr_uuid, of, name = sys.argv[1:5]
    if kind == "command":
        wait_for_end(int(sys.argv[5]), int(sys.argv[6]))
    from smblock import disks, guard, leftovers
    from smblock.sm import util

    vdi_uuids = of.split(",")
    try:
        if kind == "disk":
            guard.guard(sr_uuid, of, guard.Token(of, name))
        elif kind == "disks":
            disks.serve(sr_uuid, vdi_uuids, name)
        elif kind == "task":
            leftovers.collect(sr_uuid, of)
        else:
            undo(sr_uuid, vdi_uuids, guard.Token(vdi_uuids[0], name))
    except Exception:  # a unit that fails stays in systemd's list until it is reset
        util.logException("smblock-guard %s %s" % (kind, of))
