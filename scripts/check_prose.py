"""Checks that comments, documents and names of tests are plain English: `make lint`.

    python scripts/check_prose.py [--count] [PATH...]

Checks all files of the repository, or those below the given paths. Reads

- comments and docstrings of Rust, Python and shell files,
- the text of Markdown pages, without code and without quoted texts of errors,
- names of tests, which have at most 72 characters.

The texts of errors have a test of their own: rust/py/src/error_page/rules.rs. Decisions are records and are not read.
Prints each finding; --count prints how many a directory has. The exit status is 1 if there is one.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

# A word, and what to write. A program does not speak, and a person has a role: host, process, caller, administrator.
WORDS = {
    r"answer(?:s|ed|ing)?": "returns, replies, reply",
    r"says|said|saying": "names, prints, has, states, requires",
    r"tells?|told|telling": "reports, shows, tells apart -> distinguishes",
    r"knows?|knew|knowing": "has, finds, reads, detects",
    r"nobody|no one|somebody|someone|anybody|anyone": "name the host, process or person; or use the passive",
    r"whoever|whatever|wherever|whichever": "if, when, any, each",
    r"mend(?:s|ed|ing)?": "fix",
    r"stand-?ins?": "simulator, fake",
    r"folders?": "directory",
    r"for ever|no more|all the same|by and by|of its own accord": "plain words",
}
LONGEST_NAME = 72

_WORD = re.compile(r"\b(?:%s)\b" % "|".join(f"(?P<w{i}>{word})" for i, word in enumerate(WORDS)), re.IGNORECASE)
_TEST = re.compile(r"#\[test\]\s*(?:#\[[^\]]*\]\s*)*fn (\w+)|^def (test_\w+)", re.MULTILINE)
_RUST_COMMENT = re.compile(
    r'(?P<string>r(#+)".*?"\2|b?"(?:[^"\\]|\\.)*"|\'(?:[^\'\\\n]|\\[^\n]{1,8}?)\')|//[^\n]*', re.DOTALL
)
_SHELL_COMMENT = re.compile(r"(?:^|(?<=\s))#[^\n]*", re.MULTILINE)
# Code, targets of links, comments, and quoted texts of errors.
_MARKDOWN_CODE = re.compile(r"^```.*?^```|^>[^\n]*|`[^`\n]*`|\]\([^)\n]*\)|<!--.*?-->", re.MULTILINE | re.DOTALL)
_CODE_SPAN = re.compile(r"`[^`\n]*`|\"[^\"\n]*\"")


def blank(found: re.Match[str]) -> str:
    """The same number of lines, without text."""
    return "\n" * found[0].count("\n")


def prose(path: Path, text: str) -> Iterator[tuple[int, str]]:
    """The number of the first line, and the text, of each piece of prose in a file."""
    if path.suffix == ".md":
        text = _MARKDOWN_CODE.sub(blank, text)
        yield from ((number, line) for number, line in enumerate(text.splitlines(), 1))
        return
    if path.suffix in (".py", ".pyi") or "python" in text.partition("\n")[0]:
        pieces = python_prose(text)
    else:
        pieces = comments(_RUST_COMMENT if path.suffix == ".rs" else _SHELL_COMMENT, text)
    for first, piece in pieces:
        for offset, line in enumerate(piece.splitlines()):
            yield first + offset, _CODE_SPAN.sub("", line)


def comments(pattern: re.Pattern[str], text: str) -> Iterator[tuple[int, str]]:
    """The comments of a source, each with its first line."""
    for found in pattern.finditer(text):
        if "string" not in pattern.groupindex or found["string"] is None:
            yield text.count("\n", 0, found.start()) + 1, found[0]


def python_prose(text: str) -> Iterator[tuple[int, str]]:
    """The comments and docstrings of a Python source, each with its first line."""
    starts_statement = True
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT or (token.type == tokenize.STRING and starts_statement):
            yield token.start[0], token.string.strip('"')
        if token.type not in (tokenize.COMMENT, tokenize.NL):
            starts_statement = token.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)


def findings(path: Path) -> Iterator[str]:
    """The findings in a file, each with its line."""
    text = path.read_text()
    for number, line in prose(path, text):
        for found in _WORD.finditer(line):
            better = list(WORDS.values())[int((found.lastgroup or "w0")[1:])]
            yield f"{path}:{number}: '{found[0]}' ({better}): {line.strip()}"
    for found in _TEST.finditer(text):
        name = found[1] or found[2]
        number = text.count("\n", 0, found.start()) + 1
        if len(name) > LONGEST_NAME:
            yield f"{path}:{number}: {name} has {len(name)} characters: at most {LONGEST_NAME}"
        if word := _WORD.search(name.replace("_", " ")):
            yield f"{path}:{number}: '{word[0]}' in the name {name}"


def files(paths: list[str]) -> Iterator[Path]:
    """The files of the repository that have prose."""
    listed = subprocess.run(["git", "ls-files", "-z", *paths], stdout=subprocess.PIPE, check=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        path = Path(name)
        if name.startswith("docs/decisions/") or not path.is_file() or path.is_symlink():
            continue
        if (
            path.suffix in (".rs", ".py", ".pyi", ".md", ".sh")
            or path.name in ("Makefile", "run")
            or (not path.suffix and path.read_bytes().startswith(b"#!"))
        ):
            yield path


def main() -> int:
    """Print the findings: 1 if there are any."""
    arguments = sys.argv[1:]
    count = "--count" in arguments
    own = Path(__file__).name
    found = [
        finding
        for path in files([argument for argument in arguments if argument != "--count"])
        if path.name != own
        for finding in findings(path)
    ]
    if count:
        for directory, number in sorted(Counter("/".join(each.split("/")[:2]) for each in found).items()):
            print(f"{number:5} {directory}")
    else:
        print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
