"""An alarm in XAPI if an update has broken the driver: once for each change, and none if xapi does not reply.

Xen Orchestra and xapi's mail-alarm parse the body of a message with the name ALARM. It has to have this very form.
"""

import os
import sys
from xml.sax.saxutils import escape, quoteattr

from smblock_setup import DRIVERS, SetupError, atomic, host, layout

NAME = "ALARM"
_VARIABLE = '<name value="smblock_driver"/>'
# "A service may fail": XAPI's levels are 1 (data may be lost) to 5 (information).
PRIORITY = 2
SECONDS = 20
_REPORTED = layout.STATE + "/driver-alarm"


def report(problems):
    """Raises the alarm on each SR of smblock's, or on the host if there is none, unless it was raised before."""
    text = "\n".join(problems)
    if not text:
        if os.path.exists(_REPORTED):
            _clear()
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


def _clear():
    """Removes this host's alarms: the driver runs again."""
    try:
        with host.xapi(SECONDS) as xenapi:
            start = "host %s: " % _name(xenapi, host.own_uuid())
            for ref, message in xenapi.message.get_all_records().items():
                if message["name"] == NAME and _VARIABLE in message["body"] and escape(start) in message["body"]:
                    xenapi.message.destroy(ref)
    except SetupError as error:
        print("smblock-setup: the alarm was not removed: %s" % error, file=sys.stderr)
        return
    atomic.remove(_REPORTED)


def message_body(problem):
    """The body of an ALARM: one number, and a variable whose further elements are shown as rows."""
    lines = [
        "value: 1",
        "config:",
        "<variable>",
        _VARIABLE,
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
