"""Fixtures every test may ask for; the lab itself is `tests.lab`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from tests.lab.ceph import OneNodeCeph
from tests.lab.dom0 import GuestDom0, LocalDom0


@pytest.fixture(scope="session")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneNodeCeph]:
    """The session's cluster.  Whoever hurts it (quota, pauses, a dead monitor) heals it again."""
    with OneNodeCeph(tmp_path_factory.mktemp("ceph")) as cluster:
        yield cluster


@pytest.fixture
def pool(ceph: OneNodeCeph) -> Iterator[str]:
    """A pool of the test's own, prepared for RBD, gone afterwards."""
    name = f"pool-{next(_numbers)}"
    ceph.create_pool(name)
    yield name
    ceph.admin("osd", "pool", "delete", name, name, "--yes-i-really-really-mean-it")


@pytest.fixture(scope="session")
def new_cluster(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., OneNodeCeph]:
    """Makes a cluster of the test's own, to enter with `with`; arguments are those of `OneNodeCeph`."""

    def make(**settings: object) -> OneNodeCeph:
        return OneNodeCeph(tmp_path_factory.mktemp("ceph"), **settings)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def new_local_dom0(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], LocalDom0]:
    """Makes a host of this machine by name, to enter with `with`."""
    return lambda name: LocalDom0(name, tmp_path_factory.mktemp(name))


@pytest.fixture(scope="session")
def new_guest_dom0(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], GuestDom0]:
    """Makes a host with a kernel of its own by name, to enter with `with`; it takes seconds to boot."""
    return lambda name: GuestDom0(name, tmp_path_factory.mktemp(name))


_numbers = itertools.count(1)
