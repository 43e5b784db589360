"""The combinations of versions. A cell is one run of pytest with other programs in the lab."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from lab.ceph import Messenger, Network
from lab.wheel import VERSIONS
from tests.compat.versions import CLIENT_LIMIT, KERNEL_LIMIT, MESSENGER_LIMIT, NEWEST, OLDEST, SUITES

Keys = Literal["aes", "aes256k"]

# Control plane: commands of xapi and of an administrator.
_CORE = ("tests/test_cephrbd.py", "tests/test_admin.py", "tests/test_bad_config.py")
_WHOLE = (
    *_CORE, "tests/test_snapshots.py", "tests/test_reclaim.py", "tests/test_vdi_creation.py", "tests/test_trash.py",
    "tests/test_quota.py",
)  # fmt: skip
# Data path: disks that kernels map, write and read.
_PLUG = ("tests/test_plug.py",)
_DATA = (*_PLUG, "tests/test_claims.py", "tests/test_snapshots_plugged.py", "tests/test_hostdev_in_guest.py")
_SNAPSHOTS = (*_PLUG, "tests/test_snapshots_plugged.py")
_ROUND_TRIP = (
    "tests/test_cephrbd.py::test_an_sr_is_plugged_on_every_host_and_has_the_size_of_its_pool",
    "tests/test_cephrbd.py::test_a_forgotten_sr_comes_back_with_every_disk_name_and_description",
    "tests/test_cephrbd.py::test_a_destroyed_sr_leaves_nothing_in_its_pool",
)
_WHEEL = (
    "test_it_imports_and_prints_nothing_because_stdout_is_xapis_reply",
    "test_its_error_is_an_ordinary_exception_with_sms_name_and_errno",
    "test_it_imports_on_a_host_without_ceph",
)
_COPY = ("tests/test_plug.py::test_a_disk_written_on_one_host_is_read_on_the_other_byte_for_byte",)
_REFUSALS = "tests/compat/refusals.py"
_DEADLINES = ("tests/compat/deadlines.py",)


@dataclass(frozen=True)
class Cell:
    """One combination.

    table, row, column   where its result is printed
    tests                arguments of pytest
    client, server       the suites whose librados, and whose Ceph daemons, are used
    kernel               the suite of the guests' kernel; None if no guest is used
    python               the version of CPython of the hosts; None for that of the client's suite
    keys                 the type of the cluster's keys
    messenger, network   the versions of Ceph's messenger, and the internet protocols, of the monitors
    limit                why Ceph or Linux itself does not support this; the tests show that it is refused, and the fix
    """

    name: str
    table: str
    row: str
    column: str
    tests: tuple[str, ...]
    client: str = "bookworm"
    server: str = "bookworm"
    kernel: str | None = None
    python: str | None = None
    keys: Keys = "aes"
    messenger: Messenger = "v1"
    network: Network = "ipv4"
    limit: str = ""

    @property
    def has_several_files(self) -> bool:
        """Whether its tests are in more than one file, and so can be run by two processes."""
        return len({test.partition("::")[0] for test in self.tests if test.startswith("tests/")}) > 1

    @property
    def suites(self) -> set[str]:
        """Every suite that it uses."""
        return {self.client, self.server, *([self.kernel] if self.kernel else [])}


CLIENTS = "Client libraries and clusters"
KERNELS = "Kernels"
KEYS = "Key types"
PYTHON = "Python"
DEADLINES = "Deadlines of librados"
MONITORS = "Monitors"


def all_cells() -> list[Cell]:
    """Every cell, in the order in which they are run."""
    return [*_clients_and_servers(), *_deadlines(), *_kernels(), *_keys(), *_monitors(), *_pythons()]


def small_cells() -> list[Cell]:
    """The oldest client, the newest cluster and the oldest kernel, with fewer tests."""
    client = f"client-{SUITES[OLDEST].ceph}-server-{SUITES[NEWEST].ceph}"
    tests = {client: _CORE, f"kernel-{SUITES[OLDEST].kernel}": _PLUG}
    # Names of their own: they are not results of the whole cells.
    return [
        replace(cell, name=f"small-{cell.name}", tests=tests[cell.name]) for cell in all_cells() if cell.name in tests
    ]


def _clients_and_servers() -> Iterator[Cell]:
    for client, theirs in SUITES.items():
        for server, its in SUITES.items():
            # Each client and each cluster has all tests once; `make test` runs those of bookworm.
            whole = {client, server} == {OLDEST, NEWEST} or client == server == "trixie"
            yield Cell(
                name=f"client-{theirs.ceph}-server-{its.ceph}", table=CLIENTS,
                row=f"librados {theirs.ceph}", column=f"cluster {its.ceph}",
                tests=_WHOLE if whole else _CORE, client=client, server=server,
            )  # fmt: skip


def _deadlines() -> Iterator[Cell]:
    for suite, its in SUITES.items():
        yield Cell(
            name=f"deadlines-{its.ceph}", table=DEADLINES, row=f"librados {its.ceph}", column="silent or dead monitor",
            tests=_DEADLINES, client=suite,
        )  # fmt: skip


def _kernels() -> Iterator[Cell]:
    for suite, its in SUITES.items():
        # `make test` runs all of them on the kernel of bookworm.
        tests = {OLDEST: _DATA, NEWEST: _DATA, "bookworm": _PLUG}.get(suite, _SNAPSHOTS)
        yield Cell(
            name=f"kernel-{its.kernel}", table=KERNELS, row=f"Linux {its.kernel}", column="data path",
            tests=tests, kernel=suite,
        )  # fmt: skip


def _keys() -> Iterator[Cell]:
    row = f"aes256k (type 2, the default of Ceph {SUITES[NEWEST].ceph})"
    refused = f"{_REFUSALS}::test_librados_without_a_keys_type_gets_a_key_that_works"
    for suite, its in SUITES.items():
        yield Cell(
            name=f"keys-aes256k-client-{its.ceph}", table=KEYS, row=row, column=f"librados {its.ceph}",
            tests=_CORE if suite == NEWEST else (refused,), client=suite, server=NEWEST, keys="aes256k",
            limit="" if suite == NEWEST else CLIENT_LIMIT,
        )  # fmt: skip
    # The cells of the kernels test the data path; these test which keys a kernel can use.
    refused = f"{_REFUSALS}::test_a_kernel_without_a_keys_type_gets_a_key_that_works"
    for suite, its in SUITES.items():
        yield Cell(
            name=f"keys-aes256k-kernel-{its.kernel}", table=KEYS, row=row, column=f"Linux {its.kernel}",
            tests=_COPY if suite == NEWEST else (refused,), client=NEWEST, server=NEWEST, kernel=suite, keys="aes256k",
            limit="" if suite == NEWEST else KERNEL_LIMIT,
        )  # fmt: skip
    for suite in (OLDEST, NEWEST):
        its = SUITES[suite]
        yield Cell(
            name=f"keys-aes-kernel-{its.kernel}", table=KEYS, row=f"aes (type 1) on Ceph {SUITES[NEWEST].ceph}",
            column=f"Linux {its.kernel}", tests=_COPY, server=NEWEST, kernel=suite,
        )  # fmt: skip


def _monitors() -> Iterator[Cell]:
    kinds: list[tuple[str, str, Messenger, Network]] = [
        ("v2", "messenger v2", "v2", "ipv4"),
        ("v1-v2", "messenger v1 and v2", "both", "ipv4"),
        ("ipv6", "IPv6", "both", "ipv6"),
        ("ipv4-ipv6", "IPv4 and IPv6", "both", "both"),
    ]
    kernel = "bookworm"
    refused = f"{_REFUSALS}::test_a_kernel_without_messenger_v2_is_named_with_the_fix"
    for name, row, messenger, network in kinds:
        for oldest in (False, True):
            if oldest and (messenger, network) != ("v2", "ipv4"):
                continue
            linux = SUITES[OLDEST if oldest else kernel].kernel
            yield Cell(
                name=f"monitors-{name}-kernel-{linux}", table=MONITORS, row=row, column=f"Linux {linux}",
                tests=(refused,) if oldest else _COPY, kernel=OLDEST if oldest else kernel,
                messenger=messenger, network=network, limit=MESSENGER_LIMIT if oldest else "",
            )  # fmt: skip
        for suite in (OLDEST, "bookworm", NEWEST):
            its = SUITES[suite]
            yield Cell(
                name=f"monitors-{name}-client-{its.ceph}", table=MONITORS, row=row, column=f"librados {its.ceph}",
                tests=_ROUND_TRIP, client=suite, messenger=messenger, network=network,
            )  # fmt: skip
    for suite in (OLDEST, "bookworm", NEWEST):
        its = SUITES[suite]
        yield Cell(
            name=f"monitors-three-client-{its.ceph}", table=MONITORS, row="three, one of them down or frozen",
            column=f"librados {its.ceph}", tests=("tests/compat/monitors.py",), client=suite,
        )  # fmt: skip
    yield Cell(
        name="monitors-three-kernel-6.1", table=MONITORS, row="three, one of them down or frozen", column="Linux 6.1",
        tests=("tests/test_messenger.py", "-m", "slow or not slow"), kernel=kernel,
    )  # fmt: skip


def _pythons() -> Iterator[Cell]:
    by_suite = {its.python: suite for suite, its in SUITES.items()}
    for version in VERSIONS:
        # The Python of a suite is tested with the libraries of that suite, the others with this machine's.
        suite = by_suite.get(version)
        wheel = () if suite else tuple(f"tests/test_wheel.py::{test}[{version}]" for test in _WHEEL)
        yield Cell(
            name=f"python-{version}", table=PYTHON, row=f"Python {version}", column="wheel and one SR",
            tests=(*_ROUND_TRIP, *wheel), client=suite or "bookworm", python=None if suite else version,
        )  # fmt: skip
