"""An SR is made and used while one of three monitors is down or frozen; the first one is the leader.

pytest collects this file only when it is named on the command line.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from lab.ceph import OneNodeCeph
from lab.cephrbd import RbdPool, wait_for

# The driver's own deadline for the monitors is 30 s, and each command connects anew.
_COMMANDS, _COMMAND_SECONDS = 5, 38


@pytest.fixture(scope="session")
def ceph(new_cluster: Callable[..., OneNodeCeph]) -> Iterator[OneNodeCeph]:
    """The session's cluster, here with three monitors."""
    with new_cluster(monitors="abc") as cluster:
        yield cluster


@contextmanager
def trouble(ceph: OneNodeCeph, kind: str, monitor: str) -> Iterator[None]:
    """One monitor is down or frozen meanwhile; afterwards all three are in the quorum."""
    hurt, heal = {
        "down": (ceph.stop_monitor, ceph.start_monitor),
        "frozen": (ceph.pause_monitor, ceph.resume_monitor),
    }[kind]
    hurt(monitor)
    try:
        yield
    finally:
        heal(monitor)
        wait_for(lambda: len(ceph.admin("quorum_status")["quorum"]) == 3, "three monitors in the quorum", 60)


@pytest.mark.parametrize(("kind", "monitor"), [("down", "a"), ("down", "b"), ("frozen", "a"), ("frozen", "c")])
def test_an_sr_works_while_one_of_three_monitors_is_away(rbd_pool: RbdPool, kind: str, monitor: str) -> None:
    with trouble(rbd_pool.lab.ceph, kind, monitor):
        began = time.monotonic()
        sr = rbd_pool.create_sr()
        vdi = sr.create_vdi("disk")
        sr.scan()
        assert sr.vdis() == {vdi}
        sr.destroy_vdi(vdi)
        assert time.monotonic() - began < _COMMANDS * _COMMAND_SECONDS
