"""What SM's timer calls every ten minutes on each host, and what XAPI has about the pool, for the core."""

import json

from smblock._core import update_alarms
from smblock.child import Child
from smblock.core import core_of
from smblock.hosts import bounded
from smblock.sm import util

CHECK_SECONDS = 60
CALLS_SECONDS = 20  # for each call of XAPI


def check_sr(session, sr_uuid):
    """Checks an SR, and raises and clears its alarms. Never raises an error: SM would skip the SRs after this one.

    In a process of its own: the deadline holds even if the kernel blocks it, and nothing of it is printed.
    """
    try:
        Child("checking SR %s" % sr_uuid, lambda: _check(session, sr_uuid), CHECK_SECONDS).result()
    except Exception:
        util.logException("SR %s: the check of every ten minutes" % sr_uuid)


def _check(session, sr_uuid):
    # The connection of the session belongs to the other process.
    with bounded(session, CALLS_SECONDS) as own:
        update_alarms(core_of(own, sr_uuid), check_facts(own, sr_uuid))


def check_facts(session, sr_uuid):
    """JSON for the core: see sr::alarm::CheckFacts."""
    xenapi = session.xenapi
    (pool,) = xenapi.pool.get_all_records().values()
    hosts = xenapi.host.get_all_records()
    metrics = xenapi.host_metrics.get_all_records()
    sr_ref = xenapi.SR.get_by_uuid(sr_uuid)
    pbds = xenapi.PBD.get_all_records_where('field "SR" = "%s"' % sr_ref).values()
    plugged = {pbd["host"] for pbd in pbds if pbd["currently_attached"]}
    return json.dumps(
        {
            "here": util.get_this_host(),
            "master": hosts[pool["master"]]["uuid"],
            "shared": bool(xenapi.SR.get_shared(sr_ref)),
            "hosts": [_host(ref, host, metrics, plugged) for ref, host in hosts.items()],
        }
    )


def _host(ref, host, metrics, plugged):
    live = metrics.get(host["metrics"], {}).get("live", False)
    return {"uuid": host["uuid"], "live": bool(live), "plugged": ref in plugged}
