"""The output of smblock reclaim, on a terminal and on a pipe."""

from __future__ import annotations

import importlib.util
import io
from types import ModuleType

import pytest

from lab.wheel import REPOSITORY


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(scope="module")
def progress() -> ModuleType:
    spec = importlib.util.spec_from_file_location("progress", REPOSITORY / "drivers/smblock/progress.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_terminal_shows_one_line_with_objects_rate_and_remaining_time(progress: ModuleType) -> None:
    out, now = Terminal(), [100.0]
    shown = progress.Progress(out, lambda: now[0])
    shown.report("progress", "a", "objects", 0, 1000)
    for second in range(1, 5):
        now[0] += 1
        shown.report("progress", "a", "objects", 100 * second, 1000)
        shown.report("progress", "a", "objects", 100 * second + 1, 1000)
    lines = out.getvalue().split("\r")
    assert len(lines) == 1 + 1 + 4
    assert "\n" not in out.getvalue()
    assert lines[-1] == "freeing  a: 40%, 400 of 1000 objects, 100 objects/s, 6 s left"
    shown.report("done", "a", "its space is free", 0, 0)
    assert out.getvalue().endswith("\rdone     a: its space is free\n")


def test_a_pipe_gets_one_line_for_each_image(progress: ModuleType) -> None:
    out = io.StringIO()
    shown = progress.Progress(out)
    for image in ("a", "b"):
        shown.report("progress", image, "objects", 0, 10)
        shown.report("progress", image, "objects", 10, 10)
        shown.report("done", image, "its space is free", 0, 0)
    assert out.getvalue() == "done     a: its space is free\ndone     b: its space is free\n"


def test_sizes_and_times_are_readable_and_not_rounded_up(progress: ModuleType) -> None:
    assert progress.amount(16 << 20, 3 << 30, "bytes") == "16 MiB of 3 GiB"
    assert progress.one(2 << 40, "bytes") == "2 TiB"
    assert [progress.duration(seconds) for seconds in (7, 61, 7260)] == ["7 s", "1 min 1 s", "2 h 1 min"]
