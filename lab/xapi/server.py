"""The xapi simulator: the XenAPI over XML-RPC on loopback, for SM, `xe` and tests."""

from __future__ import annotations

import inspect
import json
import logging
import threading
import xmlrpc.client
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from lab.ports import AddressLease
from lab.xapi.calls import Calls
from lab.xapi.client import Session
from lab.xapi.dom0 import Host
from lab.xapi.errors import ApiError, ToolstackGone, Unimplemented
from lab.xapi.liveness import Liveness
from lab.xapi.pool import CALLER, Command, Pool, Settings
from lab.xapi.wire import incoming

_LOG = logging.getLogger(__name__)
_PORT = 8080
# Calls that need no session.
_LOGIN = ("session.login_with_password", "session.slave_local_login_with_password")
_LOGOUT = ("session.logout", "session.local_logout")


class Xapi:
    """A pool's xapi.

    It takes a loopback address of its own at construction, so that a host can have
    `endpoint` (address and TCP port) before it joins:

        with Xapi() as xapi:
            layout(dom0, …, xapi=xapi.endpoint)
            xapi.add_host(dom0)
            session = xapi.session()
    """

    def __init__(self, hosts: Iterable[Host] = (), settings: Settings | None = None) -> None:
        self.pool = Pool(settings or Settings())
        self.calls = Calls(self.pool)
        self._waiting = list(hosts)
        self._lease = AddressLease()
        self.endpoint = (self._lease.address, _PORT)
        self._http = _Server(self.endpoint, _Handler)
        self._http.respond = self._respond
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        """The address of the XenAPI."""
        return f"http://{self.endpoint[0]}:{self.endpoint[1]}/"

    @property
    def commands(self) -> list[Command]:
        """Every SM command executed so far, oldest first."""
        return list(self.pool.commands)

    def start(self) -> Xapi:
        """Serve calls, and join the hosts given at construction."""
        self._thread = threading.Thread(
            target=self._http.serve_forever,
            kwargs={"poll_interval": 0.05},
            name="xapi",
            daemon=True,
        )
        self._thread.start()
        for dom0 in self._waiting:
            self.add_host(dom0)
        self._waiting.clear()
        return self

    def stop(self) -> None:
        """Stop serving, without waiting for calls under way."""
        if self._thread is not None:
            self._http.shutdown()
            self._thread.join()
            self._thread = None
        self._http.server_close()
        self._lease.release()

    def __enter__(self) -> Xapi:
        return self.start()

    def __exit__(self, *_raised: object) -> None:
        self.stop()

    def add_host(self, dom0: Host) -> str:
        """Join a host; the first one is the pool master.  Returns its reference."""
        return self.pool.add_host(dom0)

    def session(self) -> Session:
        """Log in."""
        return Session(self.address)

    def restart_toolstack(self, host: str) -> None:
        """`xe-toolstack-restart` on a host: its xapi loses the calls that it waits for, and reads the drivers again.

        Calls under way get no reply if the host is the master, else they fail; see `Pool.lose_toolstack`.
        """
        self.pool.lose_toolstack(host)
        self.pool.load_drivers(host)

    def host_started(self, host: str, *, plug: bool = True) -> list[str]:
        """Start a host that was powered off: its SRs are plugged if `plug`, no disk is.

        Returns the references of the plugs' tasks.
        """
        return self.calls.hosts.started(host, plug=plug)

    @property
    def liveness(self) -> Liveness:
        """Events of hosts that are no calls of the XenAPI: missed heartbeats, HA, a clean shutdown."""
        return self.calls.hosts.liveness

    def write_lab_file(self, path: Path) -> None:
        """Write the file by which `xe` finds this xapi (through the variable SMBLOCK_LAB)."""
        path.write_text(json.dumps({"xapi": self.address}) + "\n")

    def _respond(self, method: str, params: tuple[Any, ...]) -> dict[str, Any]:
        try:
            value = self._dispatch(method, [incoming(param) for param in params])
        except ApiError as error:
            return {"Status": "Failure", "ErrorDescription": error.description}
        except Unimplemented as error:
            description = ["UNIMPLEMENTED_IN_SM_BACKEND", str(error)]
            return {"Status": "Failure", "ErrorDescription": description}
        except ToolstackGone:
            raise
        except Exception as error:
            _LOG.exception("%s failed inside the xapi simulator", method)
            return {"Status": "Failure", "ErrorDescription": ["INTERNAL_ERROR", repr(error)]}
        return {"Status": "Success", "Value": "" if value is None else value}

    def _dispatch(self, method: str, params: list[Any]) -> Any:
        db = self.pool.db
        if method in _LOGIN:
            return db.create("session", auth_user_name=params[0], originator=_originator(params))
        if not params or not isinstance(params[0], str) or not db.exists("session", params[0]):
            raise ApiError("SESSION_INVALID", str(params[0]) if params else "")
        session, *rest = params
        self.pool.note_call(session, method)
        CALLER.set(session)
        if method in _LOGOUT:
            return db.destroy("session", session)
        if method.startswith("Async."):
            call = self.calls.find(method.removeprefix("Async."))
            _require_arity(method, call, rest)
            return self.calls.tasks.start(method, call, *rest)
        call = self.calls.find(method)
        _require_arity(method, call, rest)
        return call(*rest)


def _originator(params: list[Any]) -> str:
    return str(params[3]) if len(params) > 3 else ""


def _require_arity(method: str, call: Callable[..., Any], params: list[Any]) -> None:
    try:
        inspect.signature(call).bind(*params)
    except TypeError as error:
        raise ApiError("MESSAGE_PARAMETER_COUNT_MISMATCH", method, str(error)) from None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    respond: Callable[[str, tuple[Any, ...]], dict[str, Any]]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body are two writes: with Nagle's algorithm each call would take 40 ms.
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        """One call: any path, as xapi takes them."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        params, method = xmlrpc.client.loads(body)
        try:
            reply = self.server.respond(method or "", params)
        except ToolstackGone:
            self.close_connection = True
            return
        data = xmlrpc.client.dumps((reply,), methodresponse=True).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests go to the log, not to stderr."""
        _LOG.debug(format, *args)
