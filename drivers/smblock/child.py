"""Runs work in a process of its own, with a deadline that holds even if the kernel blocks the process."""

import json
import os
import select
import signal
import time

from smblock import reply


class ChildError(Exception):
    """The work failed, or was not done in time."""


class Child:
    """A process that does one piece of work.

    what      the work's name, for errors
    work      called in the process; returns a value that JSON can hold
    seconds   the work's deadline
    """

    def __init__(self, what, work, seconds):
        self._what = what
        self._seconds = seconds
        self._end = time.monotonic() + seconds
        self._reading, writing = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            _become_child(work, writing, seconds)
        os.close(writing)

    def result(self):
        """Waits for the work, and returns its value.

        Raises `ChildError` if the work failed, or if the deadline has passed. A child that the kernel blocks
        then stays without this process.
        """
        try:
            reply = self._read()
        finally:
            os.close(self._reading)
        if reply is None:
            os.kill(self._pid, signal.SIGKILL)
            raise ChildError("%s: timed out after %d s" % (self._what, self._seconds))
        os.waitpid(self._pid, 0)
        if not reply:
            raise ChildError("%s: its process ended without a result" % self._what)
        result = json.loads(reply.decode())
        if "error" in result:
            raise ChildError("%s: %s" % (self._what, result["error"]))
        return result["value"]

    def _read(self):
        """Returns what the child writes until it closes the pipe. None if it does not close it in time."""
        parts = []
        while True:
            wait = max(0.0, self._end - time.monotonic())
            ready, _, _ = select.select([self._reading], [], [], wait)
            if not ready:
                return None
            part = os.read(self._reading, 65536)
            if not part:
                return b"".join(parts)
            parts.append(part)


def close_streams():
    """Closes the streams of the caller: xapi reads them until every process has closed them."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    reply.release(null)
    os.close(null)


def _become_child(work, writing, seconds):
    try:
        close_streams()
        # The kernel's default action ends the child if its parent cannot, even if Python does not run.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(seconds + 1)
        try:
            reply = {"value": work()}
        except BaseException as error:
            reply = {"error": str(error) or type(error).__name__}
        os.write(writing, json.dumps(reply).encode())
    finally:
        os._exit(0)
