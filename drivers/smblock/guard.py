"""Resumes a disk that a snapshot has paused, if the snapshot's command dies.

Two processes do so. Neither is a child of xapi's.

A *guard* runs on the host that runs the disk. It checks the disk's tapdisk: if it is paused for longer than
a snapshot takes, the guard resumes it with tap-ctl, as SM's plugin tapdisk-pause does. That needs neither
XAPI nor the cluster, so it works also if the host of the command is dead. The guard stays after that, for a
pause that arrives late. It ends when the command has resumed the disk, or after its lifetime.

Guards of several commands can watch one disk. An older guard gives each later command its own time, and
leaves the key `paused` to it.

A *supervisor* (supervisor.py) runs on the host of the command.
"""

import contextlib
import os
import socket
import subprocess
import threading
import time
import uuid

from smblock import detached
from smblock.guard_request import DIRECTORY
from smblock.hosts import LocalSession, failure_code
from smblock.local import TAPDISK_SOCKET
from smblock.sm import blktap2, util
from smblock.tags import PAUSED

PROGRAM = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "smblock-guard")
SUPERVISOR = "command-"  # and the command's pid: the name of a supervisor's token

COMMAND_LIFETIME = 180  # seconds in which a command that pauses a disk ends
# Seconds in which xapi's call for a pause can arrive. Linux ends a TCP connection without a reply after 15 to
# 30 minutes (net.ipv4.tcp_retries2).
LIFETIME = 1800
PATIENCE = 4  # seconds that a snapshot may have a disk paused
POLL = 0.5
LATE_POLL = 5  # seconds, for a disk that runs, after COMMAND_LIFETIME
STALL = 30  # seconds between two checks: this host, and a call for a pause on it, did not run meanwhile
# XAPI may be down: the host of the command may have been the pool's master.
XAPI_LIFETIME = 600
XAPI_POLL = 5
XAPI_TIMEOUT = 30

# Bits of tap-ctl's state: a pause was requested; tapdisk is paused.
PAUSE_REQUESTED, IS_PAUSED = 0x10, 0x20


class Token:
    """A file that exists while a guard or a supervisor is needed."""

    def __init__(self, vdi_uuid, name):
        self.path = os.path.join(DIRECTORY, "%s.%s" % (vdi_uuid, name))

    def put(self):
        os.makedirs(DIRECTORY, mode=0o700, exist_ok=True)
        with open(self.path, "w"):
            pass

    def note_resume(self, seconds):
        """Writes how long the disk was paused when the guard resumed it."""
        with contextlib.suppress(FileNotFoundError), open(self.path, "r+") as file:
            file.write("%f" % seconds)

    def paused_for(self):
        """Returns for how many seconds at least the disk was paused when the guard resumed it. 0 if that is unknown."""
        try:
            with open(self.path) as file:
                return float(file.read() or 0)
        except (FileNotFoundError, ValueError):
            return 0.0

    def is_there(self):
        return os.path.exists(self.path)

    def guards(self):
        """Returns the file names of the tokens of all guards of the disk."""
        vdi = os.path.basename(self.path).partition(".")[0] + "."
        names = [name for name in os.listdir(DIRECTORY) if name.startswith(vdi)]
        return [name for name in names if not name.startswith(vdi + SUPERVISOR)]

    def remove(self):
        util.force_unlink(self.path)


def start_guard(sr_uuid, vdi_uuid, name):
    """Starts a guard of a disk that SM's plugin pauses on this host. Does not wait until it runs."""
    start_process_of("disk", sr_uuid, [vdi_uuid], name, lambda: guard(sr_uuid, vdi_uuid, Token(vdi_uuid, name)))


def start_process_of(kind, sr_uuid, vdi_uuids, name, work):
    """Starts a guard process of a kind of supervisor.py, which does `work`. `work` is None if this process cannot be
    forked: it has used the core."""
    for vdi_uuid in vdi_uuids:
        Token(vdi_uuid, name).put()
    command = [PROGRAM, kind, sr_uuid, ",".join(vdi_uuids), name]
    if detached.HAS_SYSTEMD:
        try:
            detached.start_unit("smblock-guard-%s.service" % uuid.uuid4(), command)
            return
        except (OSError, subprocess.SubprocessError) as error:
            util.SMlog("guard: systemd did not start it (%s): starting it without systemd" % error)
    if work is None:
        detached.start_process(command)
    else:
        detached.fork_process(work)


class LaterCommands:
    """The commands on the same disk that began after the guard's own command."""

    def __init__(self, token):
        self._token = token
        self._first_seen = dict.fromkeys(token.guards(), float("-inf"))

    def notice(self):
        """Returns whether a command has begun since the last call."""
        new = [name for name in self._token.guards() if name not in self._first_seen]
        self._first_seen.update(dict.fromkeys(new, time.monotonic()))
        return bool(new)

    def may_run(self):
        """Returns whether one of them can still have the disk paused. A killed guard leaves its token."""
        now = time.monotonic()
        return any(now - self._first_seen.get(name, now) < COMMAND_LIFETIME for name in self._token.guards())


class KeyRemover:
    """Removes SM's key `paused`, because a disk with it cannot be unplugged."""

    def __init__(self, vdi_uuid, token, later):
        self._vdi_uuid, self._token, self._later = vdi_uuid, token, later
        self._thread = None

    def start(self):
        """Starts removing the key, unless it is being removed."""
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
                    util.SMlog("guard: VDI %s: cannot remove its key paused: %s" % (self._vdi_uuid, error))
                    return
            time.sleep(XAPI_POLL)

    def _remove(self):
        with LocalSession() as session:
            vdi = session.xenapi.VDI
            vdi.remove_from_sm_config(vdi.get_by_uuid(self._vdi_uuid), PAUSED)


def all_tapdisks():
    """Returns the tapdisks of this host, by their minor numbers."""
    return {tapdisk.minor: tapdisk for tapdisk in blktap2.Tapdisk.list()}


class Listing:
    """One list of all tapdisks for several guards. tap-ctl asks all tapdisks for it, also if it is to show one."""

    def __init__(self):
        self._lock = threading.Lock()
        self._tapdisks, self._listed_at = {}, float("-inf")

    def find(self, minor):
        with self._lock:
            if time.monotonic() - self._listed_at >= POLL:
                self._tapdisks = all_tapdisks()
                self._listed_at = time.monotonic()
            tapdisk = self._tapdisks.get(minor)
        if tapdisk is None:
            raise blktap2.TapdiskNotRunning(minor=minor)
        return tapdisk

    def forget(self):
        """Makes the next look a new one."""
        self._listed_at = float("-inf")

    def is_due(self, paused_for):
        """Returns whether a disk is to be looked at that was paused that long ago. The command with the disks paused
        has the processors. If it resumes them, and pauses them again, it has another guard."""
        return paused_for >= PATIENCE


class OneTapdisk:
    """Looks for one tapdisk."""

    def find(self, minor):
        return blktap2.Tapdisk.get(minor=minor)

    def forget(self):
        """Does nothing: each look is a new one."""

    def is_due(self, _):
        """Returns True: a command pauses and resumes its one disk several times under one guard."""
        return True


def guard_all(sr_uuid, vdi_uuids, name):
    """Watches the disks that one command pauses once, in one process."""
    look = Listing()
    threads = [threading.Thread(target=guard, args=(sr_uuid, each, Token(each, name), look)) for each in vdi_uuids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def guard(sr_uuid, vdi_uuid, token, tapdisks=None):
    """Watches the disk until the token is removed, or for LIFETIME."""
    tapdisks = tapdisks or OneTapdisk()
    later = LaterCommands(token)
    key_remover = KeyRemover(vdi_uuid, token, later)
    paused_since = None
    removes_key = False
    looked_at = time.monotonic()
    age = 0  # seconds that this host has run
    while token.is_there():
        now = time.monotonic()
        age += now - looked_at if now - looked_at < STALL else 0
        looked_at = now
        if later.notice():
            paused_since = None
        if paused_since is not None and not tapdisks.is_due(now - paused_since):
            time.sleep(POLL)
            continue
        try:
            tapdisk = _look(sr_uuid, vdi_uuid, tapdisks)
        except Exception as error:
            # Unknown whether paused: tap-ctl does not list a tapdisk that is silent for 10 s (TapdiskNotRunning).
            if not isinstance(error, blktap2.TapdiskNotRunning):
                util.SMlog("guard: VDI %s: cannot read the state of its tapdisk: %s" % (vdi_uuid, error))
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
                tapdisks.forget()
                token.note_resume(time.monotonic() - paused_since)
                paused_since = None
                key_remover.start()
        if age > COMMAND_LIFETIME and not removes_key:
            # The command has died: no live command has a disk paused for that long.
            removes_key = True
            key_remover.start()
        time.sleep(POLL if paused_since is not None or age <= COMMAND_LIFETIME else LATE_POLL)
    token.remove()


def _look(sr_uuid, vdi_uuid, tapdisks):
    """Returns the disk's tapdisk. None if the disk is not active here. Raises an error if its state is unknown."""
    minor = minor_of(sr_uuid, vdi_uuid)
    return None if minor is None else tapdisks.find(minor)


def minor_of(sr_uuid, vdi_uuid):
    """Returns the minor number of the tapdisk that SM's link names. None if the disk is not active here on tapdisk."""
    link = link_of(sr_uuid, vdi_uuid)
    return None if link is None else link[1]


def link_of(sr_uuid, vdi_uuid):
    """Returns the pid and the minor number of that tapdisk, or None."""
    path = blktap2.VDI.NBDLink.from_uuid(sr_uuid, vdi_uuid).path()
    try:
        found = TAPDISK_SOCKET.search(os.readlink(path))
    except FileNotFoundError:
        return None
    return (int(found.group(1)), int(found.group(2))) if found else None


def _resume(vdi_uuid, tapdisk):
    util.SMlog("guard: VDI %s is paused for %d s: resuming %s" % (vdi_uuid, PATIENCE, tapdisk))
    try:
        # Without SM's lock of the VDI: a plugin that waits for a dead XAPI may hold it.
        tapdisk.unpause()
    except Exception as error:
        util.SMlog("guard: VDI %s: cannot resume it: %s" % (vdi_uuid, error))
        return False
    return True
