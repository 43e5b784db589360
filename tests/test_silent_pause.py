"""A host that neither pauses nor resumes a disk delays no command for longer than a deadline."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from lab.disk import Disk
from lab.dom0 import Dom0
from lab.tree import PLUGIN_DIR, SITE_PACKAGES, SM_DIR

PLUGIN = f"{PLUGIN_DIR}/tapdisk-pause"
# As xapi's own session of a command; the deadline is shortened, so that the test is short.
ASK = """
import sys
sys.path[:0] = [{sm!r}, {site!r}]
from smblock import pause
from smblock.sm import util
pause.PAUSE_DEADLINE = 2
xapi = pause.CephXapi(util.get_localAPI_session, {sr!r})
print(getattr(xapi, {function!r})({vdi!r}))
sys.stdout.flush()
"""


@pytest.fixture
def silent(disk: Disk) -> Iterator[Dom0]:
    """The second host, which runs the disk by XAPI's records; its SM plugin does not reply."""
    host = disk.sr.lab.hosts[1]
    before = host.get(PLUGIN)
    host.put(PLUGIN, b"#!/bin/sh\nexec sleep 30\n", mode=0o755)
    with disk.sr.lab.xapi.session() as session:
        vdi = session.VDI.get_by_uuid(disk.uuid)
        tag = f"host_{session.host.get_by_uuid(host.uuid)}"
        session.VDI.add_to_sm_config(vdi, tag, "RW")
        yield host
        session.VDI.remove_from_sm_config(vdi, tag)
    host.put(PLUGIN, before, mode=0o755)


@pytest.mark.parametrize("function", ["pause", "unpause"])
def test_a_host_whose_plugin_is_silent_delays_no_command(function: str, disk: Disk, silent: Dom0) -> None:
    one = disk.sr.lab.hosts[0]
    script = ASK.format(sm=SM_DIR, site=SITE_PACKAGES, sr=disk.sr.uuid, vdi=disk.uuid, function=function)
    before = time.monotonic()
    done = one.exec(["python3", "-c", script], timeout=60)
    assert time.monotonic() - before < 25, "less than the plugin takes"
    said = done.stdout.decode()
    assert f"tapdisk-pause did not {function} VDI {disk.uuid} within 2 s" in said, done
    assert f"SMlog of host {silent.uuid}" in said, done


@pytest.mark.parametrize("function", ["pause", "unpause"])
def test_a_plugin_that_fails_at_once_is_not_logged_as_silent(function: str, disk: Disk, silent: Dom0) -> None:
    silent.put(PLUGIN, b"#!/bin/sh\nexit 1\n", mode=0o755)
    script = ASK.format(sm=SM_DIR, site=SITE_PACKAGES, sr=disk.sr.uuid, vdi=disk.uuid, function=function)
    said = disk.sr.lab.hosts[0].exec(["python3", "-c", script], timeout=60).stdout.decode()
    assert f"tapdisk-pause failed to {function} VDI {disk.uuid}" in said
    assert f"SMlog of host {silent.uuid}" in said
    assert "within" not in said
