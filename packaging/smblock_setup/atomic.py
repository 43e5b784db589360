"""Files that are replaced in one step, and locks that have a deadline."""

import contextlib
import fcntl
import os
import tempfile
import time

from smblock_setup import SetupError, reason

SCRATCH = ".smblock-"


def write(path, data, mode=0o644, scratch=None):
    """Puts `data` into the file at once: a reader sees the old content or the new one, also after a power failure.

    The new content is written in the directory `scratch`, which must be on the same filesystem.
    """
    directory = os.path.dirname(path)
    try:
        handle, temporary = tempfile.mkstemp(prefix=SCRATCH, dir=scratch or directory)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            os.rename(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
        sync_directory(directory)
    except OSError as error:
        raise SetupError("writing %s: %s" % (path, reason(error))) from error


def sync_directory(path):
    """Has the names in a directory on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove(path):
    """Removes a file or a link if it exists; returns whether it did."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    sync_directory(os.path.dirname(path))
    return True


@contextlib.contextmanager
def locked(directory, seconds):
    """Holds the lock of a directory. The lock is on the directory itself and leaves no file."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        _lock(handle, directory, seconds)
        yield
    finally:
        os.close(handle)  # releases the lock


def _lock(handle, directory, seconds):
    end = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= end:
                text = "another process has held the lock of %s for %g s: lslocks prints its id. Try again later"
                raise SetupError(text % (directory, seconds)) from None
        time.sleep(0.02)
