"""The commands every class has: -list, -param-list, -param-get, -param-set, -param-add, -param-remove."""

from __future__ import annotations

from typing import Any

from lab.xapi.cli.arguments import Arguments
from lab.xapi.cli.views import VIEWS, CliError, Column, Names, View
from lab.xapi.client import Session
from lab.xapi.schema import Kind

_MAPS = (Kind.MAP, Kind.INT_MAP)
_INDENT = 4


def run(session: Session, args: Arguments) -> str | None:
    """The output of such a command, or None if the command is another one."""
    for suffix, action in _ACTIONS.items():
        prefix = args.command.removesuffix(suffix)
        if prefix != args.command and prefix in VIEWS:
            return action(session, VIEWS[prefix], args)
    return None


def _list(session: Session, view: View, args: Arguments) -> str:
    names = Names(session)
    selectors = {key: value for key, value in args.values.items() if key != "params"}
    records: dict[str, dict[str, Any]] = session.call(f"{view.cls}.get_all_records")
    chosen = [
        record
        for record in records.values()
        if all(_matches(view, record, names, *selector) for selector in selectors.items())
    ]
    columns = _wanted(view, args.get("params"))
    if "minimal" in args.flags:
        first = [columns[0].show(record, names) for record in chosen]
        return ",".join(value.replace("\\", "\\\\").replace(",", "\\,") for value in first) + "\n"
    return "".join(_table(columns, record, names) + "\n\n" for record in chosen)


def _wanted(view: View, params: str) -> list[Column]:
    if params == "all":
        return list(view.columns.values())
    wanted = params.split(",") if params else list(view.brief)
    for name in wanted:
        view.column(name)
    return [column for column in view.columns.values() if column.name in wanted]


def _matches(view: View, record: dict[str, Any], names: Names, key: str, value: str) -> bool:
    name, mark, inner = key.partition(":")
    column = view.column(name)
    if mark:
        return _map_of(column, record).get(inner) == value
    return column.show(record, names) == value


def _map_of(column: Column, record: dict[str, Any]) -> dict[str, str]:
    if column.kind not in _MAPS:
        raise CliError(f"Field '{column.name}' is not a set or map")
    mapping: dict[str, str] = record[column.api_field]
    return mapping


def _table(columns: list[Column], record: dict[str, Any], names: Names) -> str:
    """The table of a record, with xe's alignment: titles to the right, the first one to the left."""
    width = _INDENT + max(len(column.title) for column in columns)
    lines = []
    for number, column in enumerate(columns):
        title = column.title.ljust(width) if number == 0 else column.title.rjust(width)
        lines.append(f"{title}: {column.show(record, names)}\n")
    return "".join(lines)


def _object(session: Session, view: View, args: Arguments) -> tuple[str, dict[str, Any]]:
    ref: str = session.call(f"{view.cls}.get_by_uuid", args.need("uuid"))
    return ref, session.call(f"{view.cls}.get_record", ref)


def _param_list(session: Session, view: View, args: Arguments) -> str:
    _ref, record = _object(session, view, args)
    return _table(list(view.columns.values()), record, Names(session)) + "\n\n"


def _param_get(session: Session, view: View, args: Arguments) -> str:
    _ref, record = _object(session, view, args)
    column = view.column(args.need("param-name"))
    if "param-key" in args.values:
        mapping, key = _map_of(column, record), args.need("param-key")
        if key not in mapping:
            raise CliError(f"Key {key} not found in map")
        return f"{mapping[key]}\n"
    return column.show(record, Names(session)) + "\n"


def _param_set(session: Session, view: View, args: Arguments) -> str:
    ref, record = _object(session, view, args)
    for key, value in args.values.items():
        if key == "uuid":
            continue
        name, _, inner = key.partition(":")
        column = _writable(view, name)
        if inner:
            changed = _map_of(column, record) | {inner: value}
            session.call(f"{view.cls}.set_{column.api_field}", ref, changed)
            record[column.api_field] = changed
        elif column.kind is Kind.BOOL:
            session.call(f"{view.cls}.set_{column.api_field}", ref, args.flag(name))
        else:
            session.call(f"{view.cls}.set_{column.api_field}", ref, value)
    return ""


def _param_add(session: Session, view: View, args: Arguments) -> str:
    ref, _record = _object(session, view, args)
    column = _writable(view, args.need("param-name"))
    method = f"{view.cls}.add_to_{column.api_field}"
    if "param-key" in args.values:
        session.call(method, ref, args.need("param-key"))
        return ""
    for key, value in args.values.items():
        if key not in ("uuid", "param-name"):
            session.call(method, ref, key, value)
    return ""


def _param_remove(session: Session, view: View, args: Arguments) -> str:
    ref, _record = _object(session, view, args)
    column = _writable(view, args.need("param-name"))
    method = f"{view.cls}.remove_from_{column.api_field}"
    session.call(method, ref, args.need("param-key"))
    return ""


def _writable(view: View, name: str) -> Column:
    column = view.column(name)
    if not column.writable:
        raise CliError(f"Field '{name}' is read-only")
    return column


_ACTIONS = {
    "-param-list": _param_list,
    "-param-get": _param_get,
    "-param-set": _param_set,
    "-param-add": _param_add,
    "-param-remove": _param_remove,
    "-list": _list,
}
