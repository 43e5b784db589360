"""What lets a disk go on that a snapshot has paused, if the snapshot's command dies.

Two processes do so; neither is a child of xapi's.

A *guard* runs on the host that runs the disk. It looks at the disk's tapdisk: one that has been paused for
longer than a snapshot takes is resumed, by tap-ctl, as SM's plugin tapdisk-pause does it. That needs no
XAPI and no cluster: it helps too if the host of the command is dead. A guard stays after that, for a
pause that arrives late. It ends when the command tells it that the disk goes on, or with its lifetime.

A *supervisor* (supervisor.py) runs on the host of the command.
"""

import os
import socket
import subprocess
import threading
import time
import uuid

from smblock import detached
from smblock.hosts import LocalSession, failure_code
from smblock.sm import blktap2, util
from smblock.tags import PAUSED

PROGRAM = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "smblock-guard")
FOLDER = "/run/smblock/guards"

LIFETIME = 180  # seconds; a command that has a disk paused has ended by then
PATIENCE = 4  # seconds that a snapshot may have a disk paused
POLL = 0.5
# XAPI may be away because the host of the command was the pool's master.
XAPI_LIFETIME = 600
XAPI_POLL = 5
XAPI_TIMEOUT = 30

# Bits of tap-ctl's state: tapdisk was told to pause; it is paused.
PAUSE_REQUESTED, IS_PAUSED = 0x10, 0x20


class Token:
    """A file that is there for as long as a guard or a supervisor is wanted."""

    def __init__(self, vdi_uuid, name):
        self.path = os.path.join(FOLDER, "%s.%s" % (vdi_uuid, name))

    def put(self):
        os.makedirs(FOLDER, mode=0o700, exist_ok=True)
        with open(self.path, "w"):
            pass

    def is_there(self):
        return os.path.exists(self.path)

    def remove(self):
        util.force_unlink(self.path)


def start_guard(sr_uuid, vdi_uuid, name):
    """Starts a guard on this host. It may be there already when this returns, and soon is."""
    token = Token(vdi_uuid, name)
    token.put()
    if not detached.HAS_SYSTEMD:
        detached.fork_process(lambda: guard(sr_uuid, vdi_uuid, token))
        return
    try:
        command = [PROGRAM, "disk", sr_uuid, vdi_uuid, name]
        detached.start_unit("smblock-guard-%s.service" % uuid.uuid4(), command)
    except (OSError, subprocess.SubprocessError) as error:
        util.SMlog("guard: systemd did not start it (%s): it runs without" % error)
        detached.fork_process(lambda: guard(sr_uuid, vdi_uuid, token))


def guard(sr_uuid, vdi_uuid, token):
    """Watches over the disk until the token is gone, or for as long as a guard lives."""
    end = time.monotonic() + LIFETIME
    paused_since = None
    key_remover = None
    while token.is_there():
        now = time.monotonic()
        tapdisk = _look(sr_uuid, vdi_uuid)
        if tapdisk is None or not tapdisk.state & (PAUSE_REQUESTED | IS_PAUSED):
            paused_since = None
            if now > end:
                break
        elif paused_since is None:
            paused_since = now
        elif now - paused_since >= PATIENCE and tapdisk.state & IS_PAUSED and _resume(vdi_uuid, tapdisk):
            paused_since = None
            if key_remover is None or not key_remover.is_alive():
                key_remover = threading.Thread(target=_remove_key, args=(vdi_uuid, token))
                key_remover.start()
        time.sleep(POLL)
    if token.is_there():
        # The command did not end as it should: no disk of a live command is paused for that long.
        _remove_key(vdi_uuid, token)
        token.remove()


def _look(sr_uuid, vdi_uuid):
    """The disk's tapdisk, or None."""
    try:
        minor = minor_of(sr_uuid, vdi_uuid)
        return None if minor is None else blktap2.Tapdisk.get(minor=minor)
    except blktap2.TapdiskNotRunning:
        return None
    except Exception as error:
        util.SMlog("guard: VDI %s: looking at its tapdisk: %s" % (vdi_uuid, error))
        return None


def minor_of(sr_uuid, vdi_uuid):
    """The number of the tapdisk that SM's links name; None if the disk is not active here on tapdisk."""
    # The target is named after the tapdisk: nbdPID.MINOR.
    path = blktap2.VDI.NBDLink.from_uuid(sr_uuid, vdi_uuid).path()
    try:
        return int(os.readlink(path).rpartition(".")[2])
    except (FileNotFoundError, ValueError):
        return None


def _resume(vdi_uuid, tapdisk):
    util.SMlog("guard: VDI %s is paused for %d s: %s goes on" % (vdi_uuid, PATIENCE, tapdisk))
    try:
        # Without SM's lock of the VDI: it may be held by a plugin that waits for a dead XAPI.
        tapdisk.unpause()
    except Exception as error:
        util.SMlog("guard: VDI %s does not go on: %s" % (vdi_uuid, error))
        return False
    return True


def _remove_key(vdi_uuid, token):
    """Removes SM's note that the disk is paused, which keeps the disk from being unplugged."""
    socket.setdefaulttimeout(XAPI_TIMEOUT)
    end = time.monotonic() + XAPI_LIFETIME
    while token.is_there():
        try:
            with LocalSession() as session:
                vdi = session.xenapi.VDI
                vdi.remove_from_sm_config(vdi.get_by_uuid(vdi_uuid), PAUSED)
            return
        except Exception as error:
            if failure_code(error) == "UUID_INVALID" or time.monotonic() > end:
                util.SMlog("guard: VDI %s: its key paused stays: %s" % (vdi_uuid, error))
                return
        time.sleep(XAPI_POLL)
