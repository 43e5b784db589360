"""Undoes what a killed command left, on the host of the command, without waiting for the next command."""

import sys
import time

from smblock import leftovers
from smblock.core import core_of
from smblock.guard import POLL, Token, guard_all
from smblock.hosts import LocalSession
from smblock.local import process_started
from smblock.sm import util

DELAYS = (0, 5, 20)  # seconds before each try


def supervise(sr_uuid, vdi_uuids, token, pid, started):
    """Waits until a command ends. If it did not succeed, the core undoes what it left."""
    while process_started(pid) == started:
        time.sleep(POLL)
    for delay in DELAYS:
        time.sleep(delay)
        if not token.is_there():
            return
        util.SMlog("supervisor: the command of process %d on VDI %s did not succeed" % (pid, ", ".join(vdi_uuids)))
        for vdi_uuid in vdi_uuids:
            try:
                with LocalSession() as session:
                    core_of(session, sr_uuid).recover_vdi(vdi_uuid)
            except Exception:
                util.logException("supervisor: VDI %s" % vdi_uuid)
    token.remove()


def main():
    kind, sr_uuid, of, name = sys.argv[1:5]
    try:
        if kind == "disk":
            guard_all(sr_uuid, of.split(","), name)
        elif kind == "task":
            leftovers.collect(sr_uuid, of)
        else:
            vdi_uuids = of.split(",")
            supervise(sr_uuid, vdi_uuids, Token(vdi_uuids[0], name), int(sys.argv[5]), int(sys.argv[6]))
    except Exception:  # a unit that fails stays in systemd's list until it is reset
        util.logException("smblock-guard %s %s" % (kind, of))
