"""Every call of the XenAPI by name: those with an effect of their own, and the generic ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from lab.xapi.copies import CopyCalls
from lab.xapi.datapath import Datapaths
from lab.xapi.errors import ApiError
from lab.xapi.host import HostCalls, MessageCalls, SecretCalls, TaskCalls
from lab.xapi.pool import Pool
from lab.xapi.schema import CLASSES, Kind
from lab.xapi.sr import PbdCalls, SrCalls
from lab.xapi.tasks import Tasks
from lab.xapi.vbd import VbdCalls
from lab.xapi.vdi import VdiCalls
from lab.xapi.vm import VmCalls
from lab.xapi.wire import outgoing, outgoing_record

Call = Callable[..., Any]


class _Class(Protocol):
    """A class with calls of its own: the methods named by API."""

    @property
    def API(self) -> tuple[str, ...]: ...


class Calls:
    """The calls of one pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.tasks = Tasks(pool.db)
        self.datapaths = Datapaths(pool)
        vdis, pbds = VdiCalls(pool), PbdCalls(pool)
        vbds = VbdCalls(pool, self.datapaths)
        vms = VmCalls(pool, vdis, vbds, self.datapaths)
        self._beside: dict[str, Call] = {"VDI.copy": CopyCalls(pool, vdis, vbds).copy}
        self.hosts = HostCalls(pool, vms, pbds, self.datapaths, self.tasks)
        self._classes: dict[str, _Class] = {
            "SR": SrCalls(pool, pbds, self.tasks),
            "PBD": pbds,
            "VDI": vdis,
            "VBD": vbds,
            "VM": vms,
            "host": self.hosts,
            "secret": SecretCalls(pool),
            "message": MessageCalls(pool),
            "task": TaskCalls(pool),
        }

    def find(self, method: str) -> Call:
        """The function behind "class.call"; it takes the call's parameters after the session."""
        cls, _, name = method.partition(".")
        if cls not in CLASSES:
            raise ApiError("MESSAGE_METHOD_UNKNOWN", method)
        if method in self._beside:
            return self._beside[method]
        own = self._classes.get(cls)
        if own is not None and name in own.API:
            call: Call = getattr(own, name)
            return call
        return self._generic(cls, name, method)

    def _generic(self, cls: str, name: str, method: str) -> Call:
        whole: dict[str, Call] = {
            "get_all": lambda: self._pool.db.refs(cls),
            "get_by_uuid": lambda uuid: self._pool.db.by_uuid(cls, uuid),
            "get_by_name_label": lambda label: self._pool.db.find(cls, name_label=label),
            "get_record": lambda ref: outgoing_record(cls, self._pool.db.record(cls, ref)),
            "get_all_records": lambda: self._records(cls, "true"),
            "get_all_records_where": lambda query: self._records(cls, query),
        }
        if name in whole:
            return whole[name]
        for prefix, make in (
            ("get_", self._getter),
            ("set_", self._setter),
            ("add_to_", self._adder),
            ("remove_from_", self._remover),
        ):
            field = name.removeprefix(prefix)
            if name.startswith(prefix) and field in CLASSES[cls]:
                return make(cls, field)
        raise ApiError("MESSAGE_METHOD_UNKNOWN", method)

    def _records(self, cls: str, query: str) -> dict[str, Any]:
        rows = self._pool.db.records(cls, query)
        return {ref: outgoing_record(cls, row) for ref, row in rows.items()}

    def _getter(self, cls: str, field: str) -> Call:
        return lambda ref: outgoing(cls, field, self._pool.db.get(cls, ref, field))

    def _setter(self, cls: str, field: str) -> Call:
        return lambda ref, value: self._pool.db.set(cls, ref, field, value)

    def _adder(self, cls: str, field: str) -> Call:
        db = self._pool.db
        if CLASSES[cls][field].kind is Kind.STRINGS:
            return lambda ref, value: db.set(cls, ref, field, [*db.get(cls, ref, field), value])
        return lambda ref, key, value: db.add_key(cls, ref, field, key, value)

    def _remover(self, cls: str, field: str) -> Call:
        db = self._pool.db
        if CLASSES[cls][field].kind is Kind.STRINGS:
            return lambda ref, value: db.set(
                cls, ref, field, [item for item in db.get(cls, ref, field) if item != value]
            )
        return lambda ref, key: db.remove_key(cls, ref, field, key)
