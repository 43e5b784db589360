"""Pauses the disks of a VM at once, for snapshots of one instant: on each host by one call of its plugin."""

import json
import time
import uuid

from smblock.hosts import CANNOT_BE_ASKED, call_plugins, failure_code
from smblock.sm import util
from smblock.tags import PAUSED, Tags, hosts_of

# What a host replies about a disk: done; it runs, and for how many seconds it was paused. Any other reply is an error.
DONE, RAN = "", "ran "
DEADLINE = 30  # seconds for a host to pause or resume its disks
NOT_DONE = "host %s did not %s VDI %s; /var/log/SMlog of the host has the reason: %s"


class DisksTogether:
    """The disks that one command has paused together."""

    def __init__(self, session, sr_uuid):
        self._get_session = session
        self._sr_uuid = sr_uuid
        self._guard = str(uuid.uuid4())
        self._hosts = {}  # the references of the hosts that have each disk active, by UUID
        self._tags = {}
        self._began = 0.0
        # Disks that a host could not be asked to pause in this way: it has an older smblock.
        self.left = []

    def __contains__(self, vdi_uuid):
        return vdi_uuid in self._hosts

    def pause(self, vdi_uuids):
        """Pauses the disks. Returns the error of each that is not paused, by UUID. Hosts without the function are left
        to the caller: `left` has their disks, which are not paused."""
        vdi = self._get_session().xenapi.VDI
        for vdi_uuid in vdi_uuids:
            tags = self._tags[vdi_uuid] = Tags(self._get_session(), vdi.get_by_uuid(vdi_uuid))
            # The key is a leftover, since the core runs one operation on a disk at a time.
            tags.drop(PAUSED, tags.read())
            # From here on no host can activate the disk. One may have done so just before.
            tags.add(PAUSED, "true")
            self._hosts[vdi_uuid] = hosts_of(tags.read())
        errors = {}
        self._began = time.monotonic()
        for host_ref, done in self._ask("pause_disks", vdi_uuids).items():
            if done is None:
                self.left += [vdi_uuid for vdi_uuid in vdi_uuids if host_ref in self._hosts[vdi_uuid]]
                continue
            for vdi_uuid, result in done.items():
                if result != DONE:
                    errors[vdi_uuid] = self._error("pause", vdi_uuid, result)
        for vdi_uuid in self.left:
            self._forget(vdi_uuid)
            errors.pop(vdi_uuid, None)
        return errors

    def resume(self, vdi_uuids):
        """Resumes the disks. Returns by UUID whether it was paused until this call, and its error, or None.

        A guard may have resumed a disk since this call. Then it was paused for longer than all that was done before
        this call, with the call for its pause. Durations are compared, no clocks of different hosts.
        """
        needed = time.monotonic() - self._began
        results = dict.fromkeys(vdi_uuids, (True, None))
        for done in self._ask("resume_disks", vdi_uuids).values():
            for vdi_uuid in vdi_uuids if done is None else done:
                result = "no reply" if done is None else done[vdi_uuid]
                if result.startswith(RAN):
                    was_paused, error = results[vdi_uuid]  # perhaps the error of another host
                    results[vdi_uuid] = (was_paused and float(result[len(RAN) :]) >= needed, error)
                elif result != DONE:
                    results[vdi_uuid] = (False, self._error("resume", vdi_uuid, result))
        for vdi_uuid, (_, error) in results.items():
            if error is None:
                self._forget(vdi_uuid)
        return results

    def _ask(self, function, vdi_uuids):
        """Calls a function of each host that has any of the disks active. Returns its results by UUID, by host. None
        for a host that has no such function, or that XAPI cannot ask."""
        session = self._get_session()
        wanted = {}
        for vdi_uuid in vdi_uuids:
            for host_ref in self._hosts[vdi_uuid]:
                wanted.setdefault(host_ref, []).append(vdi_uuid)
        if not wanted:
            return {}

        def args_of(host_ref):
            return {"sr": self._sr_uuid, "vdis": ",".join(wanted[host_ref]), "guard": self._guard}

        results = {}
        for host_ref, (reply, error) in call_plugins(session, sorted(wanted), function, DEADLINE, args_of).items():
            if error is None:
                results[host_ref] = json.loads(reply)
            elif failure_code(error) in CANNOT_BE_ASKED:
                util.SMlog("host %s: plugin smblock %s: %s" % (host_ref, function, error))
                results[host_ref] = None
            else:
                results[host_ref] = dict.fromkeys(wanted[host_ref], str(error) or repr(error))
        return results

    def _forget(self, vdi_uuid):
        self._tags[vdi_uuid].remove(PAUSED)
        del self._hosts[vdi_uuid], self._tags[vdi_uuid]

    def _error(self, what, vdi_uuid, reason):
        host = self._get_session().xenapi.host
        hosts = " or ".join(host.get_uuid(host_ref) for host_ref in self._hosts[vdi_uuid])
        error = NOT_DONE % (hosts, what, vdi_uuid, reason)
        util.SMlog(error)
        return error
