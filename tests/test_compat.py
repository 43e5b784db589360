"""The matrix of `make test-compat` is whole: it runs tests that exist, each cell has a name and a place of its own."""

from __future__ import annotations

import re
from collections import Counter

from tests.compat import report
from tests.compat.cells import all_cells, small_cells
from tests.compat.results import Result
from tests.wheel import REPOSITORY


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
    first, second, third, *_ = [cell for cell in all_cells() if cell.table == "Kernels"]
    results = {
        first.name: Result(first.name, "2026-01-02", "passed", "11 passed", versions={"Linux": "5.10.223-1"}),
        second.name: Result(second.name, "2026-01-03", "failed", "10 passed, 1 failed", ("test_of_a_disk",)),
        third.name: Result(third.name, "2026-01-04", "absent", "no such kernel"),
    }
    text = report.page(results)
    assert f"| {first.row} | passed, 11 passed, 2026-01-02 |" in text
    assert f"| {second.row} | failed, 10 passed, 1 failed, 2026-01-03 |" in text
    assert f"- {second.row}, {second.column}: failed: `test_of_a_disk`." in text
    assert f"| {third.row} | not tried |" in text
    assert "| not supported |" in text
    assert "- Not supported: Linux before 7.0 has no keys of type aes256k." in text
    assert "Full versions: Linux 5.10.223-1." in text
