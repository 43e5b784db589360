"""A host that neither pauses nor resumes a disk delays no command for longer than a deadline."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lab.disk import Disk
from lab.dom0 import Dom0
from lab.tree import PLUGIN_DIR, SITE_PACKAGES, SM_DIR

# By the function of the driver: the plugin of the disk's host that it calls, and its error.
CALLS = {
    "pause": ("smblock", "host {host} did not pause VDI {vdi}"),
    "unpause": ("tapdisk-pause", "tapdisk-pause {what} unpause VDI {vdi}"),
}
# As xapi's own session of a command; the deadlines are shortened, so that the test is short.
ASK = """
import sys
sys.path[:0] = [{sm!r}, {site!r}]
from smblock import pause, pause_together
from smblock.sm import util
pause.PAUSE_DEADLINE = pause_together.DEADLINE = 2
xapi = pause.CephXapi(util.get_localAPI_session, {sr!r})
print(getattr(xapi, {function!r})({vdi!r}))
sys.stdout.flush()
"""


@contextmanager
def plugin_of_second_host(disk: Disk, plugin: str, script: bytes) -> Iterator[Dom0]:
    """The second host runs the disk by XAPI's records; one of its plugins is a script."""
    host, path = disk.sr.lab.hosts[1], f"{PLUGIN_DIR}/{plugin}"
    before = host.get(path)
    host.put(path, script, mode=0o755)
    with disk.sr.lab.xapi.session() as session:
        vdi = session.VDI.get_by_uuid(disk.uuid)
        tag = f"host_{session.host.get_by_uuid(host.uuid)}"
        session.VDI.add_to_sm_config(vdi, tag, "RW")
        yield host
        session.VDI.remove_from_sm_config(vdi, tag)
    host.put(path, before, mode=0o755)


def errors_of(function: str, disk: Disk) -> str:
    """What the driver on the first host returns."""
    script = ASK.format(sm=SM_DIR, site=SITE_PACKAGES, sr=disk.sr.uuid, vdi=disk.uuid, function=function)
    return disk.sr.lab.hosts[0].exec(["python3", "-c", script], timeout=60).stdout.decode()


@pytest.mark.parametrize("function", CALLS)
def test_a_host_whose_plugin_is_silent_delays_no_command(function: str, disk: Disk) -> None:
    plugin, error = CALLS[function]
    before = time.monotonic()
    with plugin_of_second_host(disk, plugin, b"#!/bin/sh\nexec sleep 30\n") as host:
        errors = errors_of(function, disk)
        assert time.monotonic() - before < 25, "less than the plugin takes"
    assert error.format(host=host.uuid, vdi=disk.uuid, what="did not") in errors
    assert "within 2 s" in errors
    assert host.uuid in errors


@pytest.mark.parametrize("function", CALLS)
def test_a_plugin_that_fails_at_once_is_not_logged_as_silent(function: str, disk: Disk) -> None:
    plugin, error = CALLS[function]
    with plugin_of_second_host(disk, plugin, b"#!/bin/sh\nexit 1\n") as host:
        errors = errors_of(function, disk)
    assert error.format(host=host.uuid, vdi=disk.uuid, what="failed to") in errors
    assert host.uuid in errors
    assert "within" not in errors
