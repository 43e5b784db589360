"""The disks of exports in this host's control domain: their VBDs, and which of them were plugged since the boot.

At a boot XAPI leaves the VBDs of a control domain `currently_attached`, with their device of before. It does not exist,
or is another disk's by now (/dev/nbdN). So a VBD has a note below /run before it is plugged. One that is attached
without a note is stale: it is unplugged first, in XAPI too, and before anything else is plugged.
"""

import os

from smblock import export_control as control
from smblock import export_records as records
from smblock.hosts import failure_code
from smblock.sm import util

# The key of a VBD that was made for an export.
VBD_KEY = records.VDI_NAME
# xapi's notes of the NBD devices that it has connected since the boot (nbd_client_manager.py).
NBD_DEVICES = "/var/run/nonpersistent/nbd"
_GONE = ("DEVICE_ALREADY_DETACHED", "HANDLE_INVALID")


def plug(session, export):
    """Plugs an export's disk into the control domain, unless it is. Returns its device, without /dev/."""
    end_stale(session)
    found = {ref: vbd for ref, vbd in vbds(session, export).items() if not _is_stale(vbd)}
    for vbd in found.values():
        if vbd["currently_attached"]:
            return vbd["device"]
    ref = next(iter(found), None) or _create(session, export)
    _note(session.xenapi.VBD.get_uuid(ref))
    session.xenapi.VBD.plug(ref)
    return session.xenapi.VBD.get_device(ref)


def device_of(session, export):
    """The device of an export's disk, without /dev/. None if it is not plugged."""
    for vbd in vbds(session, export).values():
        if vbd["currently_attached"] and not _is_stale(vbd):
            return vbd["device"]
    return None


def unplug(session, ref, vbd):
    """Unplugs a disk, and removes its VBD."""
    if _is_stale(vbd) and _is_anothers(vbd):
        return
    try:
        if vbd["currently_attached"]:
            session.xenapi.VBD.unplug(ref)
        session.xenapi.VBD.destroy(ref)
    except Exception as error:
        if failure_code(error) not in _GONE:
            raise
    util.force_unlink(_note_of(vbd["uuid"]))


def end_stale(session):
    """Unplugs the disks that are plugged in XAPI's records only: an unplug disconnects the NBD device of that name,
    which the next plug can get. xapi has nothing of them to detach, so this waits for no storage."""
    with control.choosing():
        for ref, vbd in all_vbds(session).items():
            if not _is_stale(vbd) or _is_anothers(vbd):
                continue
            util.SMlog("export %s: not plugged since the boot" % vbd["other_config"][VBD_KEY])
            try:
                session.xenapi.VBD.unplug(ref)
            except Exception as error:
                if failure_code(error) not in _GONE:
                    util.logException("export %s: VBD %s stays" % (vbd["other_config"][VBD_KEY], vbd["uuid"]))
                    continue
            _note(vbd["uuid"])


def vbds(session, export):
    """The VBDs of the export in this host's control domain."""
    if export.ref is None:
        return {}
    return {ref: vbd for ref, vbd in all_vbds(session).items() if vbd["VDI"] == export.ref}


def all_vbds(session):
    """The VBDs of all exports in this host's control domain."""
    # XCP-ng's hosts have it since 8.0.
    query = 'field "VM" = "%s"' % _control_domain(session)
    found = session.xenapi.VBD.get_all_records_where(query).items()
    return {ref: vbd for ref, vbd in found if VBD_KEY in vbd["other_config"]}


def _is_stale(vbd):
    return vbd["currently_attached"] and not os.path.exists(_note_of(vbd["uuid"]))


def _is_anothers(vbd):
    """Whether xapi has connected the device of a stale VBD for another disk: then the VBD stays until that ends."""
    device = vbd["device"]
    if not device.startswith("nbd") or not os.path.exists(os.path.join(NBD_DEVICES, device[len("nbd") :])):
        return False
    text = "export %s: VBD %s stays: an unplug would disconnect %s from the disk that has it since the boot"
    util.SMlog(text % (vbd["other_config"][VBD_KEY], vbd["uuid"], device))
    return True


def _note_of(vbd_uuid):
    return os.path.join(control.DIRECTORY, "plugged", vbd_uuid)


def _note(vbd_uuid):
    os.makedirs(os.path.dirname(_note_of(vbd_uuid)), mode=0o700, exist_ok=True)
    open(_note_of(vbd_uuid), "w").close()


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


def _control_domain(session):
    return session.xenapi.host.get_control_domain(util.get_this_host_ref(session))
