"""Work in a process of its own: with a deadline that holds even if the kernel does not come back."""

import json
import os
import select
import signal
import time


class ChildError(Exception):
    """The work failed, or was not done in time."""


def run_in_child(what, work, seconds):
    """Returns what `work()` returns, which JSON must be able to hold.

    Raises `ChildError` with its error, or once the deadline is over: a child that the kernel holds
    then goes on without this process.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _become_child(work, writing, seconds)
    os.close(writing)
    try:
        reply = _read(reading, time.monotonic() + seconds)
    finally:
        os.close(reading)
    if reply is None:
        os.kill(pid, signal.SIGKILL)
        raise ChildError("%s: not done within %d s" % (what, seconds))
    os.waitpid(pid, 0)
    if not reply:
        raise ChildError("%s: the process that did it has ended" % what)
    result = json.loads(reply.decode())
    if "error" in result:
        raise ChildError("%s: %s" % (what, result["error"]))
    return result["value"]


def close_streams():
    """Lets go of the streams of whoever started this process: xapi reads them until all have closed them."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
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


def _read(reading, end):
    """All that is written until everybody has closed it; None if that is not done at `end`."""
    parts = []
    while True:
        ready, _, _ = select.select([reading], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            return None
        part = os.read(reading, 65536)
        if not part:
            return b"".join(parts)
        parts.append(part)
