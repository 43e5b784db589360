"""Failures of the XenAPI, as xapi spells them: a code and a list of strings."""

from __future__ import annotations


class ApiError(Exception):
    """A XenAPI call failed; `code` and `params` are what its caller gets as ErrorDescription."""

    def __init__(self, code: str, *params: str) -> None:
        super().__init__(code, *params)
        self.code = code
        self.params = list(params)

    @property
    def description(self) -> list[str]:
        """The ErrorDescription of the reply."""
        return [self.code, *self.params]

    def __str__(self) -> str:
        return f"{self.code}: [ {'; '.join(self.params)} ]"


class ToolstackGone(BaseException):
    """The xapi that a call was made to has ended: its caller gets no reply, and the call stops.

    Not an `Exception`: handlers of failures must not catch it.
    """


class Unimplemented(Exception):
    """The driver returned fault 38: xapi uses another operation if it has one."""


# What xapi makes of a driver's fault codes; any other N becomes SR_BACKEND_FAILURE_N.
FAULT_UNIMPLEMENTED = 38
FAULT_VDI_MISSING = 144
_PLAIN_FAULTS = {39: "SR_NOT_EMPTY", 24: "VDI_IN_USE", 16: "SR_DEVICE_IN_USE"}


def from_fault(code: int, reason: str, stderr: str, sr: str, vdi: str) -> Exception:
    """The exception xapi raises for a driver's fault about `sr` and `vdi` (references, or "")."""
    if code == FAULT_UNIMPLEMENTED:
        return Unimplemented(reason)
    if code == FAULT_VDI_MISSING:
        return ApiError("VDI_MISSING", sr, vdi)
    if code in _PLAIN_FAULTS:
        return ApiError(_PLAIN_FAULTS[code])
    return ApiError(f"SR_BACKEND_FAILURE_{code}", "", reason, stderr)
