"""The xapi plugin `smblock`, which one host of the pool calls on another.

settle       `reconcile`: removes what a killed command left of a VDI here; returns whether the VDI is in use here
health       returns the state of this host's plugged SRs, as JSON
doctor       returns the report of `smblock doctor --json`
limit        sets the limits of a VDI that is in use here; returns what holds, as JSON
guard_pause  starts a guard, which resumes a disk of this host if the command dies that pauses it
end_guard    ends the guard
pause_disks  starts a guard of several disks, and pauses them; returns the result of each, as JSON
resume_disks resumes them, and ends the guard; it is in guard_request.py, which is quickly imported
version      returns the version of smblock here
exports      returns the state of this host's server of exports, as JSON
release_export  ends the service of an export by this host
"""

import json
import uuid

from smblock import __version__, disks, guard
from smblock import export_pool as exports_pool
from smblock.activation import forget_tags
from smblock.child import Child
from smblock.cli import doctor as doctor_command
from smblock.cli import srs
from smblock.core import core_of
from smblock.guard_request import resume_disks
from smblock.health import look_at
from smblock.hosts import RECONCILE, bounded
from smblock.limits import limit_here
from smblock.local import LOCK_SECONDS, LocalVdi, boot_id, vdi_lock
from smblock.sm import util

RECONCILE_SECONDS = 15
# xapi waits for a plugin for minutes. What calls it over HTTP has shorter deadlines: Xen Orchestra's is five minutes.
DOCTOR_SECONDS = 240
CALLS_SECONDS = 20  # for each call of XAPI


def reconcile(session, args):
    """Removes what a killed command left of a VDI. Returns this host's boot, and whether it uses the VDI, as JSON."""
    sr_uuid, vdi_uuid = _uuid(args, "sr"), _uuid(args, "vdi")
    what = "reconciling VDI %s" % vdi_uuid
    in_use = Child(what, lambda: _reconcile(session, sr_uuid, vdi_uuid), RECONCILE_SECONDS).result()
    util.SMlog("plugin reconcile: VDI %s is %s here" % (vdi_uuid, "in use" if in_use else "not in use"))
    datapath, size = LocalVdi(sr_uuid, vdi_uuid).connection() if in_use else (None, None)
    return json.dumps({"boot_id": boot_id(), "in_use": in_use, "datapath": datapath, "size": size})


def _reconcile(session, sr_uuid, vdi_uuid):
    local = LocalVdi(sr_uuid, vdi_uuid)
    with vdi_lock(vdi_uuid, LOCK_SECONDS) as locked:
        # A command that holds the lock uses the VDI, or is about to.
        if not locked or local.reconcile(core_of(session, sr_uuid)):
            return True
        forget_tags(session, util.get_this_host_ref(session), vdi_uuid)
        local.note.remove()
        return False


def limit(session, args):
    """Sets the limits of a VDI that a VM of this host uses. Returns what holds, as JSON; null if no VM uses it here."""
    sr_uuid, vdi_uuid = _uuid(args, "sr"), _uuid(args, "vdi")
    vdi = session.xenapi.VDI
    other_config = vdi.get_other_config(vdi.get_by_uuid(vdi_uuid))
    core = core_of(session, sr_uuid)
    return json.dumps(limit_here(core, sr_uuid, vdi_uuid, other_config))


def health(session, args):
    """Returns the state of this host's plugged SRs, or of the one that `sr` names, as JSON. Changes nothing."""
    seen = look_at(session, _srs(session, args))
    return json.dumps(
        {
            "host": util.get_this_host(),
            "version": __version__,
            "srs": [_health(each) for each in seen],
        },
        sort_keys=True,
    )


def _health(seen):
    state = json.loads(seen.health) if seen.health else {"sr": seen.sr.uuid, "sr_type": seen.sr.type, "up": False}
    return dict(state, name=seen.sr.name, error=seen.error, seconds=round(seen.seconds, 3))


def doctor(session, args):
    """Returns the report of `smblock doctor --json` on this host's plugged SRs, or on the one that `sr` names."""
    found = _srs(session, args)

    def work():
        with bounded(session, CALLS_SECONDS) as own:
            return doctor_command.report_of(lambda: own, found, True).text

    return Child("the doctor", work, DOCTOR_SECONDS).result()


def _srs(session, args):
    """This host's plugged SRs of smblock, or the one that the arguments name."""
    unknown = set(args) - {"sr"}
    if unknown:
        raise util.SMException("unknown argument %s: the only one is args:sr=UUID" % ", ".join(sorted(unknown)))
    found = [sr for sr in srs.all_srs(session) if sr.plugged]
    if "sr" not in args:
        return found
    wanted = _uuid(args, "sr")
    found = [sr for sr in found if sr.uuid == wanted]
    if not found:
        raise util.SMException("SR %s is not an SR of smblock that is plugged on this host" % wanted)
    return found


def guard_pause(session, args):
    """Starts a guard of a disk that is about to be paused; see guard.py."""
    guard.start_guard(_uuid(args, "sr"), _uuid(args, "vdi"), _uuid(args, "guard"))
    return "True"


def end_guard(session, args):
    """Ends a guard, because the disk was resumed."""
    guard.Token(_uuid(args, "vdi"), _uuid(args, "guard")).remove()
    return "True"


def pause_disks(session, args):
    """Pauses several disks of this host; see disks.py."""
    return json.dumps(disks.pause(_uuid(args, "sr"), _uuids(args, "vdis"), _uuid(args, "guard")))


def version(session, args):
    """The version of smblock on this host."""
    return __version__


def exports(session, args):
    """Returns the state of the server of exports, as JSON: null if it does not run."""
    return exports_pool.status_here()


def release_export(session, args):
    """Ends the service of an export by this host. Returns why it refuses that, or an empty text."""
    return exports_pool.release_here(session, args["name"], args["force"] == "true")


# By their names on the wire, which packaging/xapi/plugins/smblock has, too.
_SAME = (guard_pause, end_guard, pause_disks, resume_disks, limit, version, health, doctor, exports, release_export)
FUNCTIONS = dict({function.__name__: function for function in _SAME}, **{RECONCILE: reconcile})


def _uuid(args, name):
    """Returns a UUID of the arguments in its canonical form, because it becomes part of paths."""
    return str(uuid.UUID(args[name]))


def _uuids(args, name):
    return [str(uuid.UUID(each)) for each in args[name].split(",")]
