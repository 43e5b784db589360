"""The files that the schedule names are there: of a file that has another name now, the time would be lost."""

from __future__ import annotations

from lab.wheel import REPOSITORY
from tests import schedule


def test_each_file_of_the_schedule_is_there() -> None:
    for file in (*schedule.FIRST_GUESTS, *schedule.LONG):
        assert (REPOSITORY / file).is_file(), file


def test_files_named_for_virtual_machines_use_them_and_others_do_not() -> None:
    assert {schedule.group(file) for file in schedule.FIRST_GUESTS} == {"first guests"}
    assert [file for file in schedule.LONG if schedule.shares_guests(file)] == []


def test_two_groups_have_all_files_with_virtual_machines() -> None:
    files = [f"tests/{path.name}" for path in (REPOSITORY / "tests").glob("test_*.py")]
    groups = {schedule.group(file) for file in files if schedule.shares_guests(file)}
    assert groups == {"first guests", "second guests"}
