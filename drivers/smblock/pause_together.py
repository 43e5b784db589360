"""Pauses disks at once, for snapshots of one instant: on each host by one call of its plugin."""

import json
import socket
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

from smblock import disks
from smblock.guard_request import DONE, RAN, resume
from smblock.hosts import CANNOT_BE_ASKED, call_plugins, failure_code
from smblock.sm import util
from smblock.tags import PAUSED, Tags, hosts_of

DEADLINE = 30  # seconds for a host to pause or resume its disks
NOT_DONE = "host %s did not %s VDI %s; /var/log/SMlog of the host has the reason: %s"


class DisksTogether:
    """The disks that one command has paused together."""

    def __init__(self, session, sr_uuid):
        self._get_session = session
        self._sr_uuid = sr_uuid
        self._guard = ""
        self._here = ""  # this host's reference
        self._hosts = {}  # the references of the hosts that have each disk active, by UUID
        self._tags = {}
        # When the pause was requested, and when it was done.
        self._began = self._paused = 0.0
        # Disks that a host could not be asked to pause in this way: it has an older smblock.
        self.left = []

    def __contains__(self, vdi_uuid):
        return vdi_uuid in self._hosts

    def pause(self, vdi_uuids):
        """Pauses the disks. Returns the error of each that is not paused, by UUID. Hosts without the function are left
        to the caller: `left` has their disks, which are not paused."""
        self._guard = str(uuid.uuid4())  # an earlier guard of this command may not have ended yet
        self._here = util.get_this_host_ref(self._get_session())
        for vdi_uuid, (vdi_ref, sm_config) in self._sm_configs(vdi_uuids).items():
            tags = self._tags[vdi_uuid] = Tags(self._get_session(), vdi_ref)
            # The key is a leftover, since the core runs one operation on a disk at a time.
            tags.drop(PAUSED, sm_config)
            # From here on no host can activate the disk. One may have done so just before.
            tags.add(PAUSED, "true")
        for vdi_uuid, (_, sm_config) in self._sm_configs(vdi_uuids).items():
            self._hosts[vdi_uuid] = hosts_of(sm_config)
        errors, left, unable = {}, set(), set()
        self._began = time.monotonic()
        for host_ref, done in self._ask("pause_disks", vdi_uuids).items():
            if done is None:
                unable.add(host_ref)
                left.update(vdi_uuid for vdi_uuid in vdi_uuids if host_ref in self._hosts[vdi_uuid])
                continue
            for vdi_uuid, result in done.items():
                if result != DONE:
                    errors[vdi_uuid] = self._error("pause", vdi_uuid, result)
        self._paused = time.monotonic()
        self.left = [vdi_uuid for vdi_uuid in vdi_uuids if vdi_uuid in left]
        self._ask("resume_disks", self.left, unable)  # another host of the disk may have paused it
        for vdi_uuid in self.left:
            self._forget(vdi_uuid)
            errors.pop(vdi_uuid, None)
        return errors

    def resume(self, vdi_uuids):
        """Resumes the disks. Returns by UUID whether it was paused until this call, and its error, or None.

        A guard may have resumed a disk since this call. Then it was paused for longer than all that was done before
        this call, with the call for its pause. Durations are compared, no clocks of different hosts.
        """
        if not vdi_uuids:
            return {}
        resuming = time.monotonic()
        needed = resuming - self._began
        results = dict.fromkeys(vdi_uuids, (True, None))
        for done in self._ask("resume_disks", vdi_uuids).values():
            for vdi_uuid in vdi_uuids if done is None else done:
                result = "no reply" if done is None else done[vdi_uuid]
                if result.startswith(RAN):
                    was_paused, error = results[vdi_uuid]  # perhaps the error of another host
                    results[vdi_uuid] = (was_paused and float(result[len(RAN) :]) >= needed, error)
                elif result != DONE:
                    results[vdi_uuid] = (False, self._error("resume", vdi_uuid, result))
        self._log_pause(vdi_uuids, resuming)
        for vdi_uuid, (_, error) in results.items():
            if error is None:
                self._forget(vdi_uuid)
        return results

    def _log_pause(self, vdi_uuids, resuming):
        now = time.monotonic()
        parts = (now - self._began, self._paused - self._began, resuming - self._paused, now - resuming)
        text = "paused for at most %.3f s: %.3f s until all were paused, %.3f s for snapshots, %.3f s until all ran"
        util.SMlog("VDIs %s: %s" % (", ".join(vdi_uuids), text % parts))

    def _sm_configs(self, vdi_uuids):
        """Returns XAPI's reference to each VDI and its sm_config, by UUID, by one call."""
        query = " or ".join('(field "uuid" = "%s")' % vdi_uuid for vdi_uuid in vdi_uuids)
        found = self._get_session().xenapi.VDI.get_all_records_where(query)
        return {vdi["uuid"]: (vdi_ref, vdi["sm_config"]) for vdi_ref, vdi in found.items()}

    def _ask(self, function, vdi_uuids, but=()):
        """Calls a function of each host, `but` some, that has any of the disks active. Returns its results by UUID, by
        host. None for a host that has no such function, or that XAPI cannot ask."""
        session = self._get_session()
        wanted = {}
        for vdi_uuid in vdi_uuids:
            for host_ref in set(self._hosts[vdi_uuid]).difference(but):
                wanted.setdefault(host_ref, []).append(vdi_uuid)
        if not wanted:
            return {}

        def args_of(host_ref):
            return {"sr": self._sr_uuid, "vdis": ",".join(wanted[host_ref]), "guard": self._guard}

        results = {}
        with ThreadPoolExecutor(1) as beside:
            here = beside.submit(self._ask_here, function, wanted[self._here]) if self._here in wanted else None
            others = sorted(set(wanted) - {self._here})
            replies = call_plugins(session, others, function, DEADLINE, args_of)
        if here is not None:
            results[self._here] = here.result()
        for host_ref, (reply, error) in replies.items():
            if error is None:
                results[host_ref] = json.loads(reply)
            elif failure_code(error) in CANNOT_BE_ASKED:
                util.SMlog("host %s: plugin smblock %s: %s" % (host_ref, function, error))
                results[host_ref] = None
            else:
                silent = isinstance(error, socket.timeout)
                reason = "no reply within %d s" % DEADLINE if silent else str(error) or repr(error)
                results[host_ref] = dict.fromkeys(wanted[host_ref], reason)
        return results

    def _ask_here(self, function, vdi_uuids):
        """The same on this host, without its plugin."""
        try:
            if function == "pause_disks":
                return disks.pause(self._sr_uuid, vdi_uuids, self._guard, has_threads=True)
            return resume(self._sr_uuid, vdi_uuids, self._guard)
        except Exception as error:
            util.logException("%s of VDIs %s" % (function, ", ".join(vdi_uuids)))
            return dict.fromkeys(vdi_uuids, str(error) or repr(error))

    def _forget(self, vdi_uuid):
        self._tags[vdi_uuid].remove(PAUSED)
        del self._hosts[vdi_uuid], self._tags[vdi_uuid]

    def _error(self, what, vdi_uuid, reason):
        host = self._get_session().xenapi.host
        hosts = " or ".join(host.get_uuid(host_ref) for host_ref in self._hosts[vdi_uuid])
        error = NOT_DONE % (hosts, what, vdi_uuid, reason)
        util.SMlog(error)
        return error
