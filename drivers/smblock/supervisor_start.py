"""Starts a supervisor of this process: see supervisor.py."""

import os
import subprocess
import uuid

from smblock import detached
from smblock.guard import PROGRAM, SUPERVISOR, Token
from smblock.local import process_started
from smblock.sm import util


def start(sr_uuid, vdi_uuid):
    """Starts a supervisor. It ends when the token is removed that this returns."""
    pid = os.getpid()
    name = SUPERVISOR + str(pid)
    token = Token(vdi_uuid, name)
    token.put()
    command = [PROGRAM, "command", sr_uuid, vdi_uuid, name, str(pid), str(process_started(pid))]
    try:
        detached.start("smblock-supervisor-%s.service" % uuid.uuid4(), command)
    except (OSError, subprocess.SubprocessError) as error:
        util.SMlog("supervisor: systemd did not start it (%s): starting it without systemd" % error)
        detached.start_process(command)
    return token
