"""XAPI's messages with the name ALARM, read as Xen Orchestra and xapi's mail-alarm do: a number, then XML."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from lab.dom0 import Dom0
from lab.sr import LabSr
from lab.xapi.lab_pool import LabPool

# What SM's sr_health_check.py does, which a timer starts every ten minutes on each host: it goes on with the next SR
# only if this one raises no error.
CHECK = """
import sys
sys.path.append("/opt/xensource/sm")
try:
    from sm import SR
    from sm.core import util
except ImportError:
    import SR, util
session = util.get_localAPI_session()
try:
    for sr_uuid in sys.argv[1:]:
        SR.SR.from_uuid(session, sr_uuid).check_sr(sr_uuid)
finally:
    session.xenapi.session.logout()
"""


@dataclass(frozen=True)
class Alarm:
    """One message: the object that it is about, and what Xen Orchestra shows of it."""

    cls: str
    obj_uuid: str
    priority: int
    name: str
    value: float
    trigger: float
    rows: dict[str, str]

    @property
    def text(self) -> str:
        return " ".join(self.rows.values())


def parse_alarm(record: dict[str, Any]) -> Alarm:
    """A message's record; AssertionError if Xen Orchestra would not show it."""
    assert record["name"] == "ALARM", record
    assert record["cls"] in ("SR", "Host", "VM"), "Xen Orchestra has no tab for other classes"
    body = record["body"]
    body.encode("utf-8")
    number, config, *xml = body.split("\n")
    found = re.fullmatch(r"value: (\d+(?:\.\d+)?)", number)
    assert found is not None, number
    assert config == "config:"
    assert (xml[0], xml[-1]) == ("<variable>", "</variable>")
    # One element a line, each with the one attribute `value`: mail-alarm and Xen Orchestra read nothing else.
    assert all(re.fullmatch(r'<[a-z_]+ value="[^"<>]*"/>', line) for line in xml[1:-1]), body
    elements = list(ElementTree.fromstring("\n".join(xml)))
    assert [element.tag for element in elements[:2]] == ["name", "alarm_trigger_level"]
    values = {element.tag: element.attrib["value"] for element in elements}
    assert len(values) == len(elements), "Xen Orchestra shows one row for each name"
    name, trigger = values.pop("name"), float(values.pop("alarm_trigger_level"))
    assert re.fullmatch("smblock_[a-z_]+", name)
    priority = int(record["priority"])
    assert 1 <= priority <= 5
    return Alarm(record["cls"], record["obj_uuid"], priority, name, float(found[1]), trigger, values)


def alarms(lab: LabPool, *objects: str) -> list[Alarm]:
    """The alarms in XAPI about any of the objects, the oldest first."""
    with lab.xapi.session() as session:
        records = session.message.get_all_records().values()
    records = [record for record in records if record["name"] == "ALARM"]
    return [parse_alarm(record) for record in records if record["obj_uuid"] in objects]


def check_srs(host: Dom0, *srs: LabSr) -> None:
    """As SM's timer does on a host."""
    host.put("/tmp/check-sr.py", CHECK.encode())
    done = host.exec(["python3", "/tmp/check-sr.py", *(sr.uuid for sr in srs)], timeout=150)
    assert done.check() == b"", "nothing may be printed"


def alarms_after_check(host: Dom0, sr: LabSr) -> str:
    """The texts of the alarms about an SR after a check of a host."""
    check_srs(host, sr)
    return " ".join(alarm.text for alarm in alarms(sr.lab, sr.uuid))
