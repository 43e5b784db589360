"""Rules for the files of the repository: their length, and the lists that have to name each of them."""

from __future__ import annotations

import os
import re
import subprocess

from lab.wheel import REPOSITORY

MOST_LINES = 400
SOURCES = {".md", ".py", ".pyi", ".rs", ".sh", ".toml"}
# Longer files, and why.
LONGER = {
    "docs/user/errors.md": "written by a test of rust/py",
    "docs/user/findings.md": "written by a test of rust/sr",
    "drivers/smblock/_core.pyi": "a stub has everything of its module",
}


def test_each_source_and_page_has_at_most_400_lines() -> None:
    git = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, check=True, capture_output=True, text=True)
    paths = [REPOSITORY / name for name in git.stdout.split("\0") if name]
    sources = [path for path in paths if path.suffix in SOURCES and path.is_file()]
    lines = {str(path.relative_to(REPOSITORY)): path.read_text().count("\n") for path in sources}
    assert len(lines) > 500
    assert {name: count for name, count in lines.items() if count > MOST_LINES and name not in LONGER} == {}


def test_the_list_of_decisions_has_each_of_them() -> None:
    """UPDATE=1 adds those that the list lacks to its end: move them below their topic."""
    directory = REPOSITORY / "docs" / "decisions"
    pages = {path.name: path.read_text().partition("\n")[0] for path in directory.glob("[0-9]*.md")}
    readme = directory / "README.md"
    if os.environ.get("UPDATE"):
        new = sorted(name for name in pages if f"]({name})" not in readme.read_text())
        lines = [f"- [{int(name[:4])}]({name}): {pages[name].removeprefix('# ')}\n" for name in new]
        readme.write_text(readme.read_text() + "".join(lines))
    listed = re.findall(r"^- \[(\d+)\]\((\S+)\): (.+)$", readme.read_text(), re.MULTILINE)
    assert {name: f"# {title}" for _, name, title in listed} == pages
    assert all(int(number) == int(name[:4]) for number, name, _ in listed)


def test_readme_links_each_page_for_administrators() -> None:
    readme = (REPOSITORY / "README.md").read_text()
    pages = [path.name for path in (REPOSITORY / "docs" / "user").glob("*.md")]
    assert [name for name in pages if f"](docs/user/{name}" not in readme] == []
