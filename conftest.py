"""Fixtures for all tests; the lab itself is in `lab`."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.ceph import OneNodeCeph
from lab.cephrbd import CephRbdLab, CephSr, RbdPool
from lab.crucible import CrucibleLab, CrucibleStorage, crucible_bin
from lab.disk import Disk
from lab.dom0 import Dom0, GuestDom0, LocalDom0
from lab.sm_source import SITE_PACKAGES, SM_DIR, sm_source
from lab.tree import stage_sm
from lab.wheel import REPOSITORY, built_wheel
from lab.xapi.lab_pool import LabPool, Tree
from tests import schedule
from tests.rpm_packages import SharedPackages


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts the tests for several workers."""
    items.sort(key=schedule.place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> schedule.Scheduler | None:
    """Distributes files as `schedule` describes, if they are distributed by file."""
    return schedule.Scheduler(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(scope="session")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneNodeCeph]:
    """The session's cluster.  A test that disturbs it (quota, pauses, a dead monitor) restores it."""
    with OneNodeCeph(tmp_path_factory.mktemp("ceph")) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def tasks_error(ceph: OneNodeCeph) -> str:
    """Why the manager of this Ceph has no `rbd task`; empty if it has."""
    return ceph.tasks_error()


@pytest.fixture(autouse=True)
def _skip_without_tasks(request: pytest.FixtureRequest) -> None:
    """Skips a test marked `needs_tasks` if the manager has no `rbd task`."""
    if request.node.get_closest_marker("needs_tasks") and (error := request.getfixturevalue("tasks_error")):
        pytest.skip(f"this Ceph's manager has no `rbd task`: {error}")


@pytest.fixture
def pool(ceph: OneNodeCeph) -> Iterator[str]:
    """A pool of the test's own, prepared for RBD, removed after the test."""
    name = f"pool-{next(_numbers)}"
    ceph.create_pool(name)
    yield name
    ceph.admin("osd", "pool", "delete", name, name, "--yes-i-really-really-mean-it")


@pytest.fixture(scope="session")
def new_cluster(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., OneNodeCeph]:
    """Makes a cluster of the test's own, for a `with` statement; arguments are those of `OneNodeCeph`."""

    def make(**settings: object) -> OneNodeCeph:
        return OneNodeCeph(tmp_path_factory.mktemp("ceph"), **settings)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def new_local_dom0(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], LocalDom0]:
    """Makes a local host by name, for a `with` statement.

    SM's modules are in its memory. On the traced host of test_processes.py, and in `make demo`, each command
    runs in a Python of its own.
    """
    return lambda name: LocalDom0(name, tmp_path_factory.mktemp(name), in_memory=True)


@pytest.fixture(scope="session")
def new_guest_dom0(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], GuestDom0]:
    """Makes a host with a kernel of its own by name, for a `with` statement; it boots in seconds."""
    return lambda name: GuestDom0(name, tmp_path_factory.mktemp(name))


@pytest.fixture(scope="session")
def driver_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root that install.sh makes from the built wheel."""
    root = tmp_path_factory.mktemp("installed")
    argv: list[str | Path] = [REPOSITORY / "install.sh", "--root", root, "--wheel", built_wheel()]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    return root


@pytest.fixture(scope="session")
def shared_packages(tmp_path_factory: pytest.TempPathFactory) -> SharedPackages:
    """smblock's RPMs, and small ones of a host's packages."""
    return SharedPackages(tmp_path_factory)


@pytest.fixture(scope="session")
def sm_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SM as on a dom0: of the checkout that SM_SOURCE names, or the simulator's."""
    return stage_sm(sm_source(), tmp_path_factory.mktemp("sm"))


@pytest.fixture(scope="session")
def lab(
    ceph: OneNodeCeph,
    driver_tree: Path,
    sm_tree: Path,
    new_local_dom0: Callable[[str], LocalDom0],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[CephRbdLab]:
    """A pool of two hosts with the driver, on the session's cluster; control plane only."""
    lab_file = tmp_path_factory.mktemp("lab") / "lab.json"
    with (
        new_local_dom0("one") as one,
        new_local_dom0("two") as two,
        CephRbdLab([one, two], sm_tree, driver_tree, ceph, lab_file) as lab,
    ):
        yield lab


@pytest.fixture(scope="session")
def crucible(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrucibleStorage]:
    """The session's storage for Crucible volumes.  A test that stops a downstairs starts it again."""
    with CrucibleStorage(tmp_path_factory.mktemp("crucible"), crucible_bin()) as storage:
        yield storage


@pytest.fixture(scope="session")
def crucible_lab(
    crucible: CrucibleStorage,
    driver_tree: Path,
    sm_tree: Path,
    new_local_dom0: Callable[[str], LocalDom0],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[CrucibleLab]:
    """A pool of two hosts with the driver, and Crucible volumes; control plane only, and no Ceph."""
    lab_file = tmp_path_factory.mktemp("crucible-lab") / "lab.json"
    with (
        new_local_dom0("one") as one,
        new_local_dom0("two") as two,
        LabPool([one, two], Tree(sm_tree, driver_tree), lab_file) as pool,
    ):
        yield CrucibleLab(pool, crucible)


@pytest.fixture(scope="session")
def guests(
    ceph: OneNodeCeph,
    driver_tree: Path,
    sm_tree: Path,
    new_local_dom0: Callable[[str], LocalDom0],
    new_guest_dom0: Callable[[str], GuestDom0],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[CephRbdLab]:
    """A pool with the driver on the session's cluster, of two hosts with kernels of their own.

    Its master is a local host: commands without block devices are slow on an emulated one.
    """
    hosts = [new_guest_dom0(name) for name in ("guest1", "guest2")]
    lab_file = tmp_path_factory.mktemp("guests") / "lab.json"
    with ExitStack() as stack:
        for host in hosts:
            stack.callback(host.close)
        with ThreadPoolExecutor() as both:
            list(both.map(GuestDom0.start, hosts))
        master = stack.enter_context(new_local_dom0("master"))
        yield stack.enter_context(CephRbdLab([master, *hosts], sm_tree, driver_tree, ceph, lab_file))


@pytest.fixture(scope="session")
def one(guests: CephRbdLab) -> Dom0:
    """The first of the hosts with a kernel."""
    return guests.hosts[1]


@pytest.fixture(scope="session")
def two(guests: CephRbdLab) -> Dom0:
    """The second of the hosts with a kernel."""
    return guests.hosts[2]


@pytest.fixture(scope="session")
def crucible_guests(guests: CephRbdLab, crucible: CrucibleStorage) -> CrucibleLab:
    """The hosts with kernels, and Crucible volumes."""
    return CrucibleLab(guests, crucible)


@pytest.fixture(scope="session")
def guests_rbd_pool(guests: CephRbdLab) -> RbdPool:
    """A pool of the cluster for the SRs of the hosts with kernels."""
    pool = RbdPool(guests, name="vms-guests", user="xcp-guests")
    guests.ceph.create_pool(pool.name)
    guests.distribute_keyring(guests.ceph.create_user(pool.user, pool.name))
    return pool


@pytest.fixture(scope="session")
def serves_phy(sm_tree: Path) -> bool:
    """Whether SM connects block devices: SM 3 does, but for versions with QCOW2 that lack `phy` in cowutil.py.

    SM 4 has tapdisk only.
    """
    cowutil = sm_tree / SM_DIR.lstrip("/") / "cowutil.py"
    if cowutil.exists() and "VdiType.PHY" not in cowutil.read_text():
        return False
    return not (sm_tree / SITE_PACKAGES.lstrip("/") / "sm").is_dir()


@pytest.fixture(scope="session")
def new_rbd_pool(lab: CephRbdLab) -> Callable[[], RbdPool]:
    """Makes a pool of the cluster with its user, with the caps that docs/user/ceph-setup.md lists."""

    def make() -> RbdPool:
        number = next(_numbers)
        pool = RbdPool(lab, name=f"vms-{number}", user=f"xcp-{number}")
        lab.ceph.create_pool(pool.name)
        lab.distribute_keyring(lab.ceph.create_user(pool.user, pool.name))
        return pool

    return make


@pytest.fixture(scope="module")
def shared_rbd_pool(new_rbd_pool: Callable[[], RbdPool]) -> Iterator[RbdPool]:
    """A pool for the tests of a file that do not disturb it."""
    pool = new_rbd_pool()
    yield pool
    pool.delete()


@pytest.fixture(scope="module")
def shared_sr(shared_rbd_pool: RbdPool) -> CephSr:
    """The SR for the tests of a file that do not disturb it."""
    return shared_rbd_pool.create_sr("shared")


@pytest.fixture
def rbd_pool(new_rbd_pool: Callable[[], RbdPool]) -> Iterator[RbdPool]:
    """A pool of the test's own, with a user of its own, removed after the test."""
    pool = new_rbd_pool()
    yield pool
    pool.delete()


@pytest.fixture
def sr(rbd_pool: RbdPool) -> CephSr:
    """An SR of the test's own, in a pool of its own."""
    return rbd_pool.create_sr()


@pytest.fixture
def disk(sr: CephSr) -> Iterator[Disk]:
    """A disk of the test's own, in the SR of its file."""
    disk = Disk.create(sr)
    yield disk
    disk.destroy()


@pytest.fixture
def own_sr(shared_rbd_pool: RbdPool) -> CephSr:
    """An SR of the test's own, in the file's shared pool."""
    return shared_rbd_pool.create_sr("own")


_numbers = itertools.count(1)


@pytest.fixture
def xapi_that_reverts(lab: CephRbdLab) -> Iterator[None]:
    """xapi has VDI_REVERT during the test, as since 26.16."""
    pool = lab.xapi.pool
    pool.settings.revert = True
    pool.load_drivers(pool.master)
    yield
    pool.settings.revert = False
    pool.load_drivers(pool.master)
