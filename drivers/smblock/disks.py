"""Pauses and resumes disks of this host at once, for their snapshots.

The disks are paused for as long as this takes. So their guard does it: before the first pause it has SM's modules and
the list of tapdisks. Nothing starts while disks are paused but tap-ctl: once for each disk, and for a tapdisk that does
not return from its pause. The command asks the guard through its socket (guard_request.py): on another host, by the
plugin of that host.
"""

import contextlib
import json
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from smblock.guard import IS_PAUSED, PAUSE_REQUESTED, Token, all_tapdisks, guard_all, link_of, start_process_of
from smblock.guard_request import DONE, RAN, READY_SECONDS, ask, path_of
from smblock.local import vdi_lock
from smblock.sm import blktap2, util

LOCK_SECONDS = 10  # the wait for SM's lock of a VDI: an activation or a deactivation may hold it
LOCKED = "another process of this host has held SM's lock of the VDI for %d s" % LOCK_SECONDS
TAP_CTL = "/usr/sbin/tap-ctl"  # as in SM's blktap2
WAKE_SECONDS = 0.05  # much longer than the pause of a disk without requests takes
ASKED_SECONDS = 5  # for a process that has connected to send its request


def pause(sr_uuid, vdi_uuids, name, has_threads=False):
    """Starts a guard for the disks, which pauses them. Returns DONE or an error by UUID. `has_threads`: whether this
    process has used the core. Without a guard no disk is paused: nothing would resume it if the command's host died."""
    work = None if has_threads else lambda: serve(sr_uuid, vdi_uuids, name)
    start_process_of("disks", sr_uuid, vdi_uuids, name, work)
    done = ask(name, "pause", READY_SECONDS)
    if done is not None:
        return done
    for vdi_uuid in vdi_uuids:
        Token(vdi_uuid, name).remove()  # a guard that starts now ends at once
    text = "the guard of the pause has not started in %s s: nothing was paused" % READY_SECONDS
    util.SMlog("guard %s: %s: %s" % (name, text, ", ".join(vdi_uuids)))
    return dict.fromkeys(vdi_uuids, text)


class Disks:
    """Disks of this host, and their tapdisks as they are now."""

    def __init__(self, sr_uuid, vdi_uuids, name):
        self._sr_uuid, self._vdi_uuids, self._name = sr_uuid, vdi_uuids, name
        # Before the first pause. tap-ctl asks all tapdisks of the host for it.
        self._tapdisks = all_tapdisks()
        self._paused_at = 0.0

    def pause(self):
        """Pauses the disks. Returns DONE or an error by UUID."""
        self._paused_at = time.monotonic()

        def act(_, tapdisk):
            waker.pids.add(tapdisk.pid)
            try:
                # Not by SM's object of a tapdisk, which lists all of them again.
                blktap2.TapCtl.pause(tapdisk.pid, tapdisk.minor)
            finally:
                waker.pids.discard(tapdisk.pid)
            return DONE

        with Waker() as waker:
            return self._each("paused", act)

    def resume(self):
        """Resumes the disks. Returns DONE, RAN with seconds, or an error by UUID."""

        def act(vdi_uuid, tapdisk):
            try:
                blktap2.TapCtl.unpause(tapdisk.pid, tapdisk.minor, tapdisk.type, tapdisk.path)
            except blktap2.TapCtl.CommandFailure:
                found = all_tapdisks().get(tapdisk.minor)
                if found is None or found.state & (PAUSE_REQUESTED | IS_PAUSED):
                    raise
                return RAN + str(Token(vdi_uuid, self._name).paused_for())
            return DONE

        return self._each("resumed", act)

    def resume_and_release(self):
        """As `resume`. The guards of the resumed disks end."""
        done = self.resume()
        self.release(done)
        return done

    def release(self, resumed):
        """Ends the guards of the disks that `resume` has resumed."""
        for vdi_uuid, result in resumed.items():
            if result == DONE or result.startswith(RAN):
                Token(vdi_uuid, self._name).remove()

    def _each(self, what, act):
        """Calls `act` with each disk and its tapdisk, at once, under SM's locks of the disks. Returns the results."""
        began = time.monotonic()
        done = dict.fromkeys(self._vdi_uuids, DONE)  # also of a disk that is not active here
        with contextlib.ExitStack() as locks:
            links = {}
            for vdi_uuid in sorted(self._vdi_uuids):  # in the same order by each process that takes several locks
                if not locks.enter_context(vdi_lock(vdi_uuid, LOCK_SECONDS)):
                    done[vdi_uuid] = LOCKED
                    continue
                link = link_of(self._sr_uuid, vdi_uuid)
                if link is not None:
                    links[vdi_uuid] = link

            def result_of(vdi_uuid):
                try:
                    return act(vdi_uuid, self._tapdisk(*links[vdi_uuid]))
                except Exception as error:
                    util.logException("VDI %s" % vdi_uuid)
                    return str(error) or repr(error)

            with ThreadPoolExecutor(len(self._vdi_uuids)) as threads:
                done.update(zip(links, threads.map(result_of, links)))
        now = time.monotonic()
        took, since = now - began, now - self._paused_at
        util.SMlog("guard %s: %s in %.3f s, %.3f s after the first pause: %s" % (self._name, what, took, since, done))
        return done

    def _tapdisk(self, pid, minor):
        found = self._tapdisks.get(minor)
        if found is None or found.pid != pid:
            found = all_tapdisks().get(minor)  # it has started since
        if found is None:
            raise blktap2.TapdiskNotRunning(minor=minor)
        return found


class Waker:
    """Sends a message to tapdisks that do not return from a pause.

    While requests are under way, tapdisk tries again to pause, at most every 10 ms, and waits for an event in
    between. If the last request ends within these 10 ms, no event is left: tapdisk waits, with the disk paused, until
    the next one, for up to 600 s (blktap v4.0.8: tapdisk_control_pause_vbd, SCHEDULER_MAX_TIMEOUT). Any message is one.
    """

    def __init__(self):
        self.pids = set()  # of the tapdisks whose pauses have not returned
        self._ended = threading.Event()

    def __enter__(self):
        threading.Thread(target=self._run, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._ended.set()

    def _run(self):
        delay = WAKE_SECONDS
        while not self._ended.wait(delay):
            pids = tuple(self.pids)
            # The processors are for tapdisks that are only slow. Before the first pause, the wait is for SM's locks.
            delay = 2 * delay if pids else WAKE_SECONDS
            for pid in pids:
                wake(pid)


def wake(pid):
    """Sends a message to a tapdisk. Waits up to a second for the reply: a tapdisk without one delays no other."""
    command = [TAP_CTL, "list", "-p", str(pid)]  # SM's function for it tries again and again
    try:
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=1, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        util.SMlog("tapdisk %d, which does not return from a pause: %s" % (pid, error))


def serve(sr_uuid, vdi_uuids, name):
    """Guards the disks, and does what it is asked for, until they are resumed."""
    path = path_of(name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        try:
            disks = Disks(sr_uuid, vdi_uuids, name)
            listener.bind(path)
            listener.listen(4)
            threading.Thread(target=_serve, args=(listener, disks), daemon=True).start()
        except Exception:
            util.logException("guard %s cannot be asked" % name)
        try:
            guard_all(sr_uuid, vdi_uuids, name)
        finally:
            util.force_unlink(path)


def _serve(listener, disks):
    methods = {"pause": disks.pause, "resume": disks.resume}
    while True:
        try:
            asked, _ = listener.accept()
        except OSError:
            return  # the guard has ended
        resumed = {}
        with asked:
            try:
                asked.settimeout(ASKED_SECONDS)
                with asked.makefile("rb") as reader:
                    what = reader.readline().strip().decode()
                done = methods[what]()
                resumed = done if what == "resume" else {}
                asked.sendall(json.dumps(done).encode())
                asked.shutdown(socket.SHUT_WR)
            except Exception:
                util.logException("a guard's socket")
        disks.release(resumed)  # from here on this process may end
