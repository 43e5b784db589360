"""What lets a disk go on that a snapshot has paused, if the snapshot's command dies.

Two processes do so; neither is a child of xapi's.

A *guard* runs on the host that runs the disk. It looks at the disk's tapdisk: one that has been paused for
longer than a snapshot takes is resumed, by tap-ctl, as SM's plugin tapdisk-pause does it. That needs no
XAPI and no cluster: it helps too if the host of the command is dead. A guard stays after that, for a
pause that arrives late. It ends when the command ends it because the disk goes on, or with its lifetime.

Guards of several commands can watch one disk. An older one gives each later command its own time, and leaves
the key `paused` to it.

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
DIRECTORY = "/run/smblock/guards"
SUPERVISOR = "command-"  # and the command's pid: the name of a supervisor's token

COMMAND_LIFETIME = 180  # seconds; a command that has a disk paused has ended by then
# Seconds; xapi's call for a pause has reached this host by then. Linux gives up a TCP connection without a reply
# after 15 to 30 minutes (net.ipv4.tcp_retries2).
LIFETIME = 1800
PATIENCE = 4  # seconds that a snapshot may have a disk paused
POLL = 0.5
LATE_POLL = 5  # of a disk that runs, after the command's end
STALL = 30  # seconds between two looks: this host stood still, and with it a call for a pause
# XAPI may be away because the host of the command was the pool's master.
XAPI_LIFETIME = 600
XAPI_POLL = 5
XAPI_TIMEOUT = 30

# Bits of tap-ctl's state: tapdisk was told to pause; it is paused.
PAUSE_REQUESTED, IS_PAUSED = 0x10, 0x20


class Token:
    """A file that is there for as long as a guard or a supervisor is wanted."""

    def __init__(self, vdi_uuid, name):
        self.path = os.path.join(DIRECTORY, "%s.%s" % (vdi_uuid, name))

    def put(self):
        os.makedirs(DIRECTORY, mode=0o700, exist_ok=True)
        with open(self.path, "w"):
            pass

    def is_there(self):
        return os.path.exists(self.path)

    def guards(self):
        """The file names of the tokens of all guards of the disk."""
        vdi = os.path.basename(self.path).partition(".")[0] + "."
        names = [name for name in os.listdir(DIRECTORY) if name.startswith(vdi)]
        return [name for name in names if not name.startswith(vdi + SUPERVISOR)]

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


class LaterCommands:
    """The commands on the same disk that began after a guard's own."""

    def __init__(self, token):
        self._token = token
        self._first_seen = dict.fromkeys(token.guards(), float("-inf"))

    def notice(self):
        """Whether one more has begun since the last call."""
        new = [name for name in self._token.guards() if name not in self._first_seen]
        self._first_seen.update(dict.fromkeys(new, time.monotonic()))
        return bool(new)

    def may_run(self):
        """Whether one of them can have the disk paused. The token of a guard that was killed stays."""
        now = time.monotonic()
        return any(now - self._first_seen.get(name, now) < COMMAND_LIFETIME for name in self._token.guards())


class KeyRemover:
    """Removes SM's note that the disk is paused, which keeps the disk from being unplugged."""

    def __init__(self, vdi_uuid, token, later):
        self._vdi_uuid, self._token, self._later = vdi_uuid, token, later
        self._thread = None

    def start(self):
        """Begins to, unless it is at work."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run)
            self._thread.start()

    def _run(self):
        socket.setdefaulttimeout(XAPI_TIMEOUT)
        end = time.monotonic() + XAPI_LIFETIME
        while self._token.is_there():
            try:
                if not self._later.may_run():
                    self._remove()
                    return
            except Exception as error:
                if failure_code(error) == "UUID_INVALID" or time.monotonic() > end:
                    util.SMlog("guard: VDI %s: its key paused stays: %s" % (self._vdi_uuid, error))
                    return
            time.sleep(XAPI_POLL)

    def _remove(self):
        with LocalSession() as session:
            vdi = session.xenapi.VDI
            vdi.remove_from_sm_config(vdi.get_by_uuid(self._vdi_uuid), PAUSED)


def guard(sr_uuid, vdi_uuid, token):
    """Watches over the disk until the token is gone, or for as long as a guard lives."""
    later = LaterCommands(token)
    key_remover = KeyRemover(vdi_uuid, token, later)
    paused_since = None
    removes_key = False
    looked_at = time.monotonic()
    age = 0  # seconds, without the time that this host stood still
    while token.is_there():
        now = time.monotonic()
        age += now - looked_at if now - looked_at < STALL else 0
        looked_at = now
        if later.notice():
            paused_since = None
        try:
            tapdisk = _look(sr_uuid, vdi_uuid)
        except Exception as error:
            # Paused or not: a tapdisk that is silent for 10 seconds is not in tap-ctl's list (TapdiskNotRunning).
            if not isinstance(error, blktap2.TapdiskNotRunning):
                util.SMlog("guard: VDI %s: looking at its tapdisk: %s" % (vdi_uuid, error))
            if age > LIFETIME:
                break
        else:
            if tapdisk is None or not tapdisk.state & (PAUSE_REQUESTED | IS_PAUSED):
                paused_since = None
                if age > LIFETIME:
                    break
            elif paused_since is None:
                paused_since = now
            elif now - paused_since >= PATIENCE and tapdisk.state & IS_PAUSED and _resume(vdi_uuid, tapdisk):
                paused_since = None
                key_remover.start()
        if age > COMMAND_LIFETIME and not removes_key:
            # The command did not end as it should: no disk of a live command is paused for that long.
            removes_key = True
            key_remover.start()
        time.sleep(POLL if paused_since is not None or age <= COMMAND_LIFETIME else LATE_POLL)
    token.remove()


def _look(sr_uuid, vdi_uuid):
    """The disk's tapdisk; None if the disk is not active here. Raises an error if that cannot be seen."""
    minor = minor_of(sr_uuid, vdi_uuid)
    return None if minor is None else blktap2.Tapdisk.get(minor=minor)


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
