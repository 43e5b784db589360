"""The compiled modules that Python leaves beside smblock's modules."""

import contextlib
import os
import shutil

from smblock_setup import SM_HOME, find, layout


def remove(root):
    """Removes them. Python compares a module with its cache by size and time only, which two versions may share."""
    for package in (SM_HOME + "/smblock", layout.LIBEXEC + "/smblock_setup"):
        for directory in find(root, package + "/**/__pycache__"):
            shutil.rmtree(directory, ignore_errors=True)
    for pattern in ("/__pycache__/CephRBDSR.*.pyc", "/__pycache__/CrucibleSR.*.pyc", "/__pycache__/smblock*.pyc"):
        for path in find(root, SM_HOME + pattern):
            os.unlink(path)
            with contextlib.suppress(OSError):  # SM's own are there too
                os.rmdir(os.path.dirname(path))
