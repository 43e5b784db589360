#!/usr/bin/python3
"""SM driver of type crucible: Oxide Crucible volumes, served on each host through NBD.

xapi executes this file once for each command. Like CephRBDSR.py, it only adapts SM's classes to the core.
"""

import os
import sys

# As in CephRBDSR.py: __file__ is not defined in plugins of SM 4.
sys.path.append(os.path.dirname(os.path.realpath(sys._getframe().f_code.co_filename)))

import smblock  # noqa: E402
from smblock.checks import check_sr  # noqa: E402
from smblock.command import run  # noqa: E402
from smblock.crucible import CrucibleVDI, CrucibleXapi  # noqa: E402
from smblock.shared import warn_unless_shared  # noqa: E402
from smblock.sm import DATAPATHS, SR, CoreSR, as_sm_error, set_attributes, util  # noqa: E402

SR_TYPE = "crucible"

DRIVER_INFO = {
    "name": "Oxide Crucible",
    "description": "Crucible volumes as disks, served through NBD on each host",
    "vendor": "smblock",
    "copyright": "(C) 2026 the smblock authors, LGPL-2.1",
    "driver_version": smblock.__version__,
    "required_api_version": "1.0",
    "capabilities": smblock.capabilities(SR_TYPE),
    "configuration": smblock.configuration(SR_TYPE),
}


class CrucibleSR(CoreSR):
    """The volumes that a file declares and that a provisioner has made."""

    @staticmethod
    def handles(type):
        return type == SR_TYPE

    @as_sm_error
    def load(self, sr_uuid):
        super().load(sr_uuid)
        # Not under SM's lock of the SR: a copy takes up to an hour, and a host that plugs the SR must not wait for it.
        self.ops_exclusive = [operation for operation in self.ops_exclusive if operation != "vdi_clone"]
        xapi = CrucibleXapi(self.session, sr_uuid)
        self.core = smblock.Sr(SR_TYPE, sr_uuid, util.get_this_host(), self.dconf, xapi)
        self.sr_vditype = self.core.vdi_type

    def vdi(self, uuid):
        return CrucibleVDI(self, uuid)

    @as_sm_error
    def create(self, uuid, size):
        self.core.create(DATAPATHS)
        warn_unless_shared(self)

    def check_sr(self, sr_uuid):
        check_sr(self.session, sr_uuid)

    @as_sm_error
    def update(self, uuid):
        set_attributes(self, self.core.update())
        self._db_update()


if __name__ == "__main__":
    run(CrucibleSR, DRIVER_INFO)
else:
    SR.registerSR(CrucibleSR)
