"""Brings smblock to a host of XCP-ng: install.sh, the RPM's scriptlets and xapi's start all run this package.

It needs Python 3.6 and its standard library. It does not import the driver: it must run if the driver cannot.
"""

import errno
import glob
import os

SM_HOME = "/opt/xensource/sm"
# The SR types, and the driver of each. The type is the driver's name in lower case, without SR.
DRIVERS = {"cephrbd": "CephRBDSR", "crucible": "CrucibleSR"}


class SetupError(Exception):
    """A step failed. The text states what failed, and how to fix it."""


def below(root, path):
    """The place of an absolute path of a host below `root`, which is "" for this host."""
    return os.path.join(root or "/", path.lstrip("/"))


def find(root, pattern):
    """The paths below `root` that match a pattern of absolute paths of a host."""
    return sorted(glob.glob(glob.escape(root) + pattern, recursive=True))


def reason(error):
    """An OSError as text: the errno's name and number, and its meaning."""
    name = errno.errorcode.get(error.errno, "errno")
    return "%s (%s): %s" % (name, error.errno, error.strerror)
