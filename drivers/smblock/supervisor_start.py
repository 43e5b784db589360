"""Starts a supervisor of this process (supervisor.py), or the process that waits for a task of xapi (leftovers.py)."""

import os
import subprocess
import uuid

from smblock import detached
from smblock.guard import PROGRAM, SUPERVISOR, Token
from smblock.process import process_started
from smblock.sm import util


def start(sr_uuid, vdi_uuids):
    """Starts a supervisor of a command on these disks. It ends when the token is removed that this returns."""
    pid = os.getpid()
    name = SUPERVISOR + str(pid)
    token = Token(vdi_uuids[0], name)
    token.put()
    command = [PROGRAM, "command", sr_uuid, ",".join(vdi_uuids), name, str(pid), str(process_started(pid))]
    try:
        detached.start("smblock-supervisor-%s.service" % uuid.uuid4(), command)
    except (OSError, subprocess.SubprocessError) as error:
        util.SMlog("supervisor: systemd did not start it (%s): starting it without systemd" % error)
        detached.start_process(command)
    return token


def start_collector(sr_uuid, task):
    """Starts the process that removes what is prepared for a task and not used. A failure is only logged: the next scan
    does its work."""
    # A task can snapshot disks of several SRs, and each disk of an SR comes here.
    unit = "smblock-leftovers-%s-%s.service" % (sr_uuid, task.rpartition(":")[2])
    try:
        detached.start(unit, [PROGRAM, "task", sr_uuid, task, "-"])
    except (OSError, subprocess.SubprocessError) as error:
        util.SMlog("SR %s: a scan removes the unused snapshots of task %s: %s" % (sr_uuid, task, error))
