"""Which disks the driver snapshots together: those of the VM whose operation the command belongs to."""

from __future__ import annotations

import importlib
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

DRIVERS = Path(__file__).parent.parent / "drivers"
NULL = "OpaqueRef:NULL"


class Failure(Exception):
    def __init__(self, *details: str) -> None:
        super().__init__(*details)
        self.details = list(details)


class Database:
    """The rows of XAPI that the driver reads."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, dict[str, Any]]] = {"VDI": {}, "VBD": {}, "VM": {}, "task": {}}

    def add(self, cls: str, ref: str, **fields: Any) -> str:
        self.rows[cls][ref] = fields
        return ref

    def __getattr__(self, cls: str) -> Any:
        rows = self.rows[cls]

        def get(name: str) -> Any:
            def field(ref: str) -> Any:
                if ref not in rows:
                    raise Failure("HANDLE_INVALID", cls, ref)
                return rows[ref] if name == "record" else rows[ref][name]

            return field

        def where(query: str) -> dict[str, dict[str, Any]]:
            wanted = re.findall(r'field "(\w+)" = "([^"]+)"', query)
            rows_with_refs = {ref: row | {"_ref": ref} for ref, row in rows.items()}
            return {
                ref: row for ref, row in rows_with_refs.items() if any(row[name] == value for name, value in wanted)
            }

        names = ("record", "subtask_of", "current_operations", "uuid")
        return types.SimpleNamespace(get_all_records_where=where, **{f"get_{name}": get(name) for name in names})


@pytest.fixture
def siblings_of() -> Iterator[Any]:
    sm = types.ModuleType("smblock.sm")
    vars(sm).update(util=mock.MagicMock())
    package = types.ModuleType("smblock")
    package.__path__ = [str(DRIVERS / "smblock")]
    api = types.ModuleType("XenAPI")
    vars(api).update(Failure=Failure)
    with mock.patch.dict(sys.modules, {"smblock": package, "smblock.sm": sm, "XenAPI": api}):
        sys.modules.pop("smblock.siblings", None)
        yield importlib.import_module("smblock.siblings").siblings_of


def pool(operation: str = "snapshot", parent: str = "vm-task", disks: int = 3) -> Database:
    """A VM whose operation snapshots its first disk now."""
    db = Database()
    db.add("VM", "vm", current_operations={"vm-task": operation})
    db.add("task", "disk-task", subtask_of=parent)
    for number in range(disks):
        plug(db, "vm", f"disk{number}", current_operations={"disk-task": "snapshot"} if number == 0 else {})
    return db


def plug(db: Database, vm: str, vdi: str, **fields: Any) -> None:
    vbd = f"vbd of {vdi} in {vm}"
    of_vdi = db.rows["VDI"].setdefault(vdi, {"uuid": f"uuid-{vdi}", "VBDs": [], "current_operations": {}})
    of_vdi["VBDs"].append(vbd)
    of_vdi.update({name: value for name, value in fields.items() if name == "current_operations"})
    row = {"VM": vm, "VDI": vdi, "type": "Disk", "empty": False, "currently_attached": True}
    db.add("VBD", vbd, **(row | {name: value for name, value in fields.items() if name in row}))


def found(siblings_of: Any, db: Database) -> Any:
    return siblings_of(types.SimpleNamespace(xenapi=db), "disk0")


@pytest.mark.parametrize("operation", ["snapshot", "checkpoint"])
def test_the_vms_other_disks_are_found_by_the_task(operation: str, siblings_of: Any) -> None:
    assert found(siblings_of, pool(operation)) == ("vm-task", ["uuid-disk1", "uuid-disk2"])


@pytest.mark.parametrize(("operation", "parent"), [("clone", "vm-task"), ("snapshot", NULL), ("snapshot", "another")])
def test_a_snapshot_that_is_no_part_of_a_vms_is_taken_alone(operation: str, parent: str, siblings_of: Any) -> None:
    assert found(siblings_of, pool(operation, parent)) == ("", [])


def test_only_plugged_disks_of_that_vm_count(siblings_of: Any) -> None:
    db = pool(disks=2)
    plug(db, "vm", "cd", type="CD")
    plug(db, "vm", "empty", empty=True)
    plug(db, "vm", "unplugged", currently_attached=False)
    db.add("VM", "other", current_operations={})
    plug(db, "other", "disk0")
    plug(db, "other", "theirs")
    assert found(siblings_of, db) == ("vm-task", ["uuid-disk1"])


def test_a_task_that_has_ended_meanwhile_is_no_error(siblings_of: Any) -> None:
    db = pool()
    del db.rows["task"]["disk-task"]
    assert found(siblings_of, db) == ("", [])
