"""Pauses the I/O of disks for a snapshot, on the hosts of the pool that run them.

Before that, a guard is started on each of these hosts, and a supervisor on this host (guard.py, supervisor.py). They
resume the disks if this process dies. A host with smblock 0.1 has no guard that pauses disks (pause_together.py): there
SM's plugin tapdisk-pause pauses each disk.
"""

import time
import uuid

from smblock import supervisor_start
from smblock.alarms import Alarms
from smblock.hosts import Hosts, bounded, call_plugin, is_task_over
from smblock.pause_together import DisksTogether
from smblock.sm import blktap2, fist_point, util
from smblock.tags import PAUSED, Tags, hosts_of

GUARD_DEADLINE = 20  # seconds for a host to start or end a guard
# Seconds for a host to pause or unpause a disk. SM has no deadline, xapi one of many minutes. A tapdisk whose
# I/O is stuck does not reply.
PAUSE_DEADLINE = 30


TIMED_OUT = "tapdisk-pause did not %s VDI %s within %d s; /var/log/SMlog of host %s has the reason"
FAILED = "tapdisk-pause failed to %s VDI %s; /var/log/SMlog of host %s has the reason"


class CephXapi(Hosts, Alarms):
    """Calls of XAPI and SM, for the core."""

    def __init__(self, session, sr_uuid):
        super().__init__(session, sr_uuid)
        self._guards = Guards(session, sr_uuid)
        self._together = DisksTogether(session, sr_uuid)
        self._supervisors = []
        # Disks with an unfinished call: its pause can arrive after this command.
        self._unsettled = set()
        self._timed_out = False

    def pause(self, *vdi_uuids):
        """Pauses the I/O of disks at once, on each host that runs them. Returns the error of each disk, or None."""
        paused = self._pause_together(vdi_uuids)
        fist_point("vdi_snapshot_paused")
        return paused

    def _pause_together(self, vdi_uuids):
        self._supervisors.append(supervisor_start.start(self._sr_uuid, vdi_uuids))
        try:
            errors = self._together.pause(vdi_uuids)
        except Exception as error:
            util.logException("pausing VDIs %s" % ", ".join(vdi_uuids))
            return [str(error) or repr(error)] * len(vdi_uuids)
        for vdi_uuid in self._together.left:
            errors[vdi_uuid] = _error_of(self._pause, vdi_uuid)
        return [errors.get(vdi_uuid) for vdi_uuid in vdi_uuids]

    def _pause(self, vdi_uuid):
        """Pauses a disk by SM, which starts the plugin tapdisk-pause on each host that has the disk active."""
        vdi = self._session.xenapi.VDI
        tags = Tags(self._session, vdi.get_by_uuid(vdi_uuid))
        found = tags.read()
        # The key is a leftover, since the core runs one operation on a disk at a time. SM would fail at it.
        tags.drop(PAUSED, found)
        self._guards.start(vdi_uuid, found)
        if not self._ask_hosts(blktap2.VDI.tap_pause, vdi_uuid):
            raise self._not_done("pause", vdi_uuid, found)
        # From here on no host can activate the disk. One may have done so just before.
        self._guards.start(vdi_uuid, tags.read())

    def unpause(self, *vdi_uuids):
        """Resumes the I/O of disks, also of those that are not paused. Returns for each disk whether it was still
        paused, and its error, or None."""
        fist_point("vdi_snapshot_taken")
        done = {}
        try:
            done = self._together.resume([vdi_uuid for vdi_uuid in vdi_uuids if vdi_uuid in self._together])
        except Exception:
            util.logException("resuming VDIs %s" % ", ".join(vdi_uuids))
        return [self._resumed(vdi_uuid, *done.get(vdi_uuid, (False, "not tried"))) for vdi_uuid in vdi_uuids]

    def _resumed(self, vdi_uuid, was_paused, error):
        if error is None:
            return was_paused, None
        try:
            return self._unpause(vdi_uuid), None
        except Exception as failure:
            return False, str(failure) or repr(failure)

    def _unpause(self, vdi_uuid):
        """Returns whether the disk was paused."""
        was_paused = self._ask_hosts(blktap2.VDI.tap_unpause, vdi_uuid)
        if not was_paused:
            self._unpause_running(vdi_uuid)
        if vdi_uuid not in self._unsettled:
            self._guards.end(vdi_uuid)
        return was_paused

    def _unpause_running(self, vdi_uuid):
        """Checks a disk that SM did not unpause: SM fails to unpause a running tapdisk, but can refresh it."""
        vdi = self._session.xenapi.VDI
        vdi_ref = vdi.get_by_uuid(vdi_uuid)
        # A refresh pauses and unpauses. If this command dies in between, a guard resumes the disk.
        found = Tags(self._session, vdi_ref).read()
        self._guards.start(vdi_uuid, found)
        if not self._ask_hosts(blktap2.VDI.tap_refresh, vdi_uuid):
            raise self._not_done("unpause", vdi_uuid, found)
        vdi.remove_from_sm_config(vdi_ref, PAUSED)

    def _ask_hosts(self, function, vdi_uuid):
        """Calls a function of SM for each host that runs the disk. Returns whether all succeeded in time."""
        pauses = function != blktap2.VDI.tap_unpause and vdi_uuid not in self._unsettled
        if pauses:
            self._unsettled.add(vdi_uuid)  # also if the function raises an error
        began = time.monotonic()
        with bounded(self._session, PAUSE_DEADLINE) as session:
            done = function(session, self._sr_uuid, vdi_uuid)
        # SM logs the failure of a host, and returns False.
        self._timed_out = time.monotonic() - began >= PAUSE_DEADLINE
        if done and pauses:
            self._unsettled.discard(vdi_uuid)
        return done

    def _not_done(self, what, vdi_uuid, tags):
        """Returns the error of the last call of `_ask_hosts`."""
        host = self._session.xenapi.host
        hosts = " or ".join(host.get_uuid(host_ref) for host_ref in hosts_of(tags))
        if self._timed_out:
            return util.SMException(TIMED_OUT % (what, vdi_uuid, PAUSE_DEADLINE, hosts))
        return util.SMException(FAILED % (what, vdi_uuid, hosts))

    def is_task_over(self, task):
        return is_task_over(self._session, task)

    def command_succeeded(self):
        """Ends the supervisors."""
        for token in self._supervisors:
            token.remove()


def _error_of(call, vdi_uuid):
    """Returns the text of the error that a call raises, or None."""
    try:
        call(vdi_uuid)
    except Exception as error:
        return str(error) or repr(error)
    return None


class Guards:
    """The guards of one command."""

    def __init__(self, session, sr_uuid):
        self._get_session = session
        self._sr_uuid = sr_uuid
        self._name = str(uuid.uuid4())
        self._hosts = {}  # by VDI

    def start(self, vdi_uuid, tags):
        """Starts a guard on each host that has the VDI active and no guard of this command for it yet."""
        started = self._hosts.setdefault(vdi_uuid, set())
        for host_ref in set(hosts_of(tags)) - started:
            if self._call(host_ref, "guard_pause", vdi_uuid):
                started.add(host_ref)

    def end(self, vdi_uuid):
        for host_ref in self._hosts.pop(vdi_uuid, ()):
            self._call(host_ref, "end_guard", vdi_uuid)

    def _call(self, host_ref, function, vdi_uuid):
        args = {"sr": self._sr_uuid, "vdi": vdi_uuid, "guard": self._name}
        try:
            if call_plugin(self._get_session(), host_ref, function, args, GUARD_DEADLINE) is not None:
                return True
            why = "install the same version of smblock on all hosts"
        except Exception as error:
            why = str(error)
        util.SMlog("warning: VDI %s: host %s: %s failed: %s" % (vdi_uuid, host_ref, function, why))
        return False
