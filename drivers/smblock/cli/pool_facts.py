"""What XAPI has about smblock on the hosts of the pool, and what the hosts reply, for the core, which judges it."""

import json
import socket

from smblock import __version__
from smblock import export_pool as pool
from smblock import export_records as records
from smblock.cli.srs import SR_TYPES
from smblock.hosts import call_plugins, failure_code
from smblock.sm import util

# Seconds for all hosts together: they are asked at once.
VERSION_SECONDS = 10
_NO_PLUGIN = "XENAPI_MISSING_PLUGIN"
_NO_FUNCTION = "UNKNOWN_XENAPI_PLUGIN_FUNCTION"


def pool_facts(session):
    """JSON for the core's `pool_findings`."""
    xenapi = session.xenapi
    (record,) = xenapi.pool.get_all_records().values()
    hosts = xenapi.host.get_all_records()
    refs = sorted(hosts, key=lambda ref: (ref != record["master"], hosts[ref]["name_label"]))
    here = util.get_this_host_ref(session)
    replies = call_plugins(session, [ref for ref in refs if ref != here], "version", VERSION_SECONDS)
    replies[here] = (__version__, None)
    drivers, sr_types = [], []
    for sr_type in SR_TYPES:
        where = 'field "type" = "%s"' % sr_type
        drivers += xenapi.SM.get_all_records_where(where).values()
        sr_types += [sr_type] if xenapi.SR.get_all_records_where(where) else []
    return json.dumps(
        {
            "version": __version__,
            "hosts": [
                {"reference": ref, "name": hosts[ref]["name_label"], "reply": _reply(*replies[ref])} for ref in refs
            ],
            "drivers": [_driver(driver) for driver in drivers],
            "sr_types": sr_types,
            "exports": [_export(each) for each in pool.states(session, records.all_exports(session))],
        }
    )


def _reply(version, error):
    if error is None:
        return {"version": version}
    if isinstance(error, socket.timeout):
        return {"silent": "no reply within %d s" % VERSION_SECONDS}
    code = failure_code(error)
    if code == _NO_PLUGIN:
        return "no_plugin"
    if code == _NO_FUNCTION:
        return "no_function"
    return {"silent": str(error)}


def _export(each):
    return {
        "name": each["name"],
        "vdi": each["vdi"],
        "has_vdi": each["sr"] is not None,
        "is_served": each["uri"] is not None,
        "is_damaged": each["state"] == "damaged",
        "host": each["host_name"],
    }


def _driver(driver):
    # xapi of XCP-ng 8.2 and older has no such field.
    pending = driver.get("host_pending_features") or {}
    return {"sr_type": driver["type"], "version": driver["version"], "pending": pending}
