"""A pause or a refresh that is not confirmed in time can still reach the host: its guard stays."""

from __future__ import annotations

import contextlib
import importlib
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

DRIVERS = Path(__file__).parent.parent / "drivers"
VDI, TAGS = "vdi-uuid", {"host_one": "RW"}


class Stack:
    """A XAPI that records the calls of SM and of the plugin; SM's functions return `replies`."""

    def __init__(self, pause: Any, replies: dict[str, bool]) -> None:
        self.calls: list[str] = []
        session = mock.MagicMock()
        session.xenapi.VDI.get_sm_config.return_value = dict(TAGS)
        session.xenapi.host.get_uuid.return_value = "host-uuid"
        self.xapi = pause.CephXapi(lambda: session, "sr-uuid")
        for name in ("tap_pause", "tap_unpause", "tap_refresh"):
            setattr(pause.blktap2.VDI, name, self._sm(name, replies.get(name, True)))
        pause.call_plugin = self._plugin

    def _sm(self, name: str, reply: bool) -> Callable[..., bool]:
        def call(*_: object) -> bool:
            self.calls.append(name)
            return reply

        return call

    def _plugin(self, _session: object, _host: str, function: str, *_: object) -> str:
        self.calls.append(function)
        return ""


@pytest.fixture
def pause(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The driver's module, with a simulated SM."""
    sm = types.ModuleType("smblock.sm")
    error = type("SMException", (Exception,), {})
    vars(sm).update(blktap2=mock.MagicMock(), fist_point=lambda _: None, XenAPI=mock.MagicMock(),
                    util=mock.MagicMock(SMException=error))  # fmt: skip
    package = types.ModuleType("smblock")  # without its core
    package.__path__ = [str(DRIVERS / "smblock")]
    for name in [name for name in sys.modules if name.partition(".")[0] == "smblock"]:
        monkeypatch.delitem(sys.modules, name)
    with mock.patch.dict(sys.modules):  # restores the imported modules
        sys.modules.update({"smblock": package, "smblock.sm": sm, "smblock.supervisor_start": mock.MagicMock()})
        yield importlib.import_module("smblock.pause")


def test_a_guard_ends_with_a_pause_that_returned(pause: Any) -> None:
    stack = Stack(pause, {})
    stack.xapi.pause(VDI)
    stack.xapi.unpause(VDI)
    assert stack.calls == ["guard_pause", "tap_pause", "tap_unpause", "end_guard"]


def test_a_guard_outlives_a_pause_that_did_not_return(pause: Any) -> None:
    stack = Stack(pause, {"tap_pause": False, "tap_unpause": False})
    with pytest.raises(pause.util.SMException):
        stack.xapi.pause(VDI)
    stack.xapi.unpause(VDI)
    assert "end_guard" not in stack.calls


@pytest.mark.parametrize("refreshes", [True, False])
def test_a_refresh_has_a_guard(refreshes: bool, pause: Any) -> None:
    stack = Stack(pause, {"tap_unpause": False, "tap_refresh": refreshes})
    with contextlib.nullcontext() if refreshes else pytest.raises(pause.util.SMException):
        stack.xapi.unpause(VDI)
    assert stack.calls.index("guard_pause") < stack.calls.index("tap_refresh")
    assert ("end_guard" in stack.calls) == refreshes
