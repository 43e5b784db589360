"""The commands of Ceph that smblock's texts name: in README, docs, and the strings of the code."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

# Texts that only look like a command.
NO_COMMANDS = (
    "rbd task",  # of the manager's module, without `ceph` before it
    "ceph command",
    "rbd loaded",
    "rbd export)",
    "ceph device-config:",
    "ceph version ",
    "ceph v3",
    "rbd pool=",
)
# Placeholders, and a value for each.
PLACEHOLDERS = {
    "POOL": "no-such-pool",
    "IMAGE": "image",
    "NEW-IMAGE": "image",
    "CLONE": "image",
    "DEVICE": "image",
    "{device}": "image",
    "{found}": "no-such-pool/image@snapshot",
    "{lacking}": "journaling",
    "BYTES": "1073741824",
    "OBJECTS": "1000",
    "NAME": "a",
    "VALUE": "value",
    "[v2:ADDRESS:3300,v1:ADDRESS:6789]": "[v2:192.0.2.1:3300,v1:192.0.2.1:6789]",
    "USER": "reader",
    "UUID2": "6f4bd5a2",
    "UUID3": "6f4bd5a3",
    "UUID": "6f4bd5a1",
    "{pool}": "no-such-pool",
    "{place}": "no-such-pool",
    "{namespace}": "a",
    "{name}": "no-such-pool",
    "{now}": "no-such-pool",
    "{user}": "reader",
    "{image}": "image",
    "{depth}": "1",
    "{version}": "1",
    "{entity}": "client.reader",
    "{path}": "no-such-pool/image",
    "{spec}": "no-such-pool/image@snapshot",
    "{0}": "no-such-pool/image",
    "{pg}": "1.0",
    "{DIRECTORY}": "smblock.directory",
    "RULE": "replicated_rule",
    "LOCKER": "client.4711",
    "FILE": "/dev/null",
    "{cookie}": "cookie",
    "{client}": "client.4711",
    "{lock}": "lock client.4711",
    "{POOL_NAME}": "no-such-pool",
    "{LOCK_NAME}": "rbd_lock",
    "{option}": "rbd_default_data_pool",
    "{snapshot}": "snapshot",
    "{group_pool}": "no-such-pool",
    "{group_name}": "group",
    "{group}": "no-such-pool/group@snapshot",
    "{disk}": "6f4bd5a2",
    "{{": "{",
    "}}": "}",
    '\\"': '"',
    "{host}:{v2}": "192.0.2.1:3300",
    "{host}:{v1}": "192.0.2.1:6789",
    "{features}": "journaling",
    "FEATURE": "journaling",
    "{expected}": "1048576",
    "{id}": "10226b8b4567",
    "{object}": "object",
    "{catalogue}": "object",
    "{sr}": "6f4bd5a1",
    "{key}": "key",
    "{address}": "192.0.2.1:0/1",
    "{vdi}": "6f4bd5a1",
    "{}": "no-such-pool",
    "vms": "no-such-pool",
    "…": "image",
}
# Arguments that a command in running text leaves out.
COMPLETED = {
    "ceph osd pool set-quota vms": "ceph osd pool set-quota no-such-pool max_bytes 1",
    "ceph auth get-key": "ceph auth get-key client.reader",
    "ceph mon set-addrs": "ceph mon set-addrs a [v2:192.0.2.1:3300,v1:192.0.2.1:6789]",
    "rbd resize --size 0": "rbd resize --size 0 no-such-pool/image",
    "rados ls": "rados -p no-such-pool ls",
    "ceph auth get-or-create client.NAME CAPS --key-type aes": (
        "ceph auth get-or-create client.new mon 'profile rbd' osd 'profile rbd pool=a'"
    ),
    "ceph auth get-or-create {}": "ceph auth get-or-create client.new mon 'profile rbd' osd 'profile rbd pool=a'",
    "ceph auth caps {}": "ceph auth caps client.new mon 'profile rbd' osd 'profile rbd pool=a, profile rbd pool=b'",
    "rbd feature disable {image} {}": "rbd feature disable no-such-pool/image journaling",
}
# Words that end a command without quotes in running text.
PROSE = {"shows", "lists", "makes", "prints", "and", "or", "to", "on", "is", "are", "of", "with", "for", "in", "which"}
PROSE |= {"there"}

# A placeholder of the pages that tests follow: SR-UUID.
_UUID = re.compile(r"\b(?:[A-Z0-9]+-)+UUID\b")
_START = re.compile(r"(?<![\w./\-=])(?<!profile )(?:ceph|rbd|rados) (?=[-a-z{])")
_END = re.compile(r"`|\n|;|&&|\||>(?=\s)|,(?=\s)|\(|\)|\.(?=\s|$)|:(?=\s|$)|\"|→|->|\t|  +")


def commands_in(text: str) -> Iterator[str]:
    """The commands that a text names, as it spells them."""
    text = re.sub(r"\\\n\s*", "", text)
    position = 0
    while (found := _START.search(text, position)) is not None:
        start = found.start()
        before = text[start - 1] if start else ""
        if before == "'":
            end = text.find("'", start)
            end = len(text) if end < 0 else end
        elif before == "`":
            end = text.find("`", start)
            end = len(text) if end < 0 else end
        else:
            end = _end_of_bare(text, start)
        command = " ".join(text[start:end].split())
        position = max(end, found.end())
        if " " in command and not command.startswith(NO_COMMANDS):
            yield command


def _end_of_bare(text: str, start: int) -> int:
    quoted, at = False, start
    while at < len(text):
        if text[at] == "'":
            opens = not quoted and text[at - 1] in " ="
            if not (quoted or opens):
                return at
            quoted = not quoted
        elif not quoted:
            if _END.match(text, at):
                return at
            word = re.match(r" (\w+)\b", text[at:])
            if word and word[1] in PROSE:
                return at
        at += 1
    return at


def filled(command: str) -> list[str]:
    """The words of a command, with something in place of each placeholder."""
    command = _UUID.sub("6f4bd5a1", COMPLETED.get(command, command))
    for placeholder in sorted(PLACEHOLDERS, key=len, reverse=True):
        command = command.replace(placeholder, PLACEHOLDERS[placeholder])
    words = shlex.split(command)
    unknown = [word for word in words if re.search(r"\{\w*\}|\b[A-Z]{3,}\b", word)]
    if unknown:
        raise ValueError(f"{unknown}: no entry in PLACEHOLDERS")
    return words


_RUST = re.compile(r'//[^\n]*|/\*.*?\*/|r#"(?P<raw>.*?)"#|"(?P<plain>(?:\\.|[^"\\])*)"|\'(?:\\.|[^\'\\])\'', re.DOTALL)


def texts_of(path: Path) -> Iterator[str]:
    """The texts of a file that reach a reader."""
    content = path.read_text()
    if path.suffix == ".md":
        yield re.sub(r"^> ?", "", content, flags=re.MULTILINE)
    elif path.suffix == ".rs":
        # A format string's `{{` and `\"` do not matter here.
        for found in _RUST.finditer(content.partition("#[cfg(test)]")[0]):
            yield found["raw"] or found["plain"] or ""
    else:
        for node in ast.walk(ast.parse(content)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def sources(repository: Path) -> Iterator[Path]:
    """The files whose texts reach an administrator."""
    yield repository / "README.md"
    yield from sorted(repository.glob("docs/user/**/*.md"))
    for directory in ("drivers", "provisioners"):
        yield from sorted(repository.glob(f"{directory}/**/*.py"))
    for path in sorted(repository.glob("rust/*/src/**/*.rs")):
        # The model in memory reaches no administrator.
        if not path.stem.endswith("tests") and not {"memory", "tests"} & set(path.parts):
            yield path


def all_commands(repository: Path) -> dict[str, str]:
    """Every command, with the first file that names it."""
    found: dict[str, str] = {}
    for path in sources(repository):
        for text in texts_of(path):
            for command in commands_in(text):
                found.setdefault(command, str(path.relative_to(repository)))
    return found
