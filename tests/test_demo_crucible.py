"""What `make demo-crucible` prints about the programs that it runs."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from demo import crucible
from lab.session import Session


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> crucible.Demo:
    """A demo that has started nothing. A build of the simulators prints `[built]` instead."""
    demo = object.__new__(crucible.Demo)
    Session.__init__(demo, tmp_path, ExitStack())

    def build() -> Path:
        print("[built]", end="")
        return tmp_path

    monkeypatch.setattr(crucible, "crucible_bin", build)
    return demo


def test_the_demo_names_simulators_before_it_builds_them(
    demo: crucible.Demo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CRUCIBLE_BIN", raising=False)
    demo.find_programs()
    before, built, _ = capsys.readouterr().out.partition("[built]")
    assert built
    assert "simulators of Crucible's" in before
    assert "cargo build --workspace --bins" in before


def test_the_demo_names_the_directory_of_its_programs(
    demo: crucible.Demo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CRUCIBLE_BIN", "/somewhere")
    demo.find_programs()
    shown = capsys.readouterr().out
    assert "CRUCIBLE_BIN=/somewhere" in shown
    assert "simulators" not in shown
