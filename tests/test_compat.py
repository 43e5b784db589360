"""The matrix of `make test-compat`: its tests exist, and each cell has a name and a place of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from lab import LabError
from lab.wheel import REPOSITORY
from tests.compat import report
from tests.compat.cells import all_cells, small_cells
from tests.compat.execute import judge
from tests.compat.results import Result
from tests.compat.used import in_series, kernel_release

JUNIT = """<testsuites><testsuite>
<testcase classname="tests.test_a" name="test_passes"/>
<testcase classname="tests.test_a" name="test_fails"><failure message="no"/></testcase>
<testcase classname="tests.test_a" name="test_fails"><error message="nor its fixture"/></testcase>
<testcase classname="tests.test_b" name="test_fails"/>
<testcase classname="tests.test_b" name="test_skips"><skipped message="no kernel"/></testcase>
</testsuite></testsuites>"""


def exists(argument: str) -> bool:
    file, _, test = argument.partition("::")
    path = REPOSITORY / file
    name = re.escape(test.partition("[")[0])
    return path.is_file() and re.search(rf"^def {name}", path.read_text(), re.MULTILINE) is not None


def test_the_cells_name_tests_that_exist() -> None:
    arguments = {test for cell in [*all_cells(), *small_cells()] for test in cell.tests if test.startswith("tests/")}
    assert [argument for argument in sorted(arguments) if not exists(argument)] == []


def test_every_cell_has_a_name_and_a_place_of_its_own() -> None:
    names = Counter(cell.name for cell in all_cells())
    places = Counter((cell.table, cell.row, cell.column) for cell in all_cells())
    assert [name for name, count in names.items() if count > 1] == []
    assert [place for place, count in places.items() if count > 1] == []


def test_the_page_shows_results_failures_limits_and_what_was_not_tried() -> None:
    first, second, third, fourth = [cell for cell in all_cells() if cell.table == "Kernels"]
    day = "2026-01-02"
    passed = Result(first.name, day, "passed", "11 passed, 1 skipped", skips={"test_skips": "no tapdisk"})
    results = {
        first.name: Result(**{**vars(passed), "versions": {"Linux": "5.10.223-1"}}),
        second.name: Result(second.name, day, "failed", "10 passed, 1 failed", ("test_of_a_disk",)),
        third.name: Result(third.name, day, "skipped", "no such kernel"),
        fourth.name: Result(**{**vars(passed), "cell": fourth.name}),
    }
    text = report.page(results)
    assert f"| {first.row} | 11 passed, 1 skipped, {day} |" in text
    assert f"- {first.row}, {first.column}; {fourth.row}, {fourth.column}: skipped: `test_skips`: no tapdisk." in text
    assert f"| {second.row} | failed: 10 passed, 1 failed, {day} |" in text
    assert f"- {second.row}, {second.column}: failed: `test_of_a_disk`." in text
    assert f"| {third.row} | not tried |" in text
    assert f"- {third.row}, {third.column}: not tried: no such kernel." in text
    assert "| not supported; its error: not tried |" in text
    assert "- Not supported: Linux before 7.0 has no keys of type aes256k." in text
    assert "Full versions: Linux 5.10.223-1." in text


def test_a_cell_fails_with_a_test_that_fails_and_without_any(tmp_path: Path) -> None:
    junit = tmp_path / "junit.xml"
    junit.write_text(JUNIT)
    result = judge("cell", junit)
    assert (result.outcome, result.text) == ("failed", "2 passed, 1 failed, 1 skipped")
    assert result.failures == ("test_fails",)
    assert result.skips == {"test_skips": "no kernel"}
    junit.write_text("<testsuites><testsuite/></testsuites>")
    assert judge("cell", junit).outcome == "failed"


@pytest.mark.parametrize(
    ("banner", "version"),
    [
        (
            "Linux version 5.10.0-32-amd64 (debian-kernel@lists.debian.org) (gcc-10 (Debian 10.2.1-6) 10.2.1 20210110, "
            "GNU ld (GNU Binutils for Debian) 2.35.2) #1 SMP Debian 5.10.223-1 (2024-08-10)",
            "5.10.223-1",
        ),
        (
            "Linux version 7.2.13+deb14-amd64 (debian-kernel@lists.debian.org) (x86_64-linux-gnu-gcc-16 (Debian "
            "16.2.0-4) 16.2.0, GNU ld (GNU Binutils for Debian) 2.4) #1 SMP PREEMPT_DYNAMIC Debian 7.2.13-1 (2026)",
            "7.2.13-1",
        ),
    ],
)
def test_a_kernels_version_is_not_that_of_its_compiler(banner: str, version: str) -> None:
    template = banner.replace("#1", "#")  # an image has this one first
    assert kernel_release(f"\0{template}\n\0{banner}\n\0".encode()) == version
    with pytest.raises(LabError, match="names no version"):
        kernel_release(banner.partition("#1")[0].encode())


def test_a_suite_that_moved_on_is_not_taken_for_its_old_version() -> None:
    assert in_series("14.2.21", "14.2") and in_series("5.10.223-1", "5.10") and in_series("3.6", "3.6")
    assert not in_series("20.20.1", "20.2")
    assert not in_series("21.1.0", "20.2")


@pytest.mark.parametrize(("option", "status"), [("--skip-absent", 0), ("--small", 1)])
def test_a_suite_that_cannot_be_made_is_skipped_only_if_asked_for(tmp_path: Path, option: str, status: int) -> None:
    # Port 9 of loopback: nothing listens.
    environment = {**os.environ, "SMBLOCK_CACHE": str(tmp_path), "SMBLOCK_MIRROR": "http://127.0.0.1:9/debian"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.compat.run", "--small", option], cwd=REPOSITORY, env=environment,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    assert "sid: not available: " in done.stdout
    outcomes = re.findall(r"^small-\S+: (skipped|failed|passed): (.*), in", done.stdout, re.MULTILINE)
    assert [outcome for outcome, _ in outcomes] == ["failed" if status else "skipped"] * 2
    assert all(reason for _, reason in outcomes)
