"""An alarm in XAPI if an update has broken the driver: once for each change, and none if xapi does not reply.

Xen Orchestra and xapi's mail-alarm parse the body of a message with the name ALARM. It has to have this very form.
"""

import os
import sys
import unicodedata
from xml.sax.saxutils import escape

from smblock_setup import DRIVERS, SetupError, atomic, host, layout

NAME = "ALARM"
_DRIVER = "smblock_driver"
_VARIABLE = '<name value="%s"/>' % _DRIVER
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
            problem = "host %s: %s" % (_name(xenapi, here), "; ".join(problems))
            fix = "/opt/xensource/libexec/smblock-setup verify"
            body = message_body(_DRIVER, "1", "1", [("problem", problem), ("fix", fix)])
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
            start = '<problem value="%s' % _escape("host %s: " % _name(xenapi, host.own_uuid()))
            for ref, message in xenapi.message.get_all_records().items():
                if message["name"] == NAME and _VARIABLE in message["body"] and start in message["body"]:
                    xenapi.message.destroy(ref)
    except SetupError as error:
        print("smblock-setup: the alarm was not removed: %s" % error, file=sys.stderr)
        return
    atomic.remove(_REPORTED)


def message_body(name, value, trigger, rows):
    """The body of an ALARM: a number, and a variable whose further elements are shown as rows.

    The core makes the same text, in rust/sr/src/alarm/body.rs, and cannot be imported here: the driver may be broken.
    A test compares both.
    """
    elements = [("name", name), ("alarm_trigger_level", trigger), *rows]
    lines = ['<%s value="%s"/>' % (element, _escape(text)) for element, text in elements]
    return "value: %s\nconfig:\n<variable>\n%s\n</variable>" % (value, "\n".join(lines))


def _escape(text):
    """A text as the value of an attribute. A character that XML does not have becomes a space."""
    text = "".join(" " if _is_forbidden(character) else character for character in text)
    return escape(text, {'"': "&quot;"})


def _is_forbidden(character):
    return unicodedata.category(character) in ("Cc", "Cs") or character in "\ufffe\uffff"


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
