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

    The new content is written in the folder `scratch`, which must be on the same filesystem.
    """
    folder = os.path.dirname(path)
    try:
        handle, temporary = tempfile.mkstemp(prefix=SCRATCH, dir=scratch or folder)
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
        sync_folder(folder)
    except OSError as error:
        raise SetupError("writing %s: %s" % (path, reason(error))) from error


def sync_folder(path):
    """Has the names in a folder on the disk."""
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
    sync_folder(os.path.dirname(path))
    return True


@contextlib.contextmanager
def locked(folder, seconds):
    """Holds the lock of a folder. The lock is on the folder itself and leaves no file."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        _lock(handle, folder, seconds)
        yield
    finally:
        os.close(handle)  # releases the lock


def _lock(handle, folder, seconds):
    end = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= end:
                text = "another process has held the lock of %s for %g s: fuser -v %s prints it; end it, then try again"
                raise SetupError(text % (folder, seconds, folder)) from None
        time.sleep(0.02)
