"""The programs of another suite's Ceph, as a directory to put first in PATH.

`lab.ceph` then makes its cluster with that Ceph; nothing else of the lab changes.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from tests.compat.versions import OLDEST

_PROGRAMS = ("ceph-mon", "ceph-osd", "ceph-mgr", "ceph", "rbd", "rados", "ceph-authtool", "monmaptool")
# A new cluster of Ceph 20 makes keys of type 2 (aes256k) by default; older clients do not have that type.
OLD_KEYS = {
    "ceph-authtool": ("--key-type", "aes"),
    "monmaptool": (
        "--auth-allowed-ciphers", "aes,aes256k", "--auth-service-cipher", "aes", "--auth-preferred-cipher", "aes",
    ),
}  # fmt: skip

# Nautilus has `ceph osd blacklist`, which Pacific renamed.
_OLD_WORD = """\
for word do
    shift
    [ "$word" != blocklist ] || word=blacklist
    set -- "$@" "$word"
done
"""


def write_programs(directory: Path, suite: str, root: Path, options: dict[str, tuple[str, ...]]) -> None:
    """Write a script for each program, which runs that of a suite's root directory with the options added."""
    directory.mkdir(parents=True, exist_ok=True)
    for program in _PROGRAMS:
        words = shlex.join(["chroot", str(root), f"/usr/bin/{program}", *options.get(program, ())])
        script = directory / program
        translation = _OLD_WORD if program == "ceph" and suite == OLDEST else ""
        script.write_text(f'#!/bin/sh\n{translation}exec {words} "$@"\n')
        script.chmod(0o755)
