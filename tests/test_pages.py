"""The commands, device-config keys, alerts and error texts in README and the pages for users exist.

Commands of Ceph are in test_printed_commands.py.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.cephrbd import CephRbdLab
from lab.wheel import REPOSITORY, built_wheel, unpack
from lab.xapi.cli.commands import COMMANDS

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs" / "user").glob("*.md"))]
# Commands of the real `xe` that the lab's does not have.
REAL_ONLY = {
    "host-evacuate",
    "message-list",
    "network-param-add",
    "pool-dump-database",
    "pool-eject",
    "pool-ha-enable",
    "pool-ha-disable",
    "pool-join",
    "pool-restore-database",
    "sr-enable-database-replication",
    "task-list",
    "vdi-export",
    "vm-copy",
    "vm-export",
    "pool-emergency-transition-to-master",
    "pool-recover-slaves",
}
_CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)


def code_of(page: Path) -> Iterator[str]:
    """The code of a page, with each continued line in one, and without the prompts of hosts."""
    for found in _CODE.finditer(page.read_text()):
        yield re.sub(r"^ *host\d# ", "", re.sub(r"\\\n\s*", "", found[0]), flags=re.MULTILINE)


def typed(program: str) -> set[str]:
    """The text after a program's name in the code of all pages, to the end of its line."""
    pattern = re.compile(rf"(?<![\w-])(?:\S*/)?{program} ([^\n`#;)|']+)")
    return {found[1].strip() for page in PAGES for code in code_of(page) for found in pattern.finditer(code)}


def test_each_xe_command_of_the_pages_exists_in_the_lab() -> None:
    commands = {words.split()[0] for words in typed("xe")}
    assert len(commands) > 20
    known = set(COMMANDS) | REAL_ONLY
    unknown = {name for name in commands - known if not is_record_command(name)}
    assert not unknown


def is_record_command(name: str) -> bool:
    """Whether `xe` has this command for a class of objects: sr-list, host-param-get, …"""
    return bool(re.fullmatch(r"(pool|message|sr|sm|pbd|vdi|vbd|vm|host)-(list|param-(list|get|set|add|remove))", name))


@pytest.fixture(scope="module")
def usages(lab: CephRbdLab) -> dict[str, str]:
    """The help text of each command of smblock, by its words."""
    return dict(helps(lab))


def helps(lab: CephRbdLab, *words: str) -> Iterator[tuple[str, str]]:
    text = lab.admin(*words, "--help").check().decode()
    yield " ".join(words), text
    listed = re.search(r"\{([\w,-]+)\}", text)
    own = re.findall(r"^    ([a-z]+)(?: .*)?$", text, re.MULTILINE) if "COMMAND ..." in text else []
    for name in listed[1].split(",") if listed else own:
        yield from helps(lab, *words, name)


def test_each_option_of_smblock_in_the_pages_exists(usages: dict[str, str]) -> None:
    code = [
        code
        for page in PAGES
        if page.name not in ("errors.md", "rolling-update.md")
        for code in code_of(page)
        if "```text" not in code
    ]
    found = {line for each in code for line in re.findall(r"^`?smblock ([a-z-][^\n`#]*)", each, re.MULTILINE)}
    lines = {line.strip() for line in found}
    assert len(lines) > 15
    for line in lines:
        words = line.split()
        name = "" if line.startswith("-") else words[0]
        name = " ".join(words[:2]) if name in ("sr", "vdi") else name
        usage = usages[name]
        for option in re.findall(r"(?<!\S)--[a-z-]+", line):
            assert f"{option} " in usage or f"{option}\n" in usage or f"{option}]" in usage, line


def test_each_target_of_make_in_the_pages_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    typed_targets = {words.split()[0] for words in typed("make")}
    assert {"demo", "lab", "release"} <= typed_targets
    assert typed_targets <= targets


@pytest.mark.parametrize(("sr_type", "page"), [("cephrbd", "device-config"), ("crucible", "crucible")])
def test_the_table_of_a_page_has_each_key_of_the_sr_type(sr_type: str, page: str, tmp_path: Path) -> None:
    call = f"import json, smblock; print(json.dumps(smblock.configuration({sr_type!r})))"
    environment = {**os.environ, "PYTHONPATH": str(unpack(built_wheel(), tmp_path))}
    done = subprocess.run([sys.executable, "-c", call], env=environment, capture_output=True, text=True, check=True)
    keys = [key for key, _ in json.loads(done.stdout)]
    text = (REPOSITORY / "docs" / "user" / f"{page}.md").read_text()
    table = text[text.index("| key | default | meaning |") :].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == keys


def sources() -> list[Path]:
    """The files of the code that ships."""
    patterns = ("rust/*/src/**/*.rs", "drivers/**/*.py", "provisioners/**/*.py")
    return [path for pattern in patterns for path in REPOSITORY.glob(pattern)]


def test_the_page_about_monitoring_names_each_alarm() -> None:
    table = (REPOSITORY / "rust/sr/src/alarm/table.rs").read_text()
    alarms = {"smblock_driver", *re.findall(r'name: "(smblock_\w+)"', table)}
    assert {"smblock_host_fenced", "smblock_sr_not_shared"} <= alarms
    text = (REPOSITORY / "docs" / "user" / "monitoring.md").read_text()
    assert alarms == set(re.findall(r"^\| `(smblock_(?!sr_(?!not_|unre)|info)\w+)`", text, re.MULTILINE))


def words_of_code() -> str:
    """The text of the sources that contain errors, each line and each string joined to the next."""
    text = " ".join(path.read_text() for path in sorted(sources()))
    return " ".join(re.sub(r"\\\n\s*|\\(?=[\"'])", "", text).split())


def quotes() -> Iterator[tuple[str, str]]:
    """The texts that the pages quote, each with its page."""
    for page in PAGES:
        for quote in re.findall(r"(?:^> ?.*\n)+", page.read_text(), re.MULTILINE):
            yield page.name, " ".join(re.sub(r"^> ?", "", quote, flags=re.MULTILINE).split())


# Parts of a text besides its own words: names, numbers, omissions of a page, and joints of two texts.
_FILLED = re.compile(r"[:;.] |\bor |\S*(?:[\d…]|smblock\.|vms|client\.xcp|object-map|ETIMEDOUT|VDI|SR|MiB)\S*")


def test_the_texts_that_the_pages_quote_are_those_of_the_code() -> None:
    code, checked, unknown = words_of_code(), 0, []
    for page, quote in quotes():
        for run in _FILLED.sub("\0", quote).split("\0"):
            words = run.strip(" ,.;:()'")
            if len(words.split()) > 3:
                checked += 1
                unknown += [f"{page}: no text of the code has: {words}"] if words not in code else []
    assert not unknown, "\n".join(unknown)
    assert checked > 15
