"""Rust's tests of librados' deadlines, built here and run in the root directory that LAB_ROOT names.

pytest collects this file only when it is named on the command line: `make test` runs the same tests with cargo.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lab.dom0 import lab_root
from lab.wheel import REPOSITORY

_TARGET = "x86_64-unknown-linux-gnu"
# The oldest glibc of a dom0; that of this machine is newer than those of older suites.
_LINKER = """\
#!/bin/sh
exec {bin}/maturin zig cc -- -target x86_64-linux-gnu.2.17 "$@"
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """The test program, linked against an old glibc."""
    tools = REPOSITORY / ".venv" / "bin"
    linker = tmp_path / "linker"
    linker.write_text(_LINKER.format(bin=tools))
    linker.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tools}:{os.environ['PATH']}",
        f"CARGO_TARGET_{_TARGET.upper().replace('-', '_')}_LINKER": str(linker),
    }
    done = subprocess.run(
        [
            "cargo", "test", "--quiet", "--locked", "--no-run", "--package", "librbd", "--test", "deadlines",
            "--target", _TARGET, "--target-dir", str(REPOSITORY / "target" / "compat"), "--message-format", "json",
        ],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    built = [json.loads(line).get("executable") for line in done.stdout.splitlines()]
    (path,) = filter(None, built)
    return Path(path)


@pytest.mark.timeout(1500)
def test_librados_ends_every_call_within_its_deadline(program: Path, tmp_path: Path) -> None:
    inside = tmp_path / "deadlines"
    shutil.copy(program, inside)
    done = subprocess.run(["chroot", lab_root(), inside], capture_output=True, text=True, timeout=560, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    # A test without librados passes, and writes so to stderr.
    assert "2 passed; 0 failed; 0 ignored" in done.stdout, done.stdout
    assert done.stderr == ""
