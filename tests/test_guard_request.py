"""The disks of a VM are paused by a process that is ready before, and for no longer than tap-ctl takes.

The driver's code runs with a simulated SM and tapdisk.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import tempfile
import threading
import time
import types
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from lab import wait_for

REPOSITORY = Path(__file__).parent.parent
SR = str(uuid.uuid4())
RUNNING, PAUSED = 0, 0x2A


class CommandFailure(Exception):
    """tap-ctl fails."""


class Host:
    """A host with disks, whose tap-ctl commands take some time each."""

    def __init__(self, count: int) -> None:
        self.disks = [str(uuid.uuid4()) for _ in range(count)]
        self.states = dict.fromkeys(range(count), RUNNING)
        self.commands: list[str] = []
        self.seconds = 0.0
        # Disks whose last request ends while tapdisk waits for an event: without one, its pause does not return (blktap
        # v4.0.8, drivers/tapdisk-control.c:948, tapdisk_control_pause_vbd).
        self.writing: set[int] = set()
        self.events = {minor: threading.Event() for minor in range(count)}

    # Called by the driver

    def list(self) -> Iterator[types.SimpleNamespace]:
        self.commands.append("list")
        for event in self.events.values():
            event.set()
        for minor, state in self.states.items():
            yield types.SimpleNamespace(
                pid=minor + 1, minor=minor, state=state, type="aio", path="/dev/rbd0", unpause=None
            )

    def wake(self, command: Sequence[str], **_: object) -> None:
        assert command[:3] == ["/usr/sbin/tap-ctl", "list", "-p"]
        self.events[int(command[3]) - 1].set()

    def pause(self, pid: int, minor: int) -> None:
        assert pid == minor + 1
        self.events[minor].clear()
        self._take("pause")
        self.states[minor] = PAUSED
        if minor in self.writing:
            self.events[minor].wait(10)

    def unpause(self, _pid: int, minor: int, kind: str, path: str) -> None:
        assert (kind, path) == ("aio", "/dev/rbd0")
        self._take("unpause")
        if self.states[minor] != PAUSED:
            raise CommandFailure("not paused")
        self.states[minor] = RUNNING

    def _take(self, command: str) -> None:
        self.commands.append(command)
        time.sleep(self.seconds)


@pytest.fixture
def host() -> Host:
    return Host(8)


@pytest.fixture
def disks(host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """The driver's module, with the host's SM."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "smblock"]:
        monkeypatch.delitem(sys.modules, name)
    package = types.ModuleType("smblock")  # without its core
    package.__path__ = [str(REPOSITORY / "drivers/smblock")]
    control = types.SimpleNamespace(pause=host.pause, unpause=host.unpause, CommandFailure=CommandFailure)
    blktap2 = mock.MagicMock(TapCtl=control, TapdiskNotRunning=type("TapdiskNotRunning", (Exception,), {}))
    blktap2.Tapdisk.list = host.list
    link = tmp_path / "link"
    blktap2.VDI.NBDLink.from_uuid = lambda _, vdi: types.SimpleNamespace(path=lambda: f"{link}-{vdi}")
    for minor, vdi in enumerate(host.disks):
        Path(f"{link}-{vdi}").symlink_to(f"/run/blktap-control/nbd{minor + 1}.{minor}")
    util = mock.MagicMock(force_unlink=lambda path: Path(path).unlink(missing_ok=True))
    sm = types.ModuleType("smblock.sm")
    vars(sm).update(blktap2=blktap2, util=util, Lock=mock.MagicMock(), XenAPI=None)
    with mock.patch.dict(sys.modules):  # restores the imported modules
        sys.modules.update({"smblock": package, "smblock.sm": sm})
        request: Any = importlib.import_module("smblock.guard_request")
        # A socket's path has at most 107 bytes; pytest's directories can be longer.
        with tempfile.TemporaryDirectory(prefix="guard-") as directory:
            monkeypatch.setattr(request, "DIRECTORY", directory)
            disks: Any = importlib.import_module("smblock.disks")
            monkeypatch.setattr(disks.subprocess, "run", host.wake)
            yield disks


@contextmanager
def guarded(disks: Any, host: Host) -> Iterator[str]:
    """A guard of the host's disks, in a thread. Returns its name."""
    name = str(uuid.uuid4())
    for vdi in host.disks:
        disks.Token(vdi, name).put()
    guard = threading.Thread(target=disks.serve, args=(SR, host.disks, name))
    guard.start()
    try:
        yield name
    finally:
        for vdi in host.disks:
            disks.Token(vdi, name).remove()
        guard.join()


def test_nothing_but_one_command_a_disk_runs_while_disks_are_paused(disks: Any, host: Host) -> None:
    host.seconds = 0.2
    with guarded(disks, host) as name:
        assert disks.ask(name, "pause", 5) == dict.fromkeys(host.disks, "")
        assert set(host.states.values()) == {PAUSED}
        assert disks.ask(name, "resume") == dict.fromkeys(host.disks, "")
    assert set(host.states.values()) == {RUNNING}
    first, last = host.commands.index("pause"), len(host.commands) - host.commands[::-1].index("unpause")
    assert sorted(host.commands[first:last]) == ["pause"] * 8 + ["unpause"] * 8


def test_disks_are_paused_at_once(disks: Any, host: Host) -> None:
    host.seconds = 0.5
    with guarded(disks, host) as name:
        disks.ask(name, "pause", 5)
        began = time.monotonic()
        disks.ask(name, "resume")
        assert time.monotonic() - began < 2 * host.seconds


def test_a_guard_ends_with_the_resume_and_leaves_nothing(disks: Any, host: Host, tmp_path: Path) -> None:
    name = str(uuid.uuid4())
    for vdi in host.disks:
        disks.Token(vdi, name).put()
    guard = threading.Thread(target=disks.serve, args=(SR, host.disks, name))
    guard.start()
    disks.ask(name, "pause", 5)
    disks.ask(name, "resume")
    guard.join(timeout=10)
    assert not guard.is_alive()
    assert [path.name for path in tmp_path.iterdir() if name in path.name] == []


def test_disks_are_resumed_after_their_guard_was_killed(disks: Any, host: Host) -> None:
    request: Any = importlib.import_module("smblock.guard_request")
    host.states.update(dict.fromkeys(host.states, PAUSED))
    assert request.resume(SR, host.disks, str(uuid.uuid4())) == dict.fromkeys(host.disks, "")
    assert set(host.states.values()) == {RUNNING}


def test_a_disk_that_its_guard_has_resumed_is_reported_with_its_time(disks: Any, host: Host) -> None:
    with guarded(disks, host) as name:
        disks.ask(name, "pause", 5)
        host.states[3] = RUNNING
        disks.Token(host.disks[3], name).note_resume(4.25)
        done = disks.ask(name, "resume")
    assert done[host.disks[3]].startswith("ran 4.25")
    assert [result for vdi, result in done.items() if vdi != host.disks[3]] == [""] * 7


def test_a_pause_returns_though_tapdisk_waits_for_an_event(
    disks: Any, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.import_module("smblock.guard"), "POLL", 2)  # each of its looks is an event
    host.writing = {2, 5}
    with guarded(disks, host) as name:
        began = time.monotonic()
        assert disks.ask(name, "pause", 5) == dict.fromkeys(host.disks, "")
        assert time.monotonic() - began < 1
        disks.ask(name, "resume")


def test_a_guard_that_does_not_reply_is_an_error_with_the_cause(
    disks: Any, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.import_module("smblock.guard_request"), "ASK_SECONDS", 0.2)
    host.seconds = 1
    with guarded(disks, host) as name:
        with pytest.raises(OSError, match=r"did not pause the disks within .* a tapdisk has requests that do not end"):
            disks.ask(name, "pause", 5)
        wait_for(lambda: set(host.states.values()) == {PAUSED}, "the late pause")
        host.seconds = 0
        disks.ask(name, "resume")


def test_a_request_that_is_none_changes_nothing(disks: Any, host: Host) -> None:
    with guarded(disks, host) as name:
        disks.ask(name, "pause", 5)
        with pytest.raises(OSError, match="without a reply"):
            disks.ask(name, "")
        assert set(host.states.values()) == {PAUSED}
        disks.ask(name, "resume")


@pytest.mark.parametrize("wrong", ["../../etc", "", "x" * 36])
def test_the_plugin_takes_uuids_only(wrong: str, disks: Any, host: Host) -> None:
    request: Any = importlib.import_module("smblock.guard_request")
    right = {"sr": SR, "vdis": ",".join(host.disks), "guard": str(uuid.uuid4())}
    for key in right:
        with pytest.raises(ValueError, match="is no UUID"):
            request.resume_disks(None, dict(right, **{key: wrong}))


@pytest.mark.parametrize("module", ["guard_request", "supervisor"])
def test_what_runs_while_disks_are_paused_does_not_import_sm(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "smblock"]:
        monkeypatch.delitem(sys.modules, name)
    package = types.ModuleType("smblock")
    package.__path__ = [str(REPOSITORY / "drivers/smblock")]
    with mock.patch.dict(sys.modules):
        sys.modules["smblock"] = package
        with suppress(ImportError):
            sys.modules["smblock.sm"] = None  # type: ignore[assignment]  # an import of it fails
            importlib.import_module(f"smblock.{module}")
            return
    raise AssertionError(f"smblock.{module} imports SM")


def test_the_plugin_has_the_names_of_all_functions() -> None:
    plugin = (REPOSITORY / "packaging/xapi/plugins/smblock").read_text()
    source = (REPOSITORY / "drivers/smblock/plugin.py").read_text()
    same = re.search(r"_SAME = \(([^)]*)\)", source)
    assert same is not None
    named = {name.strip() for name in same.group(1).split(",")} | {"settle"}
    late = set(re.findall(r'"(\w+)"', plugin.partition("FUNCTIONS = ")[2].partition("def ")[0]))
    assert late | {"resume_disks"} == named
    assert os.access(REPOSITORY / "packaging/xapi/plugins/smblock", os.X_OK)


def test_no_disk_is_paused_without_a_guard(disks: Any, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing would resume it if the host of the command died."""
    monkeypatch.setattr(disks, "start_process_of", lambda _kind, _sr, vdis, name, _work: [disks.Token(vdi, name).put()
                                                                                          for vdi in vdis])  # fmt: skip
    monkeypatch.setattr(disks, "READY_SECONDS", 0.1)
    name = str(uuid.uuid4())
    done = disks.pause(SR, host.disks, name)
    assert done == dict.fromkeys(host.disks, "the guard of the pause has not started in 0.1 s: nothing was paused")
    assert set(host.states.values()) == {RUNNING}
    # One that starts now ends at once.
    assert not any(disks.Token(vdi, name).guards() for vdi in host.disks)
