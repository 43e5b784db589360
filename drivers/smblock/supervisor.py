"""Undoes what a killed command left, on the host of the command, without waiting for the next command."""

import sys
import time

from smblock.core import core_of
from smblock.guard import POLL, Token, guard
from smblock.hosts import LocalSession
from smblock.local import process_started
from smblock.sm import util

DELAYS = (0, 5, 20)  # seconds before each try


def supervise(sr_uuid, vdi_uuid, token, pid, started):
    """Waits until a command ends. If it did not succeed, the core undoes what it left."""
    while process_started(pid) == started:
        time.sleep(POLL)
    for delay in DELAYS:
        time.sleep(delay)
        if not token.is_there():
            return
        util.SMlog("supervisor: the command of process %d on VDI %s did not succeed" % (pid, vdi_uuid))
        try:
            with LocalSession() as session:
                core_of(session, sr_uuid).recover_vdi(vdi_uuid)
        except Exception:
            util.logException("supervisor: VDI %s" % vdi_uuid)
    token.remove()


def main():
    kind, sr_uuid, vdi_uuid, name = sys.argv[1:5]
    token = Token(vdi_uuid, name)
    try:
        if kind == "disk":
            guard(sr_uuid, vdi_uuid, token)
        else:
            supervise(sr_uuid, vdi_uuid, token, int(sys.argv[5]), int(sys.argv[6]))
    except Exception:  # a unit that fails stays in systemd's list until it is reset
        util.logException("%s of VDI %s" % ("guard" if kind == "disk" else "supervisor", vdi_uuid))
