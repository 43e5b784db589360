"""Simulator of SM's xs_errors: the errors that an SM driver returns to xapi.

A driver raises ``XenError(name, opterr=...)``; the number and the text come from
XE_SR_ERRORCODES.xml beside this file. A name that is not in there becomes code 1,
as on a real host, which shows a misspelt name.
"""

import errno as _errno
import os
import xml.etree.ElementTree
import xmlrpc.client

import util

XML_DEFS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "XE_SR_ERRORCODES.xml")


class SRException(Exception):
    """An error that reaches xapi as an XML-RPC fault with its own number."""

    errno = _errno.EINVAL

    def toxml(self):
        return xmlrpc.client.dumps(xmlrpc.client.Fault(int(self.errno), str(self)), "", True)


class SROSError(SRException):
    def __init__(self, errno, reason):
        SRException.__init__(self, reason)
        self.errno = errno


class XenError(Exception):
    """Not an exception: calling it makes the SROSError of that name."""

    def __new__(cls, key, opterr=None):
        known = cls._codes().get(key)
        if known is None:
            return SROSError(1, f"Error reporting error, unknown key {key}")
        code, message = known
        if opterr is not None:
            message += f" [opterr={opterr}]"
        util.SMlog(f"Raising exception [{code}, {message}]")
        return SROSError(code, message)

    @staticmethod
    def _codes():
        if not os.path.exists(XML_DEFS):
            raise Exception("No XML def file found")
        return {
            code.findtext("name"): (int(code.findtext("value")), code.findtext("description"))
            for code in xml.etree.ElementTree.parse(XML_DEFS).getroot().iter("code")
        }
