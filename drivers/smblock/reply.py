"""xapi's reply on a descriptor of its own: libraries print to descriptor 1, which xapi reads as the reply."""

import os
import sys

_kept = None


def keep():
    """Moves Python's stdout to another descriptor, and points descriptor 1 to /dev/null."""
    global _kept
    if _kept is not None or not _is_first(sys.stdout):
        return
    sys.stdout.flush()
    _kept = os.dup(1)  # closed in programs that are started
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
    sys.stdout = os.fdopen(_kept, "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors)


def release(null):
    """Has a forked process let go of the reply, whose end xapi waits for."""
    if _kept is not None:
        os.dup2(null, _kept)


def _is_first(stream):
    try:
        return stream.fileno() == 1
    except (AttributeError, OSError, ValueError):
        return False  # no stream of this process's own
