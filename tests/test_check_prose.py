"""The check of prose in `make lint` finds words to avoid in comments and pages, and long names of tests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.wheel import REPOSITORY

LONG = "test_" + 68 * "x"


@pytest.fixture
def checked(tmp_path: Path) -> Callable[[str, str], str]:
    """Checks a repository with one file. Returns the findings."""
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)

    def check(name: str, text: str) -> str:
        (tmp_path / name).write_text(text)
        subprocess.run(["git", "add", "."], cwd=tmp_path, check=True)
        script = [sys.executable, str(REPOSITORY / "scripts" / "check_prose.py")]
        done = subprocess.run(script, cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=False)
        assert done.returncode == (1 if done.stdout.strip() else 0)
        return done.stdout

    return check


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("a.md", "Nobody has it.\n", "a.md:1: 'Nobody'"),
        ("a.py", 'def f():\n    """It answers."""\n', "a.py:2: 'answers'"),
        ("a.py", "x = 1  # as told\n", "a.py:1: 'told'"),
        ("tool", '#!/usr/bin/python3\n"""A folder."""\n', "tool:2: 'folder'"),
        ("tool", "#!/bin/sh\n# mends it\n", "tool:2: 'mends'"),
        ("a.rs", "/// Answers it.\nfn f() {}\n", "a.rs:1: 'Answers'"),
        ("a.rs", "#[test]\nfn nobody_has_it() {}\n", "a.rs:1: 'nobody' in the name"),
        ("a.py", f"def {LONG}():\n    pass\n", f"a.py:1: {LONG} has 73 characters"),
    ],
)
def test_a_word_to_avoid_and_a_long_name_are_found(
    checked: Callable[[str, str], str], name: str, text: str, found: str
) -> None:
    assert found in checked(name, text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.md", "The file `answers` exists:\n\n> nobody answered\n\n```\ntold\n```\n"),
        ("a.py", 'def f():\n    """Returns `told`."""\n    return "nobody"\n'),
        ("a.rs", 'fn f() -> &\'static str { "told // nobody" }\n'),
        ("a.py", f"def {LONG[:-1]}():\n    pass\n"),
    ],
)
def test_code_strings_and_quotes_are_not_read(checked: Callable[[str, str], str], name: str, text: str) -> None:
    assert checked(name, text).strip() == ""
