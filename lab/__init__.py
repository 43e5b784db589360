"""The lab: a pool of XCP-ng hosts and a Ceph cluster, on one plain Debian machine.

Ceph and the guests' kernel are real.  xapi, sm and tapdisk, which a plain machine does not have, are
simulators, and are called so.

Each part of the lab listens on loopback only and has one directory. Its processes and files are removed when
the process that started it ends, also by a signal: see `lab.keeper`.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


class LabError(RuntimeError):
    """A part of the lab has failed; the message names the part, the action and the reason."""


def cache_directory() -> Path:
    """Where downloads are kept: SMBLOCK_CACHE, or ~/.cache/smblock."""
    directory = Path(os.environ.get("SMBLOCK_CACHE") or Path.home() / ".cache" / "smblock")
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def run(
    argv: Sequence[str | os.PathLike[str]],
    *,
    timeout: float,
    env: Mapping[str, str] | None = None,
    input: bytes = b"",
    check: bool = True,
    cwd: str | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command of the lab's own with a deadline in seconds.

    Raises `LabError` with the command's stderr if it fails (unless `check` is off) or exceeds the deadline.
    """
    words = [os.fspath(word) for word in argv]
    try:
        done = subprocess.run(words, check=False, capture_output=True, timeout=timeout, env=env, input=input, cwd=cwd)
    except subprocess.TimeoutExpired as late:
        raise LabError(f"{' '.join(words)}: no reply in {timeout} s") from late
    except OSError as error:
        raise LabError(f"{' '.join(words)}: {error}") from error
    if check and done.returncode != 0:
        stderr = (done.stderr.strip() or done.stdout.strip()).decode(errors="replace")
        raise LabError(f"{' '.join(words)}: exit status {done.returncode}: {stderr}")
    return done


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Wait until a condition holds; `LabError` if it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise LabError(f"timed out after {seconds} s waiting for {what}")
        time.sleep(0.2)
