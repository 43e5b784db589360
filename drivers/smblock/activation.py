"""Wraps SM's vdi_activate: removes leftovers of the VDI before it, and undoes it if it fails.

SM tags a VDI with each host that has it active, and has a plugin that checks whether a tag is stale. That
plugin supports only the SR types that SM ships. So stale tags are removed here, before SM reads them.
"""

import errno
import json
import os
import time

from smblock.hosts import NO_SUCH_HOST, RECONCILE, call_plugin, declared_dead, failure_code
from smblock.limits import limit_new
from smblock.local import LOCK_SECONDS, LocalVdi, Note, vdi_lock
from smblock.sm import Error, XenAPI, fist_point, util, xs_errors
from smblock.tags import ACTIVATING, HOST_TAG, PAUSED, Tags, hosts_of

# Seconds. SM tags a VDI with `activating`, then with its host, in two calls of XAPI.
TAG_SECONDS = 3
# SM refuses a second host only if this file is missing.
MULTIPLE_ATTACH = "/etc/xensource/allow_multiple_vdi_attach"


class Activation:
    """One vdi_activate on this host."""

    def __init__(self, sr, vdi_uuid, writable):
        self._sr = sr
        self._vdi_uuid = vdi_uuid
        self._writable = writable
        self._local = LocalVdi(sr.uuid, vdi_uuid)
        self._tags = Tags(sr.session, sr.srcmd.params["vdi_ref"])
        self._own_tag = HOST_TAG + sr.host_ref
        self._is_new = False

    def run(self, activate):
        with vdi_lock(self._vdi_uuid):
            self._prepare()
        try:
            result = activate()
            limit_new(self._sr, self._vdi_uuid)
            fist_point("vdi_activate_done")
        except BaseException as error:
            self._undo(error)
            refusal = self._lost_race(error)
            if refusal is not None:
                raise refusal from error
            raise
        if self._is_new:
            self._local.note.remove()
        return result

    def _prepare(self):
        """Removes what killed commands left of the VDI, here and on hosts that have tagged it."""
        tags = self._tags.read()
        in_use = False
        if self._own_tag in tags or self._local.has_traces():
            in_use = self._local.reconcile(self._sr.core)
            if not in_use:
                self._tags.drop(self._own_tag, tags)
        others = [tag for tag in tags if tag.startswith(HOST_TAG) and tag != self._own_tag]
        held = [tag for tag in others if not self._drop_if_stale(tag, tags)]
        if not held and not in_use:
            self._drop_marks(tags)
        self._is_new = not (in_use and self._is_in_proper_use())
        if self._is_new:
            self._local.note.write()

    def _is_in_proper_use(self):
        found = self._local.note.read()
        under_way = found is not None and found[0] != os.getpid() and not self._local.left_behind()
        return under_way or self._local.is_served()

    def _drop_if_stale(self, tag, tags):
        """Removes another host's tag if that host does not use the VDI. Returns whether the tag is gone."""
        shared = tags[tag] == "RO" and not self._writable
        host = OtherHost(self._sr, tag[len(HOST_TAG) :])
        if host.is_gone():
            util.SMlog("host %s is gone: removing its tag on VDI %s" % (host, self._vdi_uuid))
        else:
            in_use = host.uses(self._vdi_uuid)
            if in_use is None or in_use:
                if not (shared or os.path.exists(MULTIPLE_ATTACH)):
                    raise host.refusal(self._vdi_uuid, in_use)
                return False
            util.SMlog("host %s does not use VDI %s: removing its tag" % (host, self._vdi_uuid))
        self._tags.drop(tag, tags)
        return True

    def _drop_marks(self, tags):
        """Removes the keys `paused` and `activating`. The caller has found that no host has the VDI open."""
        if PAUSED in tags:
            util.SMlog("VDI %s is open on no host: removing the key paused" % self._vdi_uuid)
            self._tags.drop(PAUSED, tags)
        if ACTIVATING not in tags:
            return
        # Another host may have set the key just now, and is about to tag the VDI.
        tags = self._wait_for_tag()
        if ACTIVATING in tags and not hosts_of(tags):
            util.SMlog("VDI %s: no host is activating it: removing the key activating" % self._vdi_uuid)
            self._tags.drop(ACTIVATING, tags)

    def _wait_for_tag(self):
        """Waits until a host that is `activating` the VDI has tagged it. Returns the tags."""
        end = time.monotonic() + TAG_SECONDS
        tags = self._tags.read()
        while ACTIVATING in tags and not hosts_of(tags) and time.monotonic() < end:
            time.sleep(0.5)
            tags = self._tags.read()
        return tags

    def _undo(self, error):
        """Removes what this activation made. If that fails, the next command does it, because the note stays."""
        if not self._is_new:
            return
        if _timed_out(error):
            util.SMlog(
                "VDI %s: the cluster did not reply; the next command of this host undoes the activation"
                % self._vdi_uuid
            )
            return
        try:
            with vdi_lock(self._vdi_uuid):
                if not self._local.reconcile(self._sr.core, failed=True):
                    self._tags.drop(self._own_tag, self._tags.read())
                    self._local.note.remove()
        except Exception as another:
            util.logException("VDI %s: undoing an activation" % self._vdi_uuid)
            util.SMlog(
                "VDI %s: its activation failed (%s), and its rollback failed too: %s" % (self._vdi_uuid, error, another)
            )

    def _lost_race(self, error):
        """Returns an error that names the host, if another host has tagged the VDI since this activation read the
        tags. SM's own error has neither the host nor a remedy."""
        if not isinstance(error, (util.SMException, XenAPI.Failure)):
            return None
        try:
            for host_ref in hosts_of(self._wait_for_tag()):
                host = OtherHost(self._sr, host_ref)
                in_use = host_ref != self._sr.host_ref and host.uses(self._vdi_uuid)
                if in_use is None or in_use:
                    return host.refusal(self._vdi_uuid, in_use)
        except Exception:
            util.logException("VDI %s: looking for the host that has it" % self._vdi_uuid)
        return None


def _timed_out(error):
    """Returns whether the cluster did not reply in time. A rollback would wait for it in vain, too."""
    while error is not None:
        if isinstance(error, Error) and error.errno == errno.ETIMEDOUT:
            return True
        error = error.__cause__
    return False


class OtherHost:
    """A host that has tagged a VDI."""

    def __init__(self, sr, host_ref):
        self._sr = sr
        self._host_ref = host_ref
        try:
            self._uuid = sr.session.xenapi.host.get_uuid(host_ref)
        except Exception as error:
            if failure_code(error) not in NO_SUCH_HOST:
                raise
            self._uuid = None

    def __str__(self):
        return self._uuid or self._host_ref

    def is_gone(self):
        return self._uuid is None or declared_dead(self._sr.session, self._uuid)

    def uses(self, vdi_uuid):
        """Returns whether the host uses the VDI. None if it cannot be asked, or fails to find out."""
        args = {"sr": self._sr.uuid, "vdi": vdi_uuid}
        try:
            reply = call_plugin(self._sr.session, self._host_ref, RECONCILE, args)
        except Exception as error:
            if failure_code(error) != "XENAPI_PLUGIN_FAILURE":
                raise
            util.SMlog("VDI %s: host %s failed to find out whether it uses the VDI: %s" % (vdi_uuid, self, error))
            return None
        return None if reply is None else bool(json.loads(reply)["in_use"])

    def refusal(self, vdi_uuid, in_use):
        """Returns SM's error for a VDI that this host uses, or may use."""
        name = self._sr.session.xenapi.host.get_name_label(self._host_ref)
        what = "VDI %s %s in use on host %s (%s)" % (vdi_uuid, "is" if in_use else "may be", name, self._uuid)
        if in_use:
            # Not VDIInUse: xapi drops its text.
            return xs_errors.XenError("VDIUnavailable", opterr=what + ": detach it there")
        fix = "start that host and its toolstack, with smblock installed; or, if the host is certainly off, run: "
        fix += "xe host-declare-dead uuid=%s" % self._uuid
        return xs_errors.XenError("VDIUnavailable", opterr="%s, which does not reply: %s" % (what, fix))


def reconcile_killed(sr):
    """Removes what killed activations of this host left in an SR. After a failure the next command tries again."""
    if not sr.uuid:
        return  # sr_probe: there is no SR
    for vdi_uuid in Note.all(sr.uuid):
        local = LocalVdi(sr.uuid, vdi_uuid)
        if not local.left_behind():
            continue
        try:
            with vdi_lock(vdi_uuid, LOCK_SECONDS) as locked:
                # Read again: another command may have removed it.
                if locked and local.left_behind() and not local.reconcile(sr.core):
                    forget_tags(sr.session, sr.host_ref, vdi_uuid)
                    local.note.remove()
                    util.SMlog("VDI %s: removed what a killed activation left" % vdi_uuid)
        except Exception:
            util.logException("VDI %s: removing what a killed activation left" % vdi_uuid)
            return  # the next VDI would wait as long for a cluster that does not reply


def forget_tags(session, host_ref, vdi_uuid):
    """Removes SM's tags of a host that does not use the VDI."""
    try:
        tags = Tags(session, session.xenapi.VDI.get_by_uuid(vdi_uuid))
    except Exception as error:
        if failure_code(error) != "UUID_INVALID":
            raise
        return  # the VDI is gone, and its keys with it
    found = tags.read()
    for key in (HOST_TAG + host_ref, ACTIVATING):
        tags.drop(key, found)
