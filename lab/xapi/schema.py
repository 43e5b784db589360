"""The classes and fields of xapi's database that SM, `xe` and the tests use.

Values are stored in the notation of the XenAPI: sizes are bytes, times are ISO 8601 strings, a
reference is an opaque string.  On the wire integers are strings: see `lab.xapi.wire`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

NULL = "OpaqueRef:NULL"
EPOCH = "19700101T00:00:00Z"


class Kind(Enum):
    """The type of a field."""

    STRING = auto()
    INT = auto()
    BOOL = auto()
    FLOAT = auto()
    TIME = auto()
    REF = auto()
    STRINGS = auto()
    MAP = auto()
    INT_MAP = auto()
    BACK_REFS = auto()


@dataclass(frozen=True)
class Field:
    """One field: its kind, its default, and the class of references.

    A BACK_REFS field is computed: the rows of class `target` whose field `via` refers to this row.
    """

    kind: Kind
    default: Any
    target: str = ""
    via: str = ""


def _string(default: str = "") -> Field:
    return Field(Kind.STRING, default)


def _int(default: int = 0) -> Field:
    return Field(Kind.INT, default)


def _bool(default: bool = False) -> Field:
    return Field(Kind.BOOL, default)


def _time() -> Field:
    return Field(Kind.TIME, EPOCH)


def _ref(target: str) -> Field:
    return Field(Kind.REF, NULL, target)


def _strings() -> Field:
    return Field(Kind.STRINGS, [])


def _map() -> Field:
    return Field(Kind.MAP, {})


def _back(target: str, via: str) -> Field:
    return Field(Kind.BACK_REFS, None, target, via)


_NAMED = {"uuid": _string(), "name_label": _string(), "name_description": _string()}

CLASSES: dict[str, dict[str, Field]] = {
    "pool": _NAMED
    | {
        "master": _ref("host"),
        "default_SR": _ref("SR"),
        "restrictions": _map(),
        "other_config": _map(),
        "ha_enabled": _bool(),
    },
    "host": _NAMED
    | {
        "address": _string(),
        "hostname": _string(),
        "enabled": _bool(True),
        "metrics": _ref("host_metrics"),
        "control_domain": _ref("VM"),
        "local_cache_sr": _ref("SR"),
        "other_config": _map(),
        "software_version": _map(),
        "API_version_major": _int(2),
        "API_version_minor": _int(21),
        "PBDs": _back("PBD", "host"),
        "resident_VMs": _back("VM", "resident_on"),
    },
    "host_metrics": {"uuid": _string(), "live": _bool(True), "last_updated": _time()},
    "SM": _NAMED
    | {
        "type": _string(),
        "vendor": _string(),
        "copyright": _string(),
        "version": _string(),
        "required_api_version": _string(),
        "configuration": _map(),
        "capabilities": _strings(),
        "features": Field(Kind.INT_MAP, {}),
        # Lists of features, by host.
        "host_pending_features": _map(),
        "driver_filename": _string(),
        "other_config": _map(),
    },
    "SR": _NAMED
    | {
        "type": _string(),
        "content_type": _string(),
        "shared": _bool(),
        "sm_config": _map(),
        "other_config": _map(),
        "tags": _strings(),
        "virtual_allocation": _int(),
        "physical_utilisation": _int(),
        "physical_size": _int(-1),
        "is_tools_sr": _bool(),
        "PBDs": _back("PBD", "SR"),
        "VDIs": _back("VDI", "SR"),
    },
    "PBD": {
        "uuid": _string(),
        "host": _ref("host"),
        "SR": _ref("SR"),
        "device_config": _map(),
        "other_config": _map(),
        "currently_attached": _bool(),
    },
    "VDI": _NAMED
    | {
        "SR": _ref("SR"),
        "location": _string(),
        "type": _string("user"),
        "virtual_size": _int(),
        "physical_utilisation": _int(),
        "sharable": _bool(),
        "read_only": _bool(),
        "managed": _bool(True),
        "missing": _bool(),
        "storage_lock": _bool(),
        "is_a_snapshot": _bool(),
        "snapshot_of": _ref("VDI"),
        "snapshot_time": _time(),
        "metadata_of_pool": _ref("pool"),
        "cbt_enabled": _bool(),
        "current_operations": _map(),
        "on_boot": _string("persist"),
        "allow_caching": _bool(),
        "parent": _ref("VDI"),
        "sm_config": _map(),
        "other_config": _map(),
        "xenstore_data": _map(),
        "tags": _strings(),
        "snapshots": _back("VDI", "snapshot_of"),
        "VBDs": _back("VBD", "VDI"),
    },
    "VBD": {
        "uuid": _string(),
        "VM": _ref("VM"),
        "VDI": _ref("VDI"),
        "device": _string(),
        "userdevice": _string("autodetect"),
        "bootable": _bool(),
        "mode": _string("RW"),
        "type": _string("Disk"),
        "unpluggable": _bool(True),
        "empty": _bool(),
        "currently_attached": _bool(),
        "other_config": _map(),
        # "params" is the backend's path on the VM's host, as the driver's attach returned it.
        "runtime_properties": _map(),
    },
    "VM": _NAMED
    | {
        "power_state": _string("Halted"),
        "resident_on": _ref("host"),
        "is_control_domain": _bool(),
        "blocked_operations": _map(),
        "is_a_template": _bool(),
        "is_a_snapshot": _bool(),
        "snapshot_of": _ref("VM"),
        "snapshot_time": _time(),
        "domid": _int(-1),
        "current_operations": _map(),
        "other_config": _map(),
        "VBDs": _back("VBD", "VM"),
        "snapshots": _back("VM", "snapshot_of"),
    },
    "secret": {"uuid": _string(), "value": _string(), "other_config": _map()},
    "message": {
        "uuid": _string(),
        "name": _string(),
        "priority": _int(),
        "cls": _string(),
        "obj_uuid": _string(),
        "body": _string(),
        "timestamp": _time(),
    },
    "task": _NAMED
    | {
        "status": _string("pending"),
        "progress": Field(Kind.FLOAT, 0.0),
        "result": _string(),
        "error_info": _strings(),
        "other_config": _map(),
        "subtask_of": _ref("task"),
        "created": _time(),
        "finished": _time(),
    },
    "session": {
        "uuid": _string(),
        "originator": _string(),
        "auth_user_name": _string(),
        "other_config": _map(),
    },
}
