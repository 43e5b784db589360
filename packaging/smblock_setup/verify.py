"""Whether xapi uses what is installed: registration, drivers, and what xapi has about them."""

import re
import time

from smblock_setup import DRIVERS, SetupError, host, registration, selftest
from smblock_setup.findings import failed, has_failed, ok, warning

# How long xapi may take until it has the drivers, after a restart.
START_SECONDS = 180
_RESTART_ALL = "%s on each host of the pool, the master first" % host.RESTART


def of_host(root, version, restarted, tested=None):
    """Findings, in the order in which one depends on another. After a restart, xapi must have the drivers.

    `tested` are the findings of the self-test, if it has just run.
    """
    findings = [_registration(root), *(tested or selftest.run(root, version))]
    if root:
        return findings
    end = time.monotonic() + (START_SECONDS if restarted else 0)
    while True:
        in_xapi = _xapi(version, restarted)
        if not has_failed(in_xapi) or time.monotonic() >= end:
            return findings + in_xapi
        time.sleep(2)


def _xapi(version, restarted):
    try:
        with host.xapi() as xenapi:
            return [_in_xapi(xenapi, sr_type, version, restarted) for sr_type in sorted(DRIVERS)]
    except SetupError as error:
        return [(failed if restarted else warning)("xapi", str(error), host.RESTART)]


def _registration(root):
    types = registration.effective_types(root)
    if types is None:
        return warning("sm-plugins", "no file of xapi's sets the list", "smblock-setup register")
    missing = [name for name in DRIVERS if name not in types and "*" not in types]
    if not missing:
        return ok("sm-plugins", "has %s" % " and ".join(DRIVERS))
    return failed("sm-plugins", "lacks %s" % " ".join(missing), "smblock-setup register")


def _in_xapi(xenapi, sr_type, version, restarted):
    found = list(host.records(xenapi, "SM", "type", sr_type).values())
    if not found:
        text = "xapi does not have the driver %s yet" % sr_type
        if restarted:
            return failed("xapi", text, "grep 'Rejecting SM plugin' /var/log/xensource.log")
        return warning("xapi", "%s: it reads the list when it starts" % text, host.RESTART)
    record = found[0]
    if version and record["version"] != version:
        text = "xapi has %s %s; it reads what %s can do when it starts" % (sr_type, record["version"], version)
        return warning("xapi", text, host.RESTART)
    pending = _pending(xenapi, record)
    if pending:
        return warning("xapi", "%s waits for hosts: %s" % (sr_type, pending), _RESTART_ALL)
    return ok("xapi", "xe sm-list type=%s: version %s" % (sr_type, record["version"]))


def _pending(xenapi, record):
    """Features that stay off until every host of the pool has reported them."""
    waiting = record.get("host_pending_features") or {}
    names = sorted({re.split("[/:]", name)[0] for features in waiting.values() for name in features})
    if not names:
        return ""
    reported = sorted(xenapi.host.get_hostname(ref) for ref in waiting)
    return "%s, reported by %s only" % (" ".join(names), ", ".join(reported))
