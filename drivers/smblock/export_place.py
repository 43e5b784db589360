"""An export on this host.

To serve it:                        a stop after that leaves
  1. its VDI names this host        a name without a server: the keeper of this host's server does the rest
  2. block its VMs (export_vms.py)  the same
  3. plug it into the control domain  a plugged disk: the same (export_plug.py)
  4. write the server's file        an export

To stop that, on the host that serves it:
  1. the server removes its file, which it refuses while a client uses it
  2. unplug the disk, remove its VBD
  3. its VDI names no host          before this, the keeper serves it again
"""

import json

from smblock import export_control as control
from smblock import export_plug as plug
from smblock import export_records as records
from smblock import export_vms as vms
from smblock.core import core_of
from smblock.export_plug import VBD_KEY
from smblock.hosts import failure_code
from smblock.sm import util

_GONE = ("HANDLE_INVALID", "UUID_INVALID")


def serve(session, export):
    """Serves an export on this host, and does nothing if it is served. Raises XAPI's error if its disk cannot be
    plugged, and `ServerError` if a VM uses it: XAPI would plug it nevertheless. The caller has set its host, and has
    `changing`."""
    vms.block(session, export)  # before the look: none starts in between
    found = users(session, export)
    if found and not export.read_only:
        raise control.ServerError("VDI %s is in use by %s" % (export.vdi, ", ".join(found)))
    device = "/dev/" + plug.plug(session, export)
    facts = {"vdi": export.vdi, "name": export.name, "device": device, "read_only": export.read_only}
    facts["storage"] = _storage(session, export)
    control.put(export.vdi, facts)
    util.SMlog("export %s: VDI %s is served from %s" % (export.name, export.vdi, device))


def withdraw(session, export, force):
    """Ends the service of an export by this host. Raises `ServerError` if a client uses it, unless `force`."""
    here = util.get_this_host()
    with control.changing(export.vdi):
        control.take(export.vdi, force)
        for ref, vbd in plug.vbds(session, export).items():
            plug.unplug(session, ref, vbd)
        with control.choosing():  # another command may add an export
            if export.host == here:
                records.set_host(session, export, "")
            if not records.of_host(session, here):
                control.stop()
    util.SMlog("export %s: VDI %s is not served here any more" % (export.name, export.vdi))


def others(session, exports):
    """The VBDs of exports that this host does not have any more: another host has taken them, or they ended while XAPI
    took this host for dead."""
    own = {export.ref for export in exports}
    return {ref: vbd for ref, vbd in plug.all_vbds(session).items() if vbd["VDI"] not in own}


def unplug_other(session, ref, vbd):
    """Unplugs the disk of an export that this host does not have any more."""
    try:
        vdi_uuid = session.xenapi.VDI.get_uuid(vbd["VDI"])
    except Exception as error:
        if failure_code(error) not in _GONE:
            raise
        vdi_uuid = vbd["uuid"]  # no command can change an export without a VDI
    with control.changing(vdi_uuid):
        if ref in others(session, records.of_host(session, util.get_this_host())):
            util.SMlog("export %s is not on this host any more: unplugging it" % vbd["other_config"][VBD_KEY])
            plug.unplug(session, ref, vbd)


def is_served(session, export):
    """Whether the server has the export, with the device that its disk has now."""
    device = plug.device_of(session, export)
    return device is not None and control.facts(export.vdi).get("device") == "/dev/" + device


def has_users(session, exports):
    """Whether a VM has the disk of one of these exports plugged: one call of XAPI for all."""
    plugged = session.xenapi.VBD.get_all_records_where('field "currently_attached" = "true"').values()
    refs = {export.ref for export in exports}
    return any(vbd["VDI"] in refs and _is_user(session, vbd) for vbd in plugged)


def users(session, export):
    """The names of the VMs, other than for exports, that have the disk plugged."""
    vbds = session.xenapi.VBD.get_all_records_where('field "VDI" = "%s"' % export.ref).values()
    # A VM that starts has an operation of its VBDs.
    plugged = [vbd for vbd in vbds if vbd["currently_attached"] or vbd.get("current_operations")]
    return sorted({_name_of(session, vbd) for vbd in plugged if _is_user(session, vbd)})


def _is_user(session, vbd):
    """Whether a plugged VBD excludes the clients of a writable export. In a control domain a backup, and xapi's own NBD
    server, only read."""
    if VBD_KEY in vbd["other_config"]:
        return False
    return vbd["mode"] == "RW" or not session.xenapi.VM.get_is_control_domain(vbd["VM"])


def _name_of(session, vbd):
    name = session.xenapi.VM.get_name_label(vbd["VM"])
    if session.xenapi.VM.get_is_control_domain(vbd["VM"]):
        # At a boot nothing ends that record.
        name += " (if nothing there uses the disk: xe vbd-unplug uuid=%s)" % vbd["uuid"]
    return name


def _sr(session, export):
    return session.xenapi.SR.get_record(export.record["SR"])


def _storage(session, export):
    """What the server needs to list the data of an image. Without it, all of the disk counts as data."""
    try:
        sr = _sr(session, export)
        if sr["type"] != "cephrbd":
            return None
        here = util.get_this_host_ref(session)
        pbds = session.xenapi.PBD.get_all_records_where('field "SR" = "%s"' % export.record["SR"]).values()
        config = next(pbd["device_config"] for pbd in pbds if pbd["host"] == here)
        places = json.loads(core_of(session, sr["uuid"]).places())
        image = next(place for place in places if place["uuid"] == export.vdi)
    except Exception:
        util.logException("export %s: finding its image" % export.name)
        return None
    return {"device_config": config, "image_id": image["image_id"], "snapshot_id": image["snapshot_id"]}
