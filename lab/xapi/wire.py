"""XML-RPC in xapi's notation: integers are strings, times are dateTime.iso8601."""

from __future__ import annotations

from typing import Any
from xmlrpc.client import DateTime

from lab.xapi.database import Record
from lab.xapi.schema import CLASSES, Kind


def outgoing(cls: str, name: str, value: Any) -> Any:
    """A field's value in a reply."""
    match CLASSES[cls][name].kind:
        case Kind.INT:
            return str(value)
        case Kind.INT_MAP:
            return {key: str(number) for key, number in value.items()}
        case Kind.TIME:
            return DateTime(value)
        case _:
            return value


def outgoing_record(cls: str, record: Record) -> Record:
    """A record in a reply."""
    return {name: outgoing(cls, name, value) for name, value in record.items()}


def incoming(value: Any) -> Any:
    """A parameter as the simulator uses it: times become strings, also nested ones."""
    if isinstance(value, DateTime):
        return str(value)
    if isinstance(value, dict):
        return {key: incoming(item) for key, item in value.items()}
    if isinstance(value, list):
        return [incoming(item) for item in value]
    return value
