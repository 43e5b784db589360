"""One SM command, as xapi executes it: the argument it builds and the reply it accepts.

The driver gets exactly one argument, an XML-RPC methodCall with one struct in which everything is a
string; its stdout must be exactly one methodResponse.
"""

from __future__ import annotations

import xmlrpc.client
from collections.abc import Mapping
from typing import Any
from xml.parsers.expat import ExpatError

from lab.xapi.dom0 import Completed
from lab.xapi.errors import ApiError, from_fault

DriverReply = Completed


def build_call(command: str, params: Mapping[str, Any]) -> str:
    """The argument of an SM command; `params` are added to the common ones."""
    struct = {"command": command, "args": [], **params}
    return xmlrpc.client.dumps((struct,), methodname=command)


def read_reply(done: Completed, *, sr: str, vdi: str) -> Any:
    """The value that a driver returned about `sr` and `vdi` (references, or "").

    Raises what xapi raises: `Unimplemented` for fault 38, `ApiError` for any other fault, for an exit
    status other than 0, and for a reply that is not exactly one methodResponse.
    """
    stdout = done.stdout.decode(errors="replace")
    stderr = done.stderr.decode(errors="replace")
    if done.returncode < 0:
        raise ApiError("SR_BACKEND_FAILURE", f"received signal: {-done.returncode}", stdout, stderr)
    if done.returncode != 0:
        raise ApiError("SR_BACKEND_FAILURE", "non-zero exit", stdout, stderr)
    try:
        values, method = xmlrpc.client.loads(stdout)
    except xmlrpc.client.Fault as fault:
        # For some faults xapi returns only the code; the driver's message stays as the cause.
        raise from_fault(fault.faultCode, fault.faultString, stderr, sr, vdi) from fault
    except (ExpatError, xmlrpc.client.Error, ValueError) as error:
        raise ApiError("SR_BACKEND_FAILURE", str(error), stdout, stderr) from None
    if method is not None or len(values) != 1:
        raise ApiError("INTERNAL_ERROR", "Unexpected response from SM plugin")
    return values[0]


def expect_nil(value: Any) -> None:
    """Accept the empty reply only."""
    if value is not None:
        raise _misread(value, "nil")


def expect_string(value: Any) -> str:
    """Accept a string only."""
    if not isinstance(value, str):
        raise _misread(value, "string")
    return value


def expect_vdi(value: Any) -> tuple[str, str]:
    """The uuid and location of the VDI a command made or changed."""
    if not isinstance(value, dict) or not {"uuid", "location"} <= value.keys():
        raise _misread(value, "<struct> with fields uuid, location")
    return str(value["uuid"]), str(value["location"])


def expect_attachment(value: Any) -> dict[str, Any]:
    """The reply of vdi_attach: `params_nbd` is required, `params` is the block device's path."""
    if not isinstance(value, dict) or "params_nbd" not in value:
        raise _misread(value, "<struct> with field params_nbd")
    return value


def _misread(value: Any, wanted: str) -> ApiError:
    return ApiError("SR_BACKEND_FAILURE", "", f"XML parse failure: {value!r}", f"wanted {wanted}")
