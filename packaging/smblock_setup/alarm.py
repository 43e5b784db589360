"""An alarm in XAPI if an update has broken the driver: once for each change, and none if xapi does not reply.

Xen Orchestra and xapi's mail-alarm parse the body of a message with the name ALARM. It has to have this very form.
"""

import os
import sys
from xml.sax.saxutils import quoteattr

from smblock_setup import DRIVERS, SetupError, atomic, host, layout

NAME = "ALARM"
# "A service may fail": XAPI's levels are 1 (data may be lost) to 5 (information).
PRIORITY = 2
SECONDS = 20
_REPORTED = layout.STATE + "/driver-alarm"


def report(problems):
    """Raises the alarm on each SR of smblock's, or on the host if there is none, unless it was raised before."""
    text = "\n".join(problems)
    if not text:
        if os.path.exists(_REPORTED):
            atomic.remove(_REPORTED)
        return
    if _reported() == text:
        return
    try:
        with host.xapi(SECONDS) as xenapi:
            here = host.own_uuid()
            body = message_body("host %s: %s" % (_name(xenapi, here), "; ".join(problems)))
            srs = [sr["uuid"] for sr_type in sorted(DRIVERS)
                   for sr in host.records(xenapi, "SR", "type", sr_type).values()]  # fmt: skip
            for kind, uuid in [("SR", uuid) for uuid in srs] or [("Host", here)]:
                xenapi.message.create(NAME, PRIORITY, kind, uuid, body)
    except SetupError as error:
        print("smblock-setup: no alarm was raised: %s" % error, file=sys.stderr)
        return
    os.makedirs(layout.STATE, exist_ok=True)
    atomic.write(_REPORTED, text.encode("utf-8"))


def message_body(problem):
    """The body of an ALARM: one number, and a variable whose further elements are shown as rows."""
    lines = [
        "value: 1",
        "config:",
        "<variable>",
        '<name value="smblock_driver"/>',
        '<alarm_trigger_level value="1"/>',
        "<problem value=%s/>" % quoteattr(problem.replace("\n", " ")),
        "</variable>",
    ]
    return "\n".join(lines)


def _reported():
    try:
        with open(_REPORTED, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _name(xenapi, uuid):
    for record in host.records(xenapi, "host", "uuid", uuid).values():
        return record["name_label"]
    return uuid
