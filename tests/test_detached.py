"""Guards and supervisors under a simulator of systemd.

XCP-ng 8.3 has systemd 219 (xcp-ng-rpms/systemd, SPECS/systemd.spec). The simulator of its systemd-run takes no option
but --unit, and starts the command in another session, with another environment and without the caller's streams.
It refuses the name of a unit that exists with "Unit NAME already exists.", as method_start_transient_unit in
src/core/dbus-manager.c does. systemd 219 has no --collect: a unit that failed keeps its name until it is reset.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from lab import wait_for

REPOSITORY = Path(__file__).parents[1]
SIMULATOR = r"""
case $1 in --unit=*.service) unit=${1#--unit=};; *) echo "unrecognized option '$1'" >&2; exit 1;; esac
shift
if [ -e "$units/$unit" ]; then
    echo "Failed to start transient service unit: Unit $unit already exists." >&2
    exit 1
fi
: >"$units/$unit"
cd / && env -i PATH=/usr/bin:/bin setsid "$@" </dev/null >/dev/null 2>&1 &
echo "Running as unit $unit." >&2
"""


class Started:
    """The started program, and the log."""

    def __init__(self, directory: Path) -> None:
        self.units = directory / "units"
        self.program = directory / "smblock-guard"
        self.report = directory / "report"
        self.logged: list[str] = []
        self.tokens: list[str] = []

    def words(self) -> list[str]:
        """The arguments of the program that runs, its session and its parent."""
        wait_for(self.report.exists, "the program to start")
        return self.report.read_text().split()


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Started]:
    """The package without its core and SM; its program only reports."""
    started = Started(tmp_path)
    started.units.mkdir()
    report = f"{started.report}.new"
    script = f'#!/bin/sh\necho "$@" $(ps -o sid= $$) ${{HOME-none}} >{report} && mv {report} {started.report}\n'
    started.program.write_text(script)
    started.program.chmod(0o755)
    package = ModuleType("smblock")
    package.__path__ = [str(REPOSITORY / "drivers/smblock")]
    monkeypatch.setitem(sys.modules, "smblock", package)

    def token(vdi_uuid: str, name: str) -> SimpleNamespace:
        return SimpleNamespace(put=lambda: started.tokens.append(f"{vdi_uuid}.{name}"))

    stubs: dict[str, dict[str, Any]] = {
        "guard": {"PROGRAM": str(started.program), "SUPERVISOR": "command-", "Token": token},
        "process": {"process_started": lambda pid: 7},
        "sm": {"util": SimpleNamespace(SMlog=started.logged.append)},
    }
    for name, members in stubs.items():
        stub = ModuleType(f"smblock.{name}")
        vars(stub).update(members)
        monkeypatch.setitem(sys.modules, f"smblock.{name}", stub)
    detached = importlib.import_module("smblock.detached")
    monkeypatch.setattr(detached, "HAS_SYSTEMD", True)
    monkeypatch.setattr(detached, "TIMEOUT", 1)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    yield started
    for name in ("child", "detached", "supervisor_start"):
        sys.modules.pop(f"smblock.{name}", None)


@pytest.fixture
def systemd(started: Started, tmp_path: Path) -> Callable[[str], None]:
    """Puts a systemd-run on the PATH."""

    def provide(script: str) -> None:
        for name, text in (("systemctl", "exit 1"), ("systemd-run", script)):
            path = tmp_path / name
            path.write_text(f"#!/bin/sh\nunits={started.units}\n{text}\n")
            path.chmod(0o755)

    return provide


def start_supervisor() -> None:
    importlib.import_module("smblock.supervisor_start").start("SR", ["VDI"])


def test_a_supervisor_is_a_unit_of_its_own(started: Started, systemd: Callable[[str], None]) -> None:
    systemd(SIMULATOR)
    start_supervisor()
    me = str(os.getpid())
    *words, session, home = started.words()
    assert words == ["command", "SR", "VDI", f"command-{me}", me, "7"]
    assert session != str(os.getsid(0))
    assert home == "none", "the caller's environment did not come along"
    (unit,) = os.listdir(started.units)
    assert unit.startswith("smblock-supervisor-")
    assert started.logged == []
    assert started.tokens == [f"VDI.command-{me}"]


def test_a_task_has_a_collector_for_each_sr(started: Started, systemd: Callable[[str], None]) -> None:
    """A snapshot of a VM whose disks are in two SRs is one task."""
    systemd(SIMULATOR)
    start_collector = importlib.import_module("smblock.supervisor_start").start_collector
    for sr in ("sr-1", "sr-2", "sr-2"):
        start_collector(sr, "OpaqueRef:task")
    units = sorted(os.listdir(started.units))
    assert units == [f"smblock-leftovers-{sr}-task.service" for sr in ("sr-1", "sr-2")]


@pytest.mark.parametrize("script", ["echo broken >&2; exit 1", "exec sleep 60"])
def test_a_supervisor_runs_without_systemd_if_that_fails(
    started: Started, systemd: Callable[[str], None], script: str
) -> None:
    systemd(script)
    began = time.monotonic()
    start_supervisor()
    assert time.monotonic() - began < 10
    *words, session, _ = started.words()
    assert words[0] == "command"
    assert session != str(os.getsid(0)), "a signal to the caller's session ends it too"
    (line,) = started.logged
    assert "starting it without systemd" in line


def test_a_guard_that_fails_leaves_no_failed_unit(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no such disk")

    hosts = {"LocalSession": None, "is_task_over": None}
    stubs: dict[str, dict[str, Any]] = {"core": {"core_of": None}, "hosts": hosts, "disks": {}}
    for name, members in stubs.items():
        stub = ModuleType(f"smblock.{name}")
        vars(stub).update(members)
        monkeypatch.setitem(sys.modules, f"smblock.{name}", stub)
    vars(sys.modules["smblock.guard"]).update(guard=fail)
    vars(sys.modules["smblock.sm"])["util"].logException = started.logged.append
    supervisor = importlib.import_module("smblock.supervisor")
    monkeypatch.delitem(sys.modules, "smblock.supervisor")
    monkeypatch.setattr(sys, "argv", ["smblock-guard", "disk", "SR", "VDI", "name"])
    supervisor.main()
    (line,) = started.logged
    assert "VDI" in line
