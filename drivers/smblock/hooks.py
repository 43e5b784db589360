"""xapi's hooks host-pre-declare-dead and host-post-declare-dead: a host was declared dead.

xapi runs them on the pool's master, with `-hostuuid UUID -reason REASON`: before and after it restarts the
host's VMs elsewhere. They write the declaration to XAPI's database, then to the catalogue of each SR, and
blocklist the host's kernel clients. They do not wait for an SR that does not reply: the next activation that
finds a claim of the host reads XAPI's note, and blocklists the host.
"""

import json
import socket
import time

from smblock.child import Child, ChildError
from smblock.core import core_of
from smblock.hosts import DECLARED_DEAD, LocalSession
from smblock.sm import util

# A host that shuts down regularly is not blocklisted: it may still write.
REASONS = ("fenced", "user", "dbdestroy")
XAPI_TIMEOUT = 5
SR_SECONDS = 6
SR_TYPE = "cephrbd"


def main(arguments):
    """Never raises, and ends within seconds: xapi waits for it, and would stop at a failure."""
    try:
        options = dict(zip(arguments[::2], arguments[1::2]))
        host_uuid, reason = options["-hostuuid"], options["-reason"]
        if reason in REASONS:
            socket.setdefaulttimeout(XAPI_TIMEOUT)
            with LocalSession() as session:
                _declare(session, host_uuid, reason)
    except Exception:
        util.logException("declaring a host dead, with arguments %s" % arguments)


def _declare(session, host_uuid, reason):
    util.SMlog("host %s is declared dead (%s)" % (host_uuid, reason))
    _note(session, host_uuid, reason)
    children = [_declare_in(sr_uuid, host_uuid, reason) for sr_uuid in _plugged_srs(session)]
    for sr_uuid, child in children:
        try:
            addresses = child.result()
            util.SMlog("SR %s: host %s is dead; blocklisted: %s" % (sr_uuid, host_uuid, ", ".join(addresses) or "-"))
        except ChildError as error:
            util.SMlog("%s; the next activation of one of its disks retries it" % error)


def _note(session, host_uuid, reason):
    """Notes the declaration in XAPI, unless the other hook has done so."""
    host = session.xenapi.host
    host_ref = host.get_by_uuid(host_uuid)
    if DECLARED_DEAD not in host.get_other_config(host_ref):
        note = json.dumps({"reason": reason, "at": int(time.time())})
        host.add_to_other_config(host_ref, DECLARED_DEAD, note)


def _plugged_srs(session):
    """Returns the SRs that are plugged on this host."""
    here = util.get_this_host_ref(session)
    pbds = session.xenapi.PBD.get_all_records_where('field "host" = "%s"' % here).values()
    srs = [session.xenapi.SR.get_record(pbd["SR"]) for pbd in pbds if pbd["currently_attached"]]
    return [sr["uuid"] for sr in srs if sr["type"] == SR_TYPE]


def _declare_in(sr_uuid, host_uuid, reason):
    def work():
        with LocalSession() as session:
            return core_of(session, sr_uuid).declare_dead(host_uuid, reason)

    return sr_uuid, Child("SR %s: declaring host %s dead" % (sr_uuid, host_uuid), work, SR_SECONDS)
