"""Limits of disks: the keys of a VDI's other_config, and what holds on the hosts that use the VDI."""

import json

from smblock._core import limit_vdi, limits_of
from smblock.hosts import call_plugin
from smblock.local import LocalVdi
from smblock.siblings import NULL
from smblock.sm import util
from smblock.tags import hosts_of

IOPS, MBPS = "smblock:iops", "smblock:mbps"
NO_LIMIT = "none"
PLUGIN_DEADLINE = 30  # seconds; the kernel has 5 of them


def limit_here(core, sr_uuid, vdi_uuid, other_config):
    """Sets the limits of a VDI that a VM of this host uses. Returns what was done; None if no VM uses it here."""
    device, tapdisk = LocalVdi(sr_uuid, vdi_uuid).served_device()
    if device is None:
        return None
    done = json.loads(limit_vdi(core, device, tapdisk, other_config))
    for problem in done["problems"]:
        util.SMlog("warning: VDI %s runs without a limit: %s" % (vdi_uuid, problem))
    return done


def limit_new(sr, vdi_uuid):
    """Sets the limits of a VDI that was just activated. Never fails: the VM is about to start."""
    try:
        other_config = sr.session.xenapi.VDI.get_other_config(sr.srcmd.params["vdi_ref"])
        limit_here(sr.core, sr.uuid, vdi_uuid, other_config)
    except Exception:
        util.logException("VDI %s: setting its limits" % vdi_uuid)


def limit_everywhere(session, sr_uuid, vdi_ref):
    """Sets the limits of a VDI on each host that uses it. Returns (reply, None) or (None, error) by the host's UUID."""
    vdi, host = session.xenapi.VDI, session.xenapi.host
    args = {"sr": sr_uuid, "vdi": vdi.get_uuid(vdi_ref)}
    replies = {}
    for host_ref in sorted(_users(session, vdi_ref)):
        name = host.get_uuid(host_ref)
        try:
            reply = call_plugin(session, host_ref, "limit", args, PLUGIN_DEADLINE)
            why = None if reply is not None else "it does not reply, or has an older smblock"
            replies[name] = json.loads(reply or "null"), why
        except Exception as error:
            replies[name] = None, str(error)
    return replies


def _users(session, vdi_ref):
    """The hosts that use a VDI. SM has tags for tapdisks, XAPI for VMs."""
    xenapi = session.xenapi
    hosts = set(hosts_of(xenapi.VDI.get_sm_config(vdi_ref)))
    vbds = xenapi.VBD.get_all_records_where('field "VDI" = "%s"' % vdi_ref)
    vms = {vbd["VM"] for vbd in vbds.values() if vbd["currently_attached"]}
    hosts |= {xenapi.VM.get_resident_on(vm) for vm in vms}
    return hosts - {NULL}  # a suspended VM has its disks plugged, on no host


def checked(core, other_config):
    """Returns the limits of a VDI: numbers or None, by "iops" and "mbps". Raises `Error` if one cannot be used."""
    return json.loads(limits_of(core, other_config))
