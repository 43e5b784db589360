"""The keeper: ends the processes of a part of the lab, also when the test process is killed.

`Keeper(directory)` starts one small process that waits for the end of its standard input.  The input
ends when `close()` is called, and also when the test process dies of SIGKILL, because the kernel closes
the pipe.  The keeper then kills every process that has the part's *token* (a path inside the directory)
among its arguments, and removes the directory.

Every end takes this way, so each run tests the clean-up after a crash.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from lab import LabError
from lab.ports import AddressLease

_REAP_SECONDS = 20.0
_REPOSITORY = Path(__file__).resolve().parents[1]


class Keeper:
    """Watches `directory` (created here, removed at the end) and the processes naming `token`."""

    def __init__(self, directory: Path, token: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise LabError(f"{directory}: not empty; a part of the lab removes its directory, so it needs an empty one")
        self._process = subprocess.Popen(
            # Outside the terminal's session: ^C ends the tests, and the keeper must outlive them.
            [sys.executable, "-m", "lab.keeper", str(directory), token],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            cwd=_REPOSITORY,
            start_new_session=True,
        )

    def close(self) -> None:
        """End the processes and remove the directory.  Raises `LabError` if that did not succeed."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            status = self._process.wait(timeout=_REAP_SECONDS + 10)
        except subprocess.TimeoutExpired as late:
            raise LabError(f"keeper {self._process.pid}: still cleaning up") from late
        if status != 0:
            raise LabError(f"keeper {self._process.pid}: left something behind, exit status {status}")


def close(keeper: Keeper | None, lease: AddressLease | None) -> None:
    """End what `keeper` watches, then release the address that it had; None for what was not made yet."""
    try:
        if keeper is not None:
            keeper.close()
    finally:
        if lease is not None:
            lease.release()


def processes_naming(token: str) -> list[int]:
    """Process ids of all living processes that have `token` as one of their arguments."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal() and int(entry.name) != os.getpid() and _names(int(entry.name), token):
            found.append(int(entry.name))
    return found


def _names(pid: int, token: str) -> bool:
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False  # gone, or of another user
    return os.fsencode(token) in arguments


def kill(pid: int, token: str, number: int = signal.SIGKILL) -> bool:
    """Signal `pid` if it still is the process that names `token`. Returns whether it was.

    A pidfd is taken before the arguments are checked, so a reused process id is never signalled.
    """
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if not _names(pid, token):
            return False
        signal.pidfd_send_signal(handle, number)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)


def sweep(directory: Path, token: str) -> None:
    """Kill what names `token`, wait until it is gone, remove `directory`."""
    end = time.monotonic() + _REAP_SECONDS
    # Repeated until none is left: a daemon may fork meanwhile.
    while running := processes_naming(token):
        for pid in running:
            kill(pid, token)
        if time.monotonic() > end:
            raise LabError(f"{directory}: processes {running} outlived SIGKILL by {_REAP_SECONDS} s")
        time.sleep(0.01)
    shutil.rmtree(directory)


def _main() -> None:
    directory, token = Path(sys.argv[1]), sys.argv[2]
    sys.stdin.buffer.read()
    # The keeper itself names the token too: processes_naming() leaves out its own pid.
    sweep(directory, token)


if __name__ == "__main__":
    _main()
