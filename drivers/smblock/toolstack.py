"""What this host's xapi and SM can do together, for the capabilities that depend on it."""

import mmap

from smblock.sm import DATAPATHS

XAPI = "/opt/xensource/bin/xapi"
RESIZE_ONLINE = "VDI_RESIZE_ONLINE"
# The log message of VDI.resize_online in a xapi that has the call (message_forwarding.ml). From 2017 to 26.17 xapi has
# the call's name, but only refuses it.
LOG_MESSAGE = b"VDI.resize_online: VDI = '"


def capabilities_here(capabilities):
    """Returns the capabilities without those that no disk of this host can have."""
    grows = "phy" in DATAPATHS and _xapi_resizes_online()
    return [name for name in capabilities if grows or name != RESIZE_ONLINE]


def _xapi_resizes_online():
    # xapi asks for capabilities before it has sessions, and no file has its version.
    try:
        with open(XAPI, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as program:
            return program.find(LOG_MESSAGE) >= 0
    except (OSError, ValueError):
        return False
