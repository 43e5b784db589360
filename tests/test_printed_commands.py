"""The cluster's release has every command of Ceph that README, docs, errors and logs name.

Each is run as a user that may only read, or on a pool that does not exist: the cluster refuses a valid
command for that reason, and an invalid one for its syntax.
"""

from __future__ import annotations

import errno
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab.ceph import OneNodeCeph
from lab.commands import all_commands, commands_in, filled
from lab.wheel import REPOSITORY

# Commands that only newer releases have and need.
NEWER = {"auth_allowed_ciphers": 20, "--key-type": 20, "rm-pg-upmap-primary": 18}
UNDERSTOOD = {0, errno.ENOENT, errno.EPERM, errno.EACCES}


@pytest.fixture(scope="module")
def reader(ceph: OneNodeCeph, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The options of a user that may read the cluster's state, and nothing else."""
    keyring = tmp_path_factory.mktemp("reader") / "keyring"
    ceph.admin("auth", "get-or-create", "client.reader", "mon", "allow r", "--out-file", str(keyring),
               "--format", "plain")  # fmt: skip
    return ["--conf", str(ceph.conf), "--name", "client.reader", "--keyring", str(keyring)]


def run(argv: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)


def complaint(words: list[str], reader: list[str]) -> str:
    """The error of a command; empty if the release has it."""
    program, arguments = words[0], words[1:]
    if program == "rbd":
        return _complaint_of_rbd(arguments, reader)
    if program == "rados":
        return _complaint_of_rados(arguments, reader)
    done = run(["ceph", *reader, "--connect-timeout", "20", *arguments])
    return "" if done.returncode in UNDERSTOOD else f"{done.returncode}: {done.stderr}"


def _complaint_of_rbd(arguments: list[str], reader: list[str]) -> str:
    known = next((n for n in range(min(3, len(arguments)), 0, -1) if _is_rbd_command(arguments[:n])), 0)
    if not known:
        return "rbd has no such command"
    if known == len(arguments):
        return ""  # a name in running text
    done = run(["rbd", *reader, "--rbd-default-pool", "no-such-pool", *arguments])
    # 1 is also the exit status for options that rbd does not have.
    return "" if done.returncode in (0, errno.ENOENT) else f"{done.returncode}: {done.stderr}"


def _is_rbd_command(words: list[str]) -> bool:
    return all(re.fullmatch(r"[a-z-]+", word) for word in words) and run(["rbd", "help", *words]).returncode == 0


def _complaint_of_rados(arguments: list[str], reader: list[str]) -> str:
    done = run(["rados", *reader, *arguments])
    command = next(word for word in arguments[2:] if not word.startswith("-"))
    if not re.search(rf"^\s+{command}\b", run(["rados", "--help"]).stdout, re.MULTILINE):
        return f"rados has no command {command}"
    return "" if "no-such-pool: (2)" in done.stderr else f"{done.returncode}: {done.stderr}"


@pytest.mark.slow  # a hundred processes; `make test-compat` runs it on each release
def test_the_release_has_every_command_that_the_texts_name(reader: list[str]) -> None:
    release = int(re.findall(r"version (\d+)", run(["ceph", "--version"]).stdout)[0])
    every = all_commands(REPOSITORY)
    found = {c: at for c, at in every.items() if all(since <= release for word, since in NEWER.items() if word in c)}
    assert len(found) > 50
    with ThreadPoolExecutor(4) as pool:
        complaints = pool.map(lambda command: complaint(filled(command), reader), found)
    wrong = [f"{found[command]}: {command}: {why}" for command, why in zip(found, complaints, strict=True) if why]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "words",
    [
        ["ceph", "osd", "pool", "creat", "a"],
        ["ceph", "osd", "pool", "set-quota", "a", "max_size", "1"],
        ["rbd", "trash", "lst", "--all"],
        ["rbd", "trash", "ls", "--every", "no-such-pool"],
        ["rados", "-p", "no-such-pool", "listmapvals", "a"],
    ],
)
def test_a_command_that_no_release_has_is_found(reader: list[str], words: list[str]) -> None:
    assert complaint(words, reader)


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("try it: ceph osd df shows which are full", ["ceph osd df"]),
        ("run 'rbd trash ls --all {pool}' there", ["rbd trash ls --all {pool}"]),
        ("`ceph auth caps client.x osd 'profile rbd pool=a'`", ["ceph auth caps client.x osd 'profile rbd pool=a'"]),
        ("ceph -s && rbd ls vms; more", ["ceph -s", "rbd ls vms"]),
        ("ceph auth get \\\n    client.x, then", ["ceph auth get client.x"]),
        ("a cluster of ceph version 16.2.15", []),
    ],
)
def test_commands_are_found_in_running_text(text: str, commands: list[str]) -> None:
    assert list(commands_in(text)) == commands


def test_every_command_in_the_texts_can_be_filled() -> None:
    for command in all_commands(REPOSITORY):
        assert filled(command)


def test_a_placeholder_without_an_entry_is_refused() -> None:
    with pytest.raises(ValueError, match="no entry in PLACEHOLDERS"):
        filled("ceph osd pool rm {unheard_of}")


def test_texts_are_read_from_every_kind_of_file() -> None:
    files = {Path(file).suffix for file in all_commands(REPOSITORY).values()}
    assert {".md", ".rs"} <= files
