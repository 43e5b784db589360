"""Checks the links between the repository's files: `make lint`.

    python scripts/check_links.py [DIRECTORY]

- A relative link of a Markdown page leads to a file or directory that git has, and its anchor to a heading.
- A page that any other file names (`docs/….md`, from the root; `[…]: ../….md` in Rust) exists.

Prints each broken link as FILE:LINE. The exit status is 1 if there is one.
"""

from __future__ import annotations

import posixpath
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

_FENCE = re.compile(r"^ {0,3}(```|~~~)")
_CODE = re.compile(r"`[^`]*`")
_INLINE = re.compile(r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
_REFERENCE = re.compile(r"^ {0,3}\[[^\]]+\]:\s+<?(\S+?)>?\s*$")
_HEADING = re.compile(r"^ {0,3}#{1,6}\s+(.*?)\s*#*\s*$")
_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*:", re.IGNORECASE)
# Names of pages in other files. A path from the root, and a link definition in Rust's documentation.
_NAMED = re.compile(r"(?<![\w./-])((?:docs/|README|CONTRIBUTING|CHANGELOG)[\w./-]*\.md)\b")
_RUSTDOC = re.compile(r"^\s*//[/!]\s*\[[^\]]+\]:\s+(\S+\.md)(?:#\S*)?\s*$")


def lines_outside_code(text: str) -> Iterator[tuple[int, str]]:
    """The numbered lines of a page without its code blocks."""
    fence = ""
    for number, line in enumerate(text.splitlines(), 1):
        found = _FENCE.match(line)
        if found and not fence:
            fence = found[1]
        elif found and found[1] == fence:
            fence = ""
        elif not fence:
            yield number, line


def links(text: str) -> Iterator[tuple[int, str]]:
    """The targets of a page's links and pictures, each with its line."""
    for number, line in lines_outside_code(text):
        reference = _REFERENCE.match(line)
        if reference:
            yield number, reference[1]
            continue
        for found in _INLINE.finditer(_CODE.sub("", line)):
            yield number, found[1]


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for _, line in lines_outside_code(text):
        heading = _HEADING.match(line)
        if heading is None:
            continue
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        number = 0
        unique = slug
        while unique in found:
            number += 1
            unique = f"{slug}-{number}"
        found.add(unique)
    return found


class Repository:
    """The files that git has, or would add."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=self.root, check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        self.files = {name for name in listed.split("\0") if name and (self.root / name).is_file()}
        self._directories = {str(directory) for name in self.files for directory in Path(name).parents}

    def text(self, name: str) -> str:
        try:
            return (self.root / name).read_text()
        except UnicodeDecodeError:
            return ""  # no text

    def problem(self, page: str, target: str) -> str:
        """The fault of a page's link; empty if its target exists."""
        if _SCHEME.match(target) or target.startswith("//"):
            return ""
        path, _, anchor = unquote(target).partition("#")
        name = page if not path else self._relative(page, path)
        if name is None or name not in self.files | self._directories:
            return f"{target}: no such file"
        if anchor and name.endswith(".md") and anchor not in anchors(self.text(name)):
            return f"{target}: {name} has no such heading"
        return ""

    def broken(self) -> Iterator[str]:
        """Every broken link, as FILE:LINE: PROBLEM."""
        for name in sorted(self.files):
            found = links(self.text(name)) if name.endswith(".md") else self._named(name)
            for number, target in found:
                problem = self.problem(name, target)
                if problem:
                    yield f"{name}:{number}: {problem}"

    def _named(self, name: str) -> Iterator[tuple[int, str]]:
        if name.startswith(("fuzz/corpus/", "target/")):
            return
        for number, line in enumerate(self.text(name).splitlines(), 1):
            rustdoc = _RUSTDOC.match(line) if name.endswith(".rs") else None
            if rustdoc:
                yield number, rustdoc[1]
                continue
            for found in _NAMED.finditer(line):
                yield number, f"/{found[1]}"

    def _relative(self, page: str, path: str) -> str | None:
        """A target as a path from the root; None if it leads out of the repository."""
        base = "" if path.startswith("/") else posixpath.dirname(page)
        name = posixpath.normpath(posixpath.join(base, path.lstrip("/")))
        return None if name.startswith("..") else name


def main(arguments: list[str]) -> int:
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parents[1]
    broken = list(Repository(root).broken())
    for line in broken:
        print(line)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
