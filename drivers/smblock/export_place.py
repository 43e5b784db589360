"""An export on this host.

To serve it:                        a stop after that leaves
  1. its VDI names this host        a name without a server: the keeper of this host's server does the rest
  2. block its VMs (export_vms.py)  the same
  3. plug it into the control domain  a plugged disk: the same
  4. write the server's file        an export

To stop that, on the host that serves it:
  1. the server removes its file, which it refuses while a client uses it
  2. unplug the disk, remove its VBD
  3. its VDI names no host          before this, the keeper serves it again
"""

import json

from smblock import export_control as control
from smblock import export_records as records
from smblock import export_vms as vms
from smblock.core import core_of
from smblock.hosts import failure_code
from smblock.sm import util

# The key of a VBD that was made for an export.
VBD_KEY = records.VDI_NAME
_GONE = ("DEVICE_ALREADY_DETACHED", "HANDLE_INVALID")


def serve(session, export):
    """Serves an export on this host, and does nothing if it is served. Raises XAPI's error if its disk cannot be
    plugged, and `ServerError` if a VM uses it: XAPI would plug it nevertheless. The caller has set its host."""
    vms.block(session, export)  # before the look: none starts in between
    found = users(session, export)
    if found and not export.read_only:
        raise control.ServerError("VDI %s is in use by %s" % (export.vdi, ", ".join(found)))
    vbd = _plugged(session, export)
    device = "/dev/" + session.xenapi.VBD.get_device(vbd)
    facts = {"vdi": export.vdi, "name": export.name, "device": device, "read_only": export.read_only}
    facts["storage"] = _storage(session, export)
    control.put(export.vdi, facts)
    util.SMlog("export %s: VDI %s is served from %s" % (export.name, export.vdi, device))


def withdraw(session, export, force):
    """Ends the service of an export by this host. Raises `ServerError` if a client uses it, unless `force`."""
    with control.changing():
        control.take(export.vdi, force)
        for vbd, record in _vbds(session, export).items():
            _unplug(session, vbd, record)
        if export.host == util.get_this_host():
            records.set_host(session, export, "")
        control.stop()  # in the lock: another command may add an export
    util.SMlog("export %s: VDI %s is not served here any more" % (export.name, export.vdi))


def unplug_others(session, exports):
    """Unplugs the disks of exports that this host does not have any more: another host has taken them, or they ended
    while XAPI took this host for dead."""
    own = {export.ref for export in exports}
    query = 'field "VM" = "%s"' % _control_domain(session)
    for vbd, record in session.xenapi.VBD.get_all_records_where(query).items():
        if VBD_KEY in record["other_config"] and record["VDI"] not in own:
            util.SMlog("export %s is not on this host any more: unplugging it" % record["other_config"][VBD_KEY])
            _unplug(session, vbd, record)


def is_served(session, export):
    """Whether the server has the export, and its disk is plugged."""
    attached = [vbd for vbd in _vbds(session, export).values() if vbd["currently_attached"]]
    return export.vdi in control.vdis() and bool(attached)


def has_users(session, exports):
    """Whether a VM has the disk of one of these exports plugged: one call of XAPI for all."""
    plugged = session.xenapi.VBD.get_all_records_where('field "currently_attached" = "true"').values()
    refs = {export.ref for export in exports}
    return any(vbd["VDI"] in refs and VBD_KEY not in vbd["other_config"] for vbd in plugged)


def users(session, export):
    """The names of the VMs, other than for exports, that have the disk plugged."""
    vbds = session.xenapi.VBD.get_all_records_where('field "VDI" = "%s"' % export.ref).values()
    vbds = [vbd for vbd in vbds if VBD_KEY not in vbd["other_config"]]
    # A VM that starts has an operation of its VBDs.
    plugged = [vbd for vbd in vbds if vbd["currently_attached"] or vbd.get("current_operations")]
    return sorted({session.xenapi.VM.get_name_label(vbd["VM"]) for vbd in plugged})


def _plugged(session, export):
    """Returns the VBD of the export in this host's control domain, and plugs it."""
    found = _vbds(session, export)
    for vbd, record in found.items():
        if record["currently_attached"]:
            return vbd
    vbd = next(iter(found), None) or _create(session, export)
    session.xenapi.VBD.plug(vbd)
    return vbd


def _create(session, export):
    return session.xenapi.VBD.create(
        {
            "VM": _control_domain(session),
            "VDI": export.ref,
            "userdevice": "autodetect",
            "bootable": False,
            "mode": "RO" if export.read_only else "RW",
            "type": "Disk",
            "unpluggable": True,
            "empty": False,
            "other_config": {VBD_KEY: export.name},
            "qos_algorithm_type": "",
            "qos_algorithm_params": {},
        }
    )


def _unplug(session, vbd, record):
    try:
        if record["currently_attached"]:
            session.xenapi.VBD.unplug(vbd)
        session.xenapi.VBD.destroy(vbd)
    except Exception as error:
        if failure_code(error) not in _GONE:
            raise


def _vbds(session, export):
    """The VBDs of the export in this host's control domain."""
    if export.ref is None:
        return {}
    vbds = session.xenapi.VBD.get_all_records_where('field "VDI" = "%s"' % export.ref)
    here = _control_domain(session)
    return {ref: vbd for ref, vbd in vbds.items() if vbd["VM"] == here and VBD_KEY in vbd["other_config"]}


def _control_domain(session):
    # XCP-ng's hosts have it since 8.0.
    return session.xenapi.host.get_control_domain(util.get_this_host_ref(session))


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
