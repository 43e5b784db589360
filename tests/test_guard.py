"""A guard resumes a paused disk in bounded time, and disturbs no later command.

The guard's code runs with a simulated clock, tapdisk and XAPI.
"""

from __future__ import annotations

import importlib
import os
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

DRIVERS = Path(__file__).parent.parent / "drivers"
VDI = "vdi-uuid"
RUNNING, PAUSED = 0, 0x2A
HOUR = 3600.0
Event = Callable[[], None]


class TapdiskNotRunning(Exception):
    """SM's exception for a tapdisk that tap-ctl does not list."""


class Host:
    """A host with one disk. Times are in seconds since the guard's start."""

    def __init__(self, directory: Path) -> None:
        self.now = 0.0
        self.state = RUNNING
        self.key = False  # SM's key `paused`
        self.seen = 0  # how often the guard has read the tapdisk's state
        self.blind: Callable[[int], Exception | None] = lambda _: None  # by the number of the read
        self.resumed: list[float] = []
        self._directory = directory
        self._events: list[tuple[float, Event]] = []

    def at(self, when: float, event: Event) -> None:
        """Schedules an event."""
        self._events.append((when, event))

    def sleep(self, seconds: float) -> None:
        """Advances the clock, and runs the events in between."""
        end = self.now + seconds
        while due := [event for event in self._events if event[0] <= end]:
            first = min(due, key=lambda event: event[0])
            self._events.remove(first)
            self.now = max(self.now, first[0])
            first[1]()
        self.now = max(self.now, end)

    def pause(self) -> None:
        self.state, self.key = PAUSED, True

    def resume(self) -> None:
        self.state, self.key = RUNNING, False

    def token(self, name: str) -> Path:
        return self._directory / f"{VDI}.{name}"

    # Called by the guard

    def get(self, minor: int) -> Any:
        self.seen += 1
        if (error := self.blind(self.seen)) is not None:
            raise error
        return types.SimpleNamespace(state=self.state, unpause=self.unpause, minor=minor)

    def unpause(self) -> None:
        assert self.state == PAUSED
        self.state = RUNNING
        self.resumed.append(self.now)

    def remove_key(self, _vdi: object, key: str) -> None:
        assert key == "paused"
        self.key = False


@pytest.fixture
def guard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The driver's module, with a simulated SM."""
    package = types.ModuleType("smblock")  # without its core
    package.__path__ = [str(DRIVERS / "smblock")]
    sm = types.ModuleType("smblock.sm")
    vars(sm).update(
        Lock=None, blktap2=mock.MagicMock(TapdiskNotRunning=TapdiskNotRunning), util=mock.MagicMock(), XenAPI=None
    )
    for name in [name for name in sys.modules if name.partition(".")[0] == "smblock"]:
        monkeypatch.delitem(sys.modules, name)
    with mock.patch.dict(sys.modules):  # restores the imported modules
        sys.modules.update({"smblock": package, "smblock.sm": sm})
        yield importlib.import_module("smblock.guard")


class InLine:
    """A thread that does all its work in start()."""

    def __init__(self, target: Event) -> None:
        self.start = target

    def is_alive(self) -> bool:
        return False


@pytest.fixture
def host(guard: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Host:
    """A host whose guard is about to start."""
    host = Host(tmp_path)
    monkeypatch.setattr(guard, "DIRECTORY", str(tmp_path))
    monkeypatch.setattr(guard, "time", types.SimpleNamespace(monotonic=lambda: host.now, sleep=host.sleep))
    monkeypatch.setattr(guard, "threading", types.SimpleNamespace(Thread=InLine))
    monkeypatch.setattr(guard, "minor_of", lambda *_: 3)
    # A guard sets the timeout of all sockets of its process: it is restored here.
    monkeypatch.setattr(guard.socket, "setdefaulttimeout", lambda _: None)
    guard.blktap2.Tapdisk.get = host.get
    guard.util.force_unlink = lambda path: Path(path).unlink(missing_ok=True)
    session = mock.MagicMock()
    session.__enter__.return_value.xenapi.VDI.remove_from_sm_config = host.remove_key
    monkeypatch.setattr(guard, "LocalSession", lambda: session)
    return host


def run(guard: Any, name: str = "first") -> None:
    """Runs a guard from its start to its end."""
    token = guard.Token(VDI, name)
    token.put()
    guard.guard("sr-uuid", VDI, token)
    assert not os.path.exists(token.path)


def test_a_guard_resumes_a_disk_and_removes_its_key(guard: Any, host: Host) -> None:
    host.at(1, host.pause)
    run(guard)
    (resumed,) = host.resumed
    assert 5 <= resumed <= 6
    assert not host.key


def test_a_guard_ends_with_its_token(guard: Any, host: Host) -> None:
    host.at(10, lambda: host.token("first").unlink())
    host.at(11, host.pause)
    run(guard)
    assert host.now < 12
    assert host.resumed == []


@pytest.mark.parametrize("error", [TapdiskNotRunning(), OSError("tap-ctl list: status 110")])
def test_a_guard_that_does_not_always_find_the_tapdisk_resumes_it(error: Exception, guard: Any, host: Host) -> None:
    host.blind = lambda look: error if look % 3 else None
    host.at(1, host.pause)
    run(guard)
    (resumed,) = host.resumed
    assert 5 <= resumed <= 9


@pytest.mark.parametrize("late", [60.0, 25 * 60.0])
def test_a_guard_resumes_a_disk_whose_pause_arrives_late(late: float, guard: Any, host: Host) -> None:
    host.at(late, host.pause)
    run(guard)
    (resumed,) = host.resumed
    assert late + 4 <= resumed <= late + 10
    assert not host.key


def test_a_guard_of_a_frozen_host_resumes_a_late_pause(guard: Any, host: Host) -> None:
    def freeze() -> None:
        host.now += 2 * HOUR

    host.at(20, freeze)
    host.at(20 + 2 * HOUR + 100, host.pause)
    run(guard)
    (resumed,) = host.resumed
    assert resumed <= 20 + 2 * HOUR + 110


def test_a_guard_gives_a_later_command_its_own_time(guard: Any, host: Host) -> None:
    """The disk runs for a moment between the undo and the next pause, and the guard does not see that."""
    host.at(1, host.pause)

    def later_command() -> None:
        host.resume()
        host.token("second").touch()
        host.pause()

    host.at(4.7, later_command)
    host.at(7.7, host.resume)
    host.at(7.7, lambda: host.token("second").unlink())
    run(guard)
    assert host.resumed == []


def test_a_guard_leaves_the_key_to_a_running_later_command(guard: Any, host: Host) -> None:
    """The first command died before it paused the disk; the second is about to when the first guard gives up."""
    seen = []

    def later_command() -> None:
        host.token("second").touch()
        host.key = True

    host.at(178, later_command)
    host.at(184, host.pause)
    host.at(185, lambda: seen.append(host.key))
    host.at(186, host.resume)
    host.at(186, lambda: host.token("second").unlink())
    run(guard)
    assert seen == [True]
    assert host.resumed == []


def test_a_guard_removes_the_key_although_another_guard_was_killed(guard: Any, host: Host) -> None:
    host.key = True
    host.at(178, lambda: host.token("killed").touch())
    run(guard)
    assert not host.key


def test_a_guard_removes_the_key_of_a_command_that_never_paused(guard: Any, host: Host) -> None:
    host.key = True
    seen = []
    host.token("command-77").touch()  # the command's supervisor
    host.at(200, lambda: seen.append(host.key))
    run(guard)
    assert seen == [False]
    assert host.resumed == []
