"""A XenAPI client for tests and for `xe`: `session.VDI.create({…})`."""

from __future__ import annotations

import xmlrpc.client
from typing import Any

from lab.xapi.errors import ApiError


class _Timeout(xmlrpc.client.Transport):
    def __init__(self, timeout: float) -> None:
        super().__init__()
        self._timeout = timeout

    def make_connection(self, host: Any) -> Any:
        connection = super().make_connection(host)
        connection.timeout = self._timeout
        return connection


class Session:
    """A logged-in connection; use one per thread.

    Calls are attributes: `session.SR.scan(ref)`; a failed one raises `ApiError`.  `timeout` is the
    deadline of one call in seconds.
    """

    def __init__(self, address: str, timeout: float = 600.0) -> None:
        self._proxy = xmlrpc.client.ServerProxy(address, transport=_Timeout(timeout))
        self._ref = str(self._call("session.login_with_password", ("root", "", "", "smblock lab")))

    def __getattr__(self, name: str) -> _Name:
        if name.startswith("_"):
            raise AttributeError(name)
        return _Name(self, name)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Log out."""
        self.call("session.logout")
        self._proxy("close")()

    def call(self, method: str, *params: Any) -> Any:
        """Make one call by its full name."""
        return self._call(method, (self._ref, *params))

    def _call(self, method: str, params: tuple[Any, ...]) -> Any:
        reply: Any = getattr(self._proxy, method)(*params)
        if reply["Status"] == "Success":
            return reply["Value"]
        code, *details = reply["ErrorDescription"]
        raise ApiError(code, *details)


class _Name:
    """Part of a call's dotted name."""

    def __init__(self, session: Session, name: str) -> None:
        self._session = session
        self._name = name

    def __getattr__(self, name: str) -> _Name:
        return _Name(self._session, f"{self._name}.{name}")

    def __call__(self, *params: Any) -> Any:
        return self._session.call(self._name, *params)
