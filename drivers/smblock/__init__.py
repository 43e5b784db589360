"""Ceph RBD and Crucible storage for XCP-ng: the core that the SM drivers beside this package call.

Importing it opens no library, no cluster and no file: xapi asks drivers what they can do on hosts
without Ceph too.
"""

from smblock._core import CrucibleSr, Error, Sr, __version__, check

__all__ = ["CrucibleSr", "Error", "Sr", "__version__", "check"]
