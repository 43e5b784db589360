"""A pause or a refresh that is not confirmed in time can still reach the host: its guard stays."""

from __future__ import annotations

import importlib
import json
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

DRIVERS = Path(__file__).parent.parent / "drivers"
VDI = "vdi-uuid"
TWO = (VDI, "another")


class Stack:
    """A XAPI that records the calls of SM and of the plugin; SM's functions return `replies`.

    `is_older`: its hosts have smblock 0.1. `hosts`: those that have the disks active.
    """

    def __init__(
        self, pause: Any, replies: dict[str, bool], *, is_older: bool = False, hosts: tuple[str, ...] = ("one",)
    ) -> None:
        self.older: set[str] = set()  # hosts without the functions for several disks
        tags = {f"host_{host}": "RW" for host in hosts}
        self.calls: list[str] = []
        session = mock.MagicMock()
        session.xenapi.VDI.get_sm_config.return_value = tags
        session.xenapi.VDI.get_all_records_where.return_value = {
            f"ref of {vdi}": {"uuid": vdi, "sm_config": dict(tags)} for vdi in TWO
        }
        session.xenapi.host.get_uuid.return_value = "host-uuid"
        self.xapi = pause.CephXapi(lambda: session, "sr-uuid")
        for name in ("tap_pause", "tap_unpause", "tap_refresh"):
            setattr(pause.blktap2.VDI, name, self._sm(name, replies.get(name, True)))
        pause.call_plugin = self._plugin
        # What the host replies about each disk to `pause_disks` and to `resume_disks`; None: it has neither.
        self.together: dict[str, dict[str, str] | Exception | None] = dict.fromkeys(
            ("pause_disks", "resume_disks"), None if is_older else {}
        )
        together: Any = importlib.import_module("smblock.pause_together")
        together.call_plugins = self._plugins

    def _plugins(
        self, _session: object, hosts: list[str], function: str, _seconds: int, args_of: Callable[[str], dict[str, str]]
    ) -> dict[str, tuple[str | None, Exception | None]]:
        if hosts:
            self.calls.append(function)
        replies = self.together[function]
        unknown = Exception(function)
        unknown.details = ["UNKNOWN_XENAPI_PLUGIN_FUNCTION"]  # type: ignore[attr-defined]

        def reply(host: str) -> tuple[str | None, Exception | None]:
            if replies is None or host in self.older:
                return None, unknown
            if isinstance(replies, Exception):
                return None, replies
            return json.dumps({vdi: replies.get(vdi, "") for vdi in args_of(host)["vdis"].split(",")}), None

        return {host: reply(host) for host in hosts}

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
    vars(sm).update(blktap2=mock.MagicMock(), Lock=None, fist_point=lambda _: None, XenAPI=mock.MagicMock(),
                    util=mock.MagicMock(SMException=error))  # fmt: skip
    package = types.ModuleType("smblock")  # without its core
    package.__path__ = [str(DRIVERS / "smblock")]
    for name in [name for name in sys.modules if name.partition(".")[0] == "smblock"]:
        monkeypatch.delitem(sys.modules, name)
    with mock.patch.dict(sys.modules):  # restores the imported modules
        sys.modules.update({"smblock": package, "smblock.sm": sm, "smblock.supervisor_start": mock.MagicMock()})
        yield importlib.import_module("smblock.pause")


def test_a_guard_ends_with_a_pause_that_returned(pause: Any) -> None:
    stack = Stack(pause, {}, is_older=True)
    assert stack.xapi.pause(VDI) == [None]
    assert stack.xapi.unpause(VDI) == [(True, None)]
    assert stack.calls == ["pause_disks", "guard_pause", "tap_pause", "tap_unpause", "end_guard"]


def test_a_guard_outlives_a_pause_that_did_not_return(pause: Any) -> None:
    stack = Stack(pause, {"tap_pause": False, "tap_unpause": False}, is_older=True)
    assert "failed to pause" in stack.xapi.pause(VDI)[0]
    stack.xapi.unpause(VDI)
    assert "end_guard" not in stack.calls


@pytest.mark.parametrize("refreshes", [True, False])
def test_a_refresh_has_a_guard(refreshes: bool, pause: Any) -> None:
    stack = Stack(pause, {"tap_unpause": False, "tap_refresh": refreshes})
    [(was_paused, error)] = stack.xapi.unpause(VDI)
    assert (was_paused, error is None) == (False, refreshes)
    assert stack.calls.index("guard_pause") < stack.calls.index("tap_refresh")
    assert ("end_guard" in stack.calls) == refreshes


@pytest.mark.parametrize("disks", [(VDI,), TWO])
def test_disks_are_paused_together_by_one_call(disks: tuple[str, ...], pause: Any) -> None:
    stack = Stack(pause, {})
    assert stack.xapi.pause(*disks) == [None] * len(disks)
    assert stack.xapi.unpause(*disks) == [(True, None)] * len(disks)
    assert stack.calls == ["pause_disks", "resume_disks"]


def test_disks_of_this_host_are_paused_without_a_plugin(pause: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = Stack(pause, {})
    together: Any = importlib.import_module("smblock.pause_together")
    asked = []

    def reply(what: str) -> Callable[..., dict[str, str]]:
        def call(_sr: str, vdis: list[str], _name: str, **_: object) -> dict[str, str]:
            asked.append(what)
            return dict.fromkeys(vdis, "")

        return call

    monkeypatch.setattr(together.disks, "pause", reply("pause"))
    monkeypatch.setattr(together, "resume", reply("resume"))
    together.util.get_this_host_ref.return_value = "one"
    assert stack.xapi.pause(*TWO) == [None, None]
    assert stack.xapi.unpause(*TWO) == [(True, None)] * 2
    assert asked == ["pause", "resume"]
    assert stack.calls == []


def test_disks_of_a_host_with_an_older_smblock_are_paused_one_by_one(pause: Any) -> None:
    stack = Stack(pause, {}, is_older=True)
    assert stack.xapi.pause(*TWO) == [None, None]
    assert stack.xapi.unpause(*TWO) == [(True, None)] * 2
    expected = {"tap_pause": 2, "tap_unpause": 2, "guard_pause": 2, "end_guard": 2, "resume_disks": 0}
    assert {call: stack.calls.count(call) for call in expected} == expected


@pytest.mark.parametrize("older", [{"one"}, {"one", "two"}])
def test_a_disk_that_one_host_has_paused_is_resumed_before_sm_pauses_it(older: set[str], pause: Any) -> None:
    stack = Stack(pause, {}, hosts=("one", "two"))
    stack.older = older
    assert stack.xapi.pause(VDI) == [None]
    resumed = ["resume_disks"] if older == {"one"} else []
    assert stack.calls[: len(resumed) + 2] == ["pause_disks", *resumed, "guard_pause"]
    assert stack.calls.count("tap_pause") == 1
    assert stack.xapi.unpause(VDI) == [(True, None)]


def test_a_disk_that_cannot_be_paused_is_named_and_resumed_with_the_others(pause: Any) -> None:
    stack = Stack(pause, {})
    stack.together["pause_disks"] = {"another": "tap-ctl failed"}
    done, failed = stack.xapi.pause(*TWO)
    assert done is None
    assert "did not pause VDI another" in failed
    assert "tap-ctl failed" in failed
    assert stack.xapi.unpause(*TWO) == [(True, None)] * 2


def test_a_host_that_does_not_reply_is_named_with_the_seconds(pause: Any) -> None:
    stack = Stack(pause, {})
    stack.together["pause_disks"] = TimeoutError("timed out")
    (failed,) = stack.xapi.pause(VDI)
    assert "host host-uuid did not pause VDI vdi-uuid" in failed
    assert "no reply within 30 s" in failed


@pytest.mark.parametrize(("paused_for", "was_paused"), [("0.0", False), ("3600.0", True)])
def test_a_disk_that_a_guard_has_resumed_counts_as_paused_for_that_long(
    paused_for: str, was_paused: bool, pause: Any
) -> None:
    stack = Stack(pause, {})
    stack.together["resume_disks"] = {VDI: "ran " + paused_for}
    stack.xapi.pause(*TWO)
    assert stack.xapi.unpause(*TWO) == [(was_paused, None), (True, None)]
