"""The xapi simulator: what XCP-ng's toolstack does to a storage driver, on a plain machine.

`Xapi` is a pool's toolstack: a database, the XenAPI over XML-RPC, and the execution of SM commands on
the pool's hosts in xapi's own order.  `Session` is a client of it.  A call that is not implemented
is an error.
"""

from lab.xapi.client import Session
from lab.xapi.errors import ApiError
from lab.xapi.pool import Command, Settings
from lab.xapi.server import Xapi

__all__ = ["ApiError", "Command", "Session", "Settings", "Xapi"]
