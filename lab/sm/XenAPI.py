"""Simulator of the XenAPI module: calls to xapi over its local unix socket.

``session.xenapi.VDI.get_uuid(ref)`` sends the XML-RPC method VDI.get_uuid with the
session's reference in front; the reply is a struct {Status, Value} or
{Status, ErrorDescription}, and the latter raises Failure.
"""

import http.client
import os
import socket
import xmlrpc.client

SOCKET = "/var/lib/xcp/xapi"


class Failure(Exception):
    """xapi returned an error: details[0] is its code, the rest its arguments."""

    def __init__(self, details):
        Exception.__init__(self, details)
        self.details = details

    def __str__(self):
        return str(self.details)


class _UnixConnection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(SOCKET)


class UDSTransport(xmlrpc.client.Transport):
    def make_connection(self, host):
        self._extra_headers = []
        if os.environ.get("ORIGINATOR"):
            self.add_extra_header("originator", os.environ["ORIGINATOR"])
        if not self._connection or self._connection[0] != host:
            self._connection = host, _UnixConnection(host)
        return self._connection[1]

    def add_extra_header(self, key, value):
        self._extra_headers = self._extra_headers + [(key, value)]


class _Calls:
    def __init__(self, session, name):
        self._to, self._name = session, name

    def __getattr__(self, name):
        return _Calls(self._to, self._name + "." + name if self._name else name)

    def __call__(self, *args):
        if self._name.startswith("login"):
            return self._to._login(self._name, args)
        if self._name == "session.logout":
            return self._to._logout()
        return self._to._call(self._name, (self._to._session,) + args)


class Session:
    def __init__(self, uri, transport=None):
        self.transport = transport
        self._proxy = xmlrpc.client.ServerProxy(uri, transport, allow_none=True)
        self._session = None
        self._logged_in = None
        self.xenapi = _Calls(self, "")

    @property
    def handle(self):
        return self._session

    def _call(self, method, params):
        reply = getattr(self._proxy, method)(*params)
        if reply["Status"] == "Success":
            return reply["Value"]
        if reply["ErrorDescription"][0] != "SESSION_INVALID":
            raise Failure(reply["ErrorDescription"])
        # a session of a login is renewed and the call retried; a session that was passed in is lost
        if self._logged_in is None or self._relogins == 3:
            raise xmlrpc.client.Fault(401, "You must log in")
        self._relogins += 1
        self._login(*self._logged_in)
        return self._call(method, (self._session,) + params[1:])

    def _login(self, method, args):
        self._logged_in = None
        self._session = self._call("session." + method, args)
        self._logged_in, self._relogins = (method, args), 0

    def _logout(self):
        self._logged_in = None
        try:
            self._call("session.logout", (self._session,))
        finally:
            self._session = None


def xapi_local():
    return Session("http://" + SOCKET.replace("/", "_") + "/", transport=UDSTransport())
