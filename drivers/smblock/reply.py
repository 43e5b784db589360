"""Keeps what libraries print out of xapi's reply: xapi reads descriptor 1, and libraries print to it."""

import os
import sys

_kept = None


def keep():
    """Moves Python's stdout to another descriptor, and points descriptor 1 to /dev/null."""
    global _kept
    if _kept is not None or not _is_first(sys.stdout):
        return
    sys.stdout.flush()
    _kept = os.dup(1)  # not inherited by programs that are started
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
    sys.stdout = os.fdopen(_kept, "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors)


def release(null):
    """Closes the reply in a forked process, because xapi waits until it is closed."""
    if _kept is not None:
        os.dup2(null, _kept)


def _is_first(stream):
    try:
        return stream.fileno() == 1
    except (AttributeError, OSError, ValueError):
        return False  # replaced by a test, or closed
