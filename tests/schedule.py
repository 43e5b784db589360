"""In which order files run, and which worker runs them, with `pytest --numprocesses N --dist loadfile`.

Each worker starts a cluster and hosts when a test needs them. A pair of virtual machines is the dearest part:
two workers start one each, and run all files with virtual machines. They run one after the other, and wait less
than the others. Other workers run the other files meanwhile.
"""

from __future__ import annotations

import functools
import re

import pytest
from xdist.scheduler import LoadFileScheduling

from lab.wheel import REPOSITORY

# The files of the first worker with virtual machines take as long as all others with them.
FIRST_GUESTS = {
    "tests/test_claims.py",
    "tests/test_crucible.py",
    "tests/test_frozen_by_snapshot.py",
    "tests/test_host_death.py",
    "tests/test_hostdev_in_guest.py",
    "tests/test_stale_tags.py",
    "tests/test_unplug.py",
}
# The longest files begin first, else one worker runs one of them alone at the end.
LONG = (
    "tests/test_rust_on_ceph.py",
    "tests/test_cephrbd.py",
    "tests/test_snapshots.py",
    "tests/test_pages_followed.py",
    "tests/test_quota.py",
    "tests/test_death_hooks.py",
    "tests/test_reclaim.py",
    "tests/test_install_host.py",
    "tests/test_trash.py",
    "tests/test_rpm.py",
    "tests/test_doctor.py",
    "tests/test_delivery.py",
    "tests/test_snapshots_of_a_vm.py",
    "tests/test_cbt.py",
    "tests/test_namespaces.py",
)


@functools.cache
def shares_guests(file: str) -> bool:
    """Whether a file's tests use a fixture with virtual machines."""
    fixture = re.compile(r"\b(guests|guests_rbd_pool|crucible_guests|one|two): ")
    return fixture.search((REPOSITORY / file).read_text()) is not None


def group(file: str) -> str:
    """The files of one group run on one worker: all with the same virtual machines, or one file."""
    if not shares_guests(file):
        return file
    return "first guests" if file in FIRST_GUESTS else "second guests"


def place(item: pytest.Item) -> tuple[int, int]:
    """Sorts tests: those with virtual machines by their group, long files, the others."""
    file = _file(item.nodeid)
    groups = ("first guests", "second guests")
    if shares_guests(file):
        return 0, groups.index(group(file))
    return (1, LONG.index(file)) if file in LONG else (2, 0)


class Scheduler(LoadFileScheduling):
    """Gives a worker the files of a group together."""

    def _split_scope(self, nodeid: str) -> str:
        return group(_file(nodeid))


def _file(nodeid: str) -> str:
    return nodeid.partition("::")[0]
