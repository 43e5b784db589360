"""The blocks of a page, in their order: what is typed where, and what the page promises to be printed.

A fenced block is one of

    ```console       commands, each after the prompt of the place where it is typed (`host1# `, `ceph# `, `build$ `,
                     `client$ `), and the lines that it prints. A `…` leaves out the rest of a word or line, a line `…`
                     any lines.
    any other        content of a file, if the line before it is `<!-- file: PLACE:PATH -->`

A comment before a block changes what is done with it:

    <!-- not run: REASON -->   nothing can be run here
    <!-- lab: ACTION -->       the lab does this instead of the next block, or before it: see `actions` of `place`
    <!-- fails -->             the last command of the block ends with an error

and `<!-- after: PAGE -->` names a page that is followed first.

A name that ends in `-UUID` is a placeholder: the first output in which a page has it sets its value for that page.
`NEW-VERSION` and `OLD-VERSION` are two versions of smblock.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sybil import Document, Region
from sybil.parsers.markdown.lexers import DirectiveInHTMLCommentLexer, RawFencedCodeBlockLexer

_DIRECTIVES = ("not run", "lab", "fails", "file", "after")
_PROMPT = re.compile(r"(host\d|ceph|build|client)[#$] (.*)")
PLACEHOLDER = re.compile(r"\b(?:[A-Z0-9]+-)+(?:UUID|VERSION)\b")


class PageError(AssertionError):
    """A page cannot be followed; the message begins with the page and the line."""


@dataclass(frozen=True)
class Step:
    """A command, the place where it is typed, and the lines that the page shows after it."""

    line: int
    place: str
    command: str
    expected: list[str]


@dataclass(frozen=True)
class Block:
    """A fenced block with the comments before it: their arguments by directive."""

    page: str
    line: int
    language: str
    text: str
    marks: dict[str, str]

    @property
    def is_run(self) -> bool:
        return "not run" not in self.marks

    def error(self, text: str, line: int | None = None) -> PageError:
        return PageError(f"docs/user/{self.page}.md:{line or self.line}: {text}")

    def steps(self) -> list[Step]:
        """The commands of a block of the language console."""
        found: list[Step] = []
        for number, line in enumerate(self.text.splitlines(), self.line + 1):
            prompt = _PROMPT.fullmatch(line)
            if prompt:
                found.append(Step(number, prompt[1], prompt[2], []))
            elif not found:
                raise self.error(f"no prompt before: {line}", number)
            else:
                found[-1].expected.append(line.rstrip())
        return found


@dataclass(frozen=True)
class Page:
    """A page: its blocks, and the pages that are followed before it."""

    name: str
    after: list[str]
    blocks: list[Block]


def _directives(document: Document) -> Iterator[Region]:
    for region in DirectiveInHTMLCommentLexer("|".join(_DIRECTIVES))(document):
        yield Region(region.start, region.end, region.lexemes, _nothing)


def _fences(document: Document) -> Iterator[Region]:
    for region in RawFencedCodeBlockLexer(re.compile(r"(?P<language>[^\n]*)\n"))(document):
        yield Region(region.start, region.end, region.lexemes, _nothing)


def _nothing(_example: object) -> None:
    """The lab runs the blocks, not Sybil."""


def read(path: Path) -> Page:
    """Parses a page. `PageError` if a block is neither run nor marked, or a mark belongs to no block."""
    after: list[str] = []
    blocks: list[Block] = []
    marks: dict[str, str] = {}
    for example in Document.parse(str(path), _directives, _fences):
        lexemes = example.parsed
        if "directive" in lexemes:
            name, arguments = lexemes["directive"], lexemes["arguments"].strip()
            if name == "after":
                after.append(arguments)
            else:
                marks[name] = arguments
            continue
        block = Block(path.stem, example.line, lexemes["language"].strip(), str(lexemes["source"]), marks)
        _check(block)
        blocks.append(block)
        marks = {}
    if marks:
        raise PageError(f"docs/user/{path.name}: no block follows the marks {marks}")
    return Page(path.stem, after, blocks)


def _check(block: Block) -> None:
    if not block.is_run:
        if not block.marks["not run"]:
            raise block.error("'not run' needs a reason")
    elif block.language == "console":
        if not block.steps():
            raise block.error("no command")
    elif "file" not in block.marks:
        raise block.error(f"the block ({block.language or 'no language'}) is neither run nor marked")
