"""The program `ceph` in its interactive mode: one process and one connection for many commands.

`ceph` itself takes 0.2 s for each command, most of it to start; a command takes 0.04 s here.
"""

from __future__ import annotations

import os
import select
import shlex
import subprocess
import time
from pathlib import Path

from lab import LabError, run

# The process does not mark the end of a reply. This command follows each, and its reply is known.
_END_COMMAND = b"fsid"
_OPTIONS = {"--format", "--in-file", "--out-file"}


class CephCommands:
    """Runs commands of `ceph` as the cluster's administrator, in processes that wait for the next command.

    conf   the cluster's configuration file
    fsid   the cluster's
    """

    def __init__(self, conf: Path, fsid: str) -> None:
        self._conf = conf
        self._fsid = fsid
        self._idle: list[_Session] = []

    def run(self, args: tuple[str, ...], timeout: float) -> str:
        """Run `ceph ARGS`. Returns its output, JSON if it has no other format; `LabError` if it fails."""
        if _takes(args):
            session = self._idle.pop() if self._idle else _Session(self._conf, self._fsid, timeout)
            try:
                reply = session.run(args, timeout + 5)
            except _Refused:
                # A process of its own has the error as an administrator sees it, or accepts the command: it has
                # the list of commands of now, also those of modules that the manager has loaded since.
                session.close()
            except BaseException:
                session.close()
                raise
            else:
                self._idle.append(session)
                return reply
        return run([*_program(self._conf, timeout), *args], timeout=timeout + 5).stdout.decode()

    def close(self) -> None:
        """End the idle processes. The next one connects to the daemons that run then."""
        while self._idle:
            self._idle.pop().close()


def _takes(args: tuple[str, ...]) -> bool:
    """Whether the interactive mode has a command. It has neither `tell` nor the options of `ceph` itself."""
    return args[0] not in ("tell", "fsid") and not args[0].startswith("-") and _OPTIONS.isdisjoint(args)


def _program(conf: Path, timeout: float) -> list[str]:
    return ["ceph", "--conf", str(conf), "--connect-timeout", str(int(timeout)), "--format", "json"]


class _Refused(Exception):
    """The cluster, or the process itself, has refused a command."""


class _Session:
    """One process of `ceph` in its interactive mode; `timeout` seconds to connect."""

    def __init__(self, conf: Path, fsid: str, timeout: float) -> None:
        self._end = b'\n{"fsid":"%s"}\n' % fsid.encode()
        self._process = subprocess.Popen(
            _program(conf, timeout),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )

    def run(self, args: tuple[str, ...], timeout: float) -> str:
        """Run a command. Returns its output; `_Refused` if it fails, `LabError` without a reply in time."""
        what = f"ceph {shlex.join(args)}"
        stdin, stdout, stderr = self._process.stdin, self._process.stdout, self._process.stderr
        assert stdin is not None
        assert stdout is not None
        assert stderr is not None
        end = time.monotonic() + timeout
        try:
            stdin.write(shlex.join(args).encode() + b"\n" + _END_COMMAND + b"\n")
            stdin.flush()
        except BrokenPipeError:
            pass  # the end of its output follows
        output, errors = b"\n", b""
        while not output.endswith(self._end):
            ready, _, _ = select.select([stdout, stderr], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise LabError(f"{what}: no reply in {timeout} s")
            if stderr in ready:
                errors += os.read(stderr.fileno(), 1 << 16)
            if stdout in ready:
                read = os.read(stdout.fileno(), 1 << 16)
                if not read:
                    raise LabError(f"{what}: the process has ended: {(errors + stderr.read()).decode().strip()}")
                output += read
        # Written before the reply's end.
        while select.select([stderr], [], [], 0)[0] and (read := os.read(stderr.fileno(), 1 << 16)):
            errors += read
        if any(line.startswith(b"Error E") for line in errors.splitlines()):
            raise _Refused
        return output.removesuffix(self._end).decode()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
