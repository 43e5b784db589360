"""Pauses and resumes several disks of this host at once, for the snapshots of a VM's disks.

SM's plugin tapdisk-pause does one disk in each call, and each call starts a process: the disks of a VM would be paused
for as long as all of these take. tap-ctl lists all tapdisks of the host, also if one is asked for: it is called once.
"""

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor

from smblock.guard import IS_PAUSED, PAUSE_REQUESTED, Token, all_tapdisks, minor_of, start_guard
from smblock.local import vdi_lock
from smblock.pause_together import DONE, RAN
from smblock.sm import blktap2, util

LOCK_SECONDS = 10  # the wait for SM's lock of a VDI: an activation or a deactivation may hold it
LOCKED = "another process of this host has held SM's lock of the VDI for %d s" % LOCK_SECONDS


def pause(sr_uuid, vdi_uuids, guard_name):
    """Starts a guard for the disks, and pauses them. Returns DONE or an error by UUID."""
    start_guard(sr_uuid, vdi_uuids, guard_name)

    def act(_, tapdisk):
        tapdisk.pause()
        return DONE

    return _each(sr_uuid, vdi_uuids, act)


def resume(sr_uuid, vdi_uuids, guard_name):
    """Resumes the disks. Returns DONE, RAN with seconds, or an error by UUID. The guard of a resumed disk ends."""

    def act(vdi_uuid, tapdisk):
        if not tapdisk.state & (PAUSE_REQUESTED | IS_PAUSED):
            return RAN + str(Token(vdi_uuid, guard_name).paused_for())
        tapdisk.unpause()
        return DONE

    done = _each(sr_uuid, vdi_uuids, act)
    for vdi_uuid, result in done.items():
        if result == DONE or result.startswith(RAN):
            Token(vdi_uuid, guard_name).remove()
    return done


def _each(sr_uuid, vdi_uuids, act):
    """Calls `act` with each disk and its tapdisk, at once, under SM's locks of the disks. Returns the results."""
    began = time.monotonic()
    done = dict.fromkeys(vdi_uuids, DONE)  # also of a disk that is not active here
    with contextlib.ExitStack() as locks:
        minors = {}
        for vdi_uuid in sorted(vdi_uuids):  # in the same order by each process that takes several locks
            if not locks.enter_context(vdi_lock(vdi_uuid, LOCK_SECONDS)):
                done[vdi_uuid] = LOCKED
            elif minor_of(sr_uuid, vdi_uuid) is not None:
                minors[vdi_uuid] = minor_of(sr_uuid, vdi_uuid)
        tapdisks = all_tapdisks() if minors else {}

        def result_of(vdi_uuid):
            try:
                if minors[vdi_uuid] not in tapdisks:
                    raise blktap2.TapdiskNotRunning(minor=minors[vdi_uuid])
                return act(vdi_uuid, tapdisks[minors[vdi_uuid]])
            except Exception as error:
                util.logException("VDI %s" % vdi_uuid)
                return str(error) or repr(error)

        with ThreadPoolExecutor(len(vdi_uuids)) as threads:
            done.update(zip(minors, threads.map(result_of, minors)))
    util.SMlog("plugin: %d disks in %.2f s: %s" % (len(done), time.monotonic() - began, done))
    return done
