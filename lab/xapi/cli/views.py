"""How `xe` shows the records of each class: the parameters, in their order and notation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lab.xapi.client import Session
from lab.xapi.errors import ApiError
from lab.xapi.schema import CLASSES, NULL, Kind

_LOST = "<not in database>"


class CliError(Exception):
    """The arguments are wrong; the message goes to stderr."""


class Names:
    """Looks up the objects of references; caches them for one command."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: dict[tuple[str, str, str], str] = {}

    def of(self, cls: str, ref: str, what: str) -> str:
        """The field `what` of the object behind a reference, or "<not in database>"."""
        key = (cls, ref, what)
        if key not in self._known:
            self._known[key] = self._look_up(*key)
        return self._known[key]

    def _look_up(self, cls: str, ref: str, what: str) -> str:
        if ref == NULL:
            return _LOST
        try:
            return str(self._session.call(f"{cls}.get_{what}", ref))
        except ApiError:
            return _LOST


Show = Callable[[dict[str, Any], Names], str]


@dataclass(frozen=True)
class Column:
    """A parameter: its name, its notation, and the API field that stores it ("" for none)."""

    name: str
    show: Show
    api_field: str = ""
    kind: Kind = Kind.STRING
    writable: bool = False

    @property
    def title(self) -> str:
        """The name with xe's mark: a set or a map, read-only or not."""
        shape = {Kind.STRINGS: "S", Kind.BACK_REFS: "S", Kind.MAP: "M", Kind.INT_MAP: "M"}
        return f"{self.name} ({shape.get(self.kind, ' ')}{'RW' if self.writable else 'RO'})"


@dataclass(frozen=True)
class View:
    """One class in xe; `brief` are the parameters of a plain list."""

    prefix: str
    cls: str
    brief: tuple[str, ...]
    columns: dict[str, Column] = field(default_factory=dict)

    def column(self, name: str) -> Column:
        """A parameter by name."""
        try:
            return self.columns[name]
        except KeyError:
            raise CliError(f"Unknown field '{name}'") from None


def text(value: Any) -> str:
    """A plain value as xe prints it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "; ".join(f"{key}: {item}" for key, item in sorted(value.items()))
    if isinstance(value, list):
        return "; ".join(str(item) for item in value)
    return str(value)


_REFS = {"PBDs": "PBD", "VDIs": "VDI", "VBDs": "VBD", "snapshots": ""}


def _plain(cls: str, name: str, writable: bool) -> Column:
    api_field = name.replace("-", "_")
    kind = CLASSES[cls][api_field]

    def show(record: dict[str, Any], names: Names) -> str:
        value = record[api_field]
        if kind.kind is Kind.REF:
            return names.of(kind.target, value, "uuid")
        if kind.kind is Kind.BACK_REFS:
            return "; ".join(names.of(kind.target, ref, "uuid") for ref in value)
        return text(value)

    return Column(name, show, api_field, kind.kind, writable)


def _via(name: str, api_field: str, cls: str, what: str) -> Column:
    """A parameter of the object that `api_field` refers to."""
    return Column(name, lambda record, names: names.of(cls, record[api_field], what))


def _sr_host(record: dict[str, Any], names: Names) -> str:
    if len(record["PBDs"]) > 1:
        return "<shared>"
    if not record["PBDs"]:
        return _LOST
    return names.of("host", names.of("PBD", record["PBDs"][0], "host"), "name_label")


def _view(prefix: str, cls: str, brief: str, parts: list[str | Column]) -> View:
    """`parts` are columns, or names of API fields: "name-label+" is one that can be written."""
    columns = [
        part if isinstance(part, Column) else _plain(cls, part.rstrip("+"), part.endswith("+")) for part in parts
    ]
    return View(prefix, cls, tuple(brief.split()), {column.name: column for column in columns})


_NAMES: list[str | Column] = ["uuid", "name-label+", "name-description+"]

VIEWS = {
    view.prefix: view
    for view in (
        _view(
            "sr",
            "SR",
            "uuid name-label name-description host type content-type",
            [
                *_NAMES,
                Column("host", _sr_host),
                "VDIs",
                "PBDs",
                "virtual-allocation",
                "physical-utilisation",
                "physical-size",
                "type",
                "content-type",
                "shared+",
                "is-tools-sr",
                "other-config+",
                "sm-config",
                "tags+",
            ],
        ),
        _view(
            "vdi",
            "VDI",
            "uuid name-label name-description sr-uuid virtual-size sharable read-only",
            [
                *_NAMES,
                "is-a-snapshot",
                "snapshot-of",
                "snapshots",
                "snapshot-time",
                _via("sr-uuid", "SR", "SR", "uuid"),
                _via("sr-name-label", "SR", "SR", "name_label"),
                Column(
                    "vbd-uuids",
                    lambda record, names: "; ".join(names.of("VBD", ref, "uuid") for ref in record["VBDs"]),
                    kind=Kind.BACK_REFS,
                ),
                "virtual-size",
                "physical-utilisation",
                "location",
                "type",
                "sharable",
                "read-only",
                "storage-lock",
                "managed",
                "parent",
                "missing",
                "other-config+",
                "xenstore-data",
                "sm-config",
                "on-boot+",
                "allow-caching+",
                "metadata-of-pool",
                "tags+",
                "cbt-enabled",
            ],
        ),
        _view(
            "vbd",
            "VBD",
            "uuid vm-uuid vm-name-label vdi-uuid device empty",
            [
                "uuid",
                _via("vm-uuid", "VM", "VM", "uuid"),
                _via("vm-name-label", "VM", "VM", "name_label"),
                _via("vdi-uuid", "VDI", "VDI", "uuid"),
                _via("vdi-name-label", "VDI", "VDI", "name_label"),
                "empty",
                "device",
                "userdevice+",
                "bootable+",
                "mode+",
                "type+",
                "unpluggable+",
                "currently-attached",
                "other-config+",
            ],
        ),
        _view(
            "pbd",
            "PBD",
            "uuid host-uuid sr-uuid device-config currently-attached",
            [
                "uuid",
                _via("host-uuid", "host", "host", "uuid"),
                _via("host-name-label", "host", "host", "name_label"),
                _via("sr-uuid", "SR", "SR", "uuid"),
                _via("sr-name-label", "SR", "SR", "name_label"),
                "device-config",
                "currently-attached",
                "other-config+",
            ],
        ),
        _view(
            "sm",
            "SM",
            "uuid type name-label name-description vendor copyright configuration",
            [
                "uuid",
                "name-label",
                "name-description",
                "type",
                "vendor",
                "copyright",
                "required-api-version",
                "capabilities",
                "features",
                "configuration",
                "driver-filename",
            ],
        ),
        _view(
            "host",
            "host",
            "uuid name-label name-description",
            [
                *_NAMES,
                "enabled",
                "hostname",
                "address",
                Column(
                    "host-metrics-live",
                    lambda record, names: text(names.of("host_metrics", record["metrics"], "live") == "True"),
                ),
                "software-version",
                "other-config+",
            ],
        ),
        _view(
            "vm",
            "VM",
            "uuid name-label power-state",
            [
                *_NAMES,
                "is-control-domain",
                "is-a-snapshot",
                "snapshot-of",
                "snapshots",
                "power-state",
                "resident-on",
                "other-config+",
            ],
        ),
        _view(
            "task",
            "task",
            "uuid name-label name-description status progress",
            [*_NAMES, "status", "progress", "error-info", "created", "finished"],
        ),
        _view(
            "message",
            "message",
            "uuid name priority cls obj-uuid timestamp body",
            ["uuid", "name", "priority", "cls", "obj-uuid", "timestamp", "body"],
        ),
        _view("pool", "pool", "uuid name-label name-description master", [*_NAMES, "master", "other-config+"]),
        _view("secret", "secret", "uuid value", ["uuid", "value+", "other-config+"]),
    )
}
