"""What XAPI and SM have about an SR, collected for the core, which judges it."""

import json
import os

from smblock.hosts import DECLARED_DEAD, call_plugin
from smblock.local import LocalVdi
from smblock.sm import util

# SM's links to the devices of its VDIs, by SR.
LINKS = ("/dev/sm/phy", "/dev/sm/backend")


def facts_of(session, sr):
    """JSON for the core's `sr_findings`. `session` is a session of XAPI."""
    vdis = session.xenapi.VDI.get_all_records_where('field "SR" = "%s"' % sr.ref) if sr.ref else {}
    hosts = session.xenapi.host.get_all_records()
    return json.dumps(
        {
            "here": util.get_this_host_ref(session),
            "hosts": [_host(ref, host) for ref, host in hosts.items()],
            "vdis": [_used_vdi(sr.uuid, vdi) for vdi in vdis.values()],
            "links": list(_links(sr.uuid)),
        }
    )


def adoption_facts_of(session, sr, prefix):
    """What the core's `adopt_disks` needs, and XAPI's records of the SR's VDIs, by reference."""
    xenapi = session.xenapi
    record = xenapi.SR.get_record(sr.ref) if sr.ref else {"name_label": "", "name_description": ""}
    records = _vdis_of(session, sr.ref) if sr.ref else {}
    pbds = xenapi.PBD.get_all_records_where('field "SR" = "%s"' % sr.ref).values() if sr.ref else []
    plugged = [pbd["host"] for pbd in pbds if pbd["currently_attached"]]
    without = [pbd["host"] for pbd in pbds if call_plugin(session, pbd["host"], "version", {}) is None]
    others = xenapi.SR.get_all_records_where('field "type" = "%s"' % sr.type)
    elsewhere = {
        vdi["uuid"]: other["uuid"]
        for ref, other in others.items()
        if ref != sr.ref
        for vdi in _vdis_of(session, ref).values()
    }
    facts = {
        "name_label": record["name_label"],
        "name_description": record["name_description"],
        "prefix": prefix,
        "plugged": [xenapi.host.get_name_label(host) for host in plugged],
        "without_smblock": [xenapi.host.get_name_label(host) for host in without],
        "vdis": [_vdi(vdi) for vdi in records.values()],
        "elsewhere": elsewhere,
    }
    return facts, records


def _vdis_of(session, sr_ref):
    return session.xenapi.VDI.get_all_records_where('field "SR" = "%s"' % sr_ref)


def _host(ref, host):
    noted = DECLARED_DEAD in host["other_config"]
    return {"reference": ref, "uuid": host["uuid"], "name": host["name_label"], "declared_dead": noted}


def _vdi(vdi):
    return {"uuid": vdi["uuid"], "name": vdi["name_label"], "sm_config": vdi["sm_config"]}


def _used_vdi(sr_uuid, vdi):
    device, tapdisk = LocalVdi(sr_uuid, vdi["uuid"]).served_device()
    return dict(_vdi(vdi), other_config=vdi["other_config"], device=device, tapdisk=tapdisk)


def _links(sr_uuid):
    for folder in LINKS:
        path = os.path.join(folder, sr_uuid)
        try:
            names = os.listdir(path)
        except OSError:
            continue  # SM makes it with its first link
        for name in names:
            link = os.path.join(path, name)
            if os.path.islink(link):
                yield {"vdi": name, "path": link, "target": os.readlink(link)}
