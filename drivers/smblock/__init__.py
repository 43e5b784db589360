"""Ceph RBD and Crucible storage for XCP-ng: the core that the SM drivers beside this package call.

Importing it opens no library, no cluster and no file: xapi asks drivers for their capabilities also on hosts
without Ceph.
"""

from smblock._core import Error, Sr, __version__, capabilities, check, configuration, sr_type_of

__all__ = ["Error", "Sr", "__version__", "capabilities", "check", "configuration", "sr_type_of"]
