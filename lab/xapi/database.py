"""The pool's database: rows of the classes of `schema`, found by reference, thread-safe."""

from __future__ import annotations

import copy
import threading
import uuid as uuids
from collections.abc import Iterable, Mapping
from typing import Any

from lab.xapi.errors import ApiError
from lab.xapi.query import compile_query
from lab.xapi.schema import CLASSES, NULL, Field, Kind

Record = dict[str, Any]

# Fields that rows are found by: uuids, locations, and the references that back references follow.
_INDEXED = (
    {(cls, "uuid") for cls in CLASSES}
    | {("VDI", "location")}
    | {(f.target, f.via) for fields in CLASSES.values() for f in fields.values() if f.kind is Kind.BACK_REFS}
)


class Database:
    """Every method raises `ApiError` HANDLE_INVALID for a reference without a row."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._rows: dict[str, dict[str, Record]] = {name: {} for name in CLASSES}
        # For each indexed field, value to references; a dict without values keeps their order.
        self._index: dict[tuple[str, str], dict[str, dict[str, None]]] = {key: {} for key in _INDEXED}

    def create(self, cls: str, /, **values: Any) -> str:
        """Add a row; fields that are not in `values` get the schema's default.  Returns its reference."""
        with self._lock:
            row: Record = {
                name: copy.copy(field.default)
                for name, field in CLASSES[cls].items()
                if field.kind is not Kind.BACK_REFS
            }
            row["uuid"] = values.pop("uuid", "") or str(uuids.uuid4())
            if row["uuid"] in self._index[(cls, "uuid")]:
                raise ApiError("DB_UNIQUENESS_CONSTRAINT_VIOLATION", cls, "uuid", row["uuid"])
            for name, value in values.items():
                row[name] = _checked(cls, name, value)
            ref = f"OpaqueRef:{uuids.uuid4()}"
            self._rows[cls][ref] = row
            for name, value in row.items():
                self._note(cls, name, value, ref)
            return ref

    def destroy(self, cls: str, ref: str) -> None:
        """Remove a row."""
        with self._lock:
            for name, value in self._row(cls, ref).items():
                self._unnote(cls, name, value, ref)
            del self._rows[cls][ref]

    def exists(self, cls: str, ref: str) -> bool:
        """Whether the reference has a row."""
        with self._lock:
            return ref in self._rows[cls]

    def get(self, cls: str, ref: str, field: str) -> Any:
        """One field's value, the caller's own copy."""
        with self._lock:
            return self._value(cls, ref, field)

    def set(self, cls: str, ref: str, field: str, value: Any) -> None:
        """Write one field."""
        with self._lock:
            row, new = self._row(cls, ref), _checked(cls, field, value)
            self._unnote(cls, field, row[field], ref)
            row[field] = new
            self._note(cls, field, new, ref)

    def add_key(self, cls: str, ref: str, field: str, key: str, value: str) -> None:
        """Add to a map; MAP_DUPLICATE_KEY if the key is there, which SM's tags depend on."""
        with self._lock:
            mapping = self._row(cls, ref)[field]
            if key in mapping:
                raise ApiError("MAP_DUPLICATE_KEY", cls, field, self._rows[cls][ref]["uuid"], key)
            mapping[key] = value

    def remove_key(self, cls: str, ref: str, field: str, key: str) -> None:
        """Remove a key from a map, if it is there."""
        with self._lock:
            self._row(cls, ref)[field].pop(key, None)

    def replace_key(self, cls: str, ref: str, field: str, key: str, value: str) -> None:
        """Write one key of a map, there or not."""
        with self._lock:
            self._row(cls, ref)[field][key] = value

    def record(self, cls: str, ref: str) -> Record:
        """A whole row, back references included."""
        with self._lock:
            return {name: self._value(cls, ref, name) for name in CLASSES[cls]}

    def refs(self, cls: str) -> list[str]:
        """Every reference of a class, oldest first."""
        with self._lock:
            return list(self._rows[cls])

    def records(self, cls: str, query: str = "true") -> dict[str, Record]:
        """The rows that match a query (see `lab.xapi.query`), which can name a row's reference `_ref`, too
        (db_cache_impl.ml:222-226, "we add the reference to the row itself")."""
        accept = compile_query(query)
        with self._lock:
            rows = {ref: self.record(cls, ref) for ref in self._rows[cls]}
        return {ref: row for ref, row in rows.items() if accept(row | {"_ref": ref})}

    def by_uuid(self, cls: str, uuid: str) -> str:
        """The reference of a uuid; UUID_INVALID if no row has it."""
        with self._lock:
            for ref in self._index[(cls, "uuid")].get(uuid, {}):
                return ref
        raise ApiError("UUID_INVALID", cls, uuid)

    def find(self, cls: str, /, **values: Any) -> list[str]:
        """The references of the rows that have all these values."""
        with self._lock:
            rows = self._rows[cls]
            known: Iterable[str] = rows
            for name, value in values.items():
                if (cls, name) in _INDEXED:
                    known = self._index[(cls, name)].get(value, {})
                    break
            return [ref for ref in known if all(rows[ref][name] == value for name, value in values.items())]

    def _note(self, cls: str, name: str, value: Any, ref: str) -> None:
        if (cls, name) in _INDEXED:
            self._index[(cls, name)].setdefault(value, {})[ref] = None

    def _unnote(self, cls: str, name: str, value: Any, ref: str) -> None:
        if (cls, name) in _INDEXED:
            refs = self._index[(cls, name)][value]
            del refs[ref]
            if not refs:
                del self._index[(cls, name)][value]

    def _row(self, cls: str, ref: str) -> Record:
        try:
            return self._rows[cls][ref]
        except KeyError:
            raise ApiError("HANDLE_INVALID", cls, ref) from None

    def _value(self, cls: str, ref: str, name: str) -> Any:
        row = self._row(cls, ref)
        field = CLASSES[cls][name]
        if field.kind is Kind.BACK_REFS:
            return list(self._index[(field.target, field.via)].get(ref, {}))
        return copy.copy(row[name])


def _checked(cls: str, name: str, value: Any) -> Any:
    """The value as the row stores it; FIELD_TYPE_ERROR if it is not of the field's kind."""
    field = CLASSES[cls].get(name)
    if field is None or field.kind is Kind.BACK_REFS:
        raise ApiError("MESSAGE_METHOD_UNKNOWN", f"{cls}.set_{name}")
    try:
        return _coerced(field, value)
    except (TypeError, ValueError):
        raise ApiError("FIELD_TYPE_ERROR", f"{cls}.{name}: {value!r}") from None


def _coerced(field: Field, value: Any) -> Any:
    match field.kind:
        case Kind.INT:
            if isinstance(value, bool):
                raise TypeError
            return int(value)
        case Kind.FLOAT:
            return float(value)
        case Kind.BOOL:
            if not isinstance(value, bool):
                raise TypeError
            return value
        case Kind.MAP | Kind.INT_MAP:
            if not isinstance(value, Mapping):
                raise TypeError
            return dict(value)
        case Kind.STRINGS:
            return [str(item) for item in value]
        case Kind.REF:
            return str(value) or NULL
        case _:
            if not isinstance(value, str):
                raise TypeError
            return value
