"""The check of links in `make lint` finds each kind of broken link, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.wheel import REPOSITORY

# The check reads this file, too.
DOCS = "docs"
CHECK = REPOSITORY / "scripts" / "check_links.py"
PAGE = f"""\
# A page

[one]({DOCS}/other.md), [two]({DOCS}/other.md#it-is-right-isnt-it), [three](#a-page), ![picture]({DOCS}/a.svg)
[directory]({DOCS}), [out](https://example.org/x.md), `[code](nowhere.md)`

```
[code](nowhere.md)
```
"""
OTHER = "# Other\n\n## It *is* right, isn't it?\n\nBack to [the page](../README.md#a-page)\n"


@pytest.fixture
def checked(tmp_path: Path) -> Callable[..., str]:
    """Checks a repository with these files. Returns the findings."""

    def check(**files: str) -> str:
        content = {"README.md": PAGE, f"{DOCS}/other.md": OTHER, f"{DOCS}/a.svg": "<svg/>"}
        content |= {name.replace("__", "/").replace("_", "."): text for name, text in files.items()}
        subprocess.run(["git", "init", "-q", tmp_path], check=True)
        for name, text in content.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        done = subprocess.run([sys.executable, CHECK, tmp_path], capture_output=True, text=True, check=False)
        assert done.stderr == ""
        assert done.returncode == bool(done.stdout)
        return done.stdout

    return check


def test_sound_links_of_every_kind_pass(checked: Callable[..., str]) -> None:
    assert checked() == ""


@pytest.mark.parametrize(
    ("link", "problem"),
    [
        (f"[x]({DOCS}/nowhere.md)", f"{DOCS}/nowhere.md: no such file"),
        ("[x](other.md)", "other.md: no such file"),
        (f"![x]({DOCS}/b.svg)", f"{DOCS}/b.svg: no such file"),
        (f"[x]({DOCS}/other.md#nothing)", f"{DOCS}/other.md#nothing: {DOCS}/other.md has no such heading"),
        ("[x](#nothing)", "#nothing: README.md has no such heading"),
        ("[x](../README.md)", "../README.md: no such file"),
        (f"[x]: {DOCS}/nowhere.md", f"{DOCS}/nowhere.md: no such file"),
    ],
)
def test_a_broken_link_is_found_with_its_line(checked: Callable[..., str], link: str, problem: str) -> None:
    assert checked(README_md=f"{PAGE}\n{link}\n") == f"README.md:10: {problem}\n"


def test_a_page_that_other_files_name_must_exist(checked: Callable[..., str]) -> None:
    found = checked(Makefile=f"# {DOCS}/other.md\n# {DOCS}/gone.md\n", src__a_rs=f"//! [d]: ../{DOCS}/lost.md\n")
    assert found == f"Makefile:2: /{DOCS}/gone.md: no such file\nsrc/a.rs:1: ../{DOCS}/lost.md: no such file\n"
