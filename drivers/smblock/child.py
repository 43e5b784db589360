"""Work in a process of its own: with a deadline that holds even if the kernel does not come back."""

import json
import os
import select
import signal
import time

from smblock import reply


class ChildError(Exception):
    """The work failed, or was not done in time."""


class Child:
    """A process that does one thing.

    what      the work's name, for errors
    work      is called in the process; returns what JSON can hold
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
        """Waits for what the work returns.

        Raises `ChildError` with its error, or once the deadline is over: a child that the kernel holds
        then goes on without this process.
        """
        try:
            reply = self._read()
        finally:
            os.close(self._reading)
        if reply is None:
            os.kill(self._pid, signal.SIGKILL)
            raise ChildError("%s: not done within %d s" % (self._what, self._seconds))
        os.waitpid(self._pid, 0)
        if not reply:
            raise ChildError("%s: the process that did it has ended" % self._what)
        result = json.loads(reply.decode())
        if "error" in result:
            raise ChildError("%s: %s" % (self._what, result["error"]))
        return result["value"]

    def _read(self):
        """All that is written until everybody has closed it; None if that is not done in time."""
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
        # The kernel's own, which needs no turn of Python's: ends the child if its parent cannot.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(seconds + 1)
        try:
            reply = {"value": work()}
        except BaseException as error:
            reply = {"error": str(error) or type(error).__name__}
        os.write(writing, json.dumps(reply).encode())
    finally:
        os._exit(0)
