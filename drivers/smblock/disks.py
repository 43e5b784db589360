"""Pauses and resumes several disks of this host at once, for the snapshots of a VM's disks.

SM's plugin tapdisk-pause does one disk in each call, and each call starts a process: the disks of a VM would be paused
for as long as all of these take.
"""

import time
from concurrent.futures import ThreadPoolExecutor

from smblock.guard import IS_PAUSED, PAUSE_REQUESTED, Token, minor_of, start_guard
from smblock.local import vdi_lock
from smblock.pause_together import DONE, RAN
from smblock.sm import blktap2, util

LOCK_SECONDS = 10  # the wait for SM's lock of a VDI: an activation or a deactivation may hold it


def pause(sr_uuid, vdi_uuids, guard_name):
    """Starts a guard for the disks, and pauses them. Returns DONE or an error by UUID."""
    start_guard(sr_uuid, vdi_uuids, guard_name)
    return _each(vdi_uuids, lambda vdi_uuid: _pause(sr_uuid, vdi_uuid))


def resume(sr_uuid, vdi_uuids, guard_name):
    """Resumes the disks. Returns DONE, RAN with seconds, or an error by UUID. The guard of a resumed disk ends."""
    done = _each(vdi_uuids, lambda vdi_uuid: _resume(sr_uuid, vdi_uuid, Token(vdi_uuid, guard_name)))
    for vdi_uuid, result in done.items():
        if result == DONE or result.startswith(RAN):
            Token(vdi_uuid, guard_name).remove()
    return done


def _each(vdi_uuids, act):
    began = time.monotonic()

    def result_of(vdi_uuid):
        try:
            with vdi_lock(vdi_uuid, LOCK_SECONDS) as locked:
                if not locked:
                    return "another process of this host holds SM's lock of the VDI for %d s" % LOCK_SECONDS
                return act(vdi_uuid)
        except Exception as error:
            util.logException("VDI %s" % vdi_uuid)
            return str(error) or repr(error)

    with ThreadPoolExecutor(len(vdi_uuids)) as threads:
        done = dict(zip(vdi_uuids, threads.map(result_of, vdi_uuids)))
    util.SMlog("plugin: %d disks in %.2f s: %s" % (len(done), time.monotonic() - began, done))
    return done


def _pause(sr_uuid, vdi_uuid):
    tapdisk = _tapdisk(sr_uuid, vdi_uuid)
    if tapdisk is not None:
        tapdisk.pause()
    return DONE


def _resume(sr_uuid, vdi_uuid, token):
    tapdisk = _tapdisk(sr_uuid, vdi_uuid)
    if tapdisk is None:
        return DONE
    if not tapdisk.state & (PAUSE_REQUESTED | IS_PAUSED):
        return RAN + str(token.paused_for())
    tapdisk.unpause()
    return DONE


def _tapdisk(sr_uuid, vdi_uuid):
    """Returns the disk's tapdisk. None if the disk is not active here."""
    minor = minor_of(sr_uuid, vdi_uuid)
    return None if minor is None else blktap2.Tapdisk.get(minor=minor)
