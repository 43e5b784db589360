#!/usr/bin/python3
"""SM driver of type crucible: Oxide Crucible volumes, served on each host through NBD.

xapi executes this file once for each command. As CephRBDSR.py, it has SM's class shape and nothing
else.
"""

import os
import sys

# As in CephRBDSR.py: SM 4 says no __file__.
sys.path.append(os.path.dirname(os.path.realpath(sys._getframe().f_code.co_filename)))

import smblock  # noqa: E402
from smblock.command import run  # noqa: E402
from smblock.crucible import RUNNER, CrucibleVDI, Xapi  # noqa: E402
from smblock.shared import warn_unless_shared  # noqa: E402
from smblock.sm import DATAPATHS, SR, CoreSR, as_sm_error, take_over, util  # noqa: E402

CAPABILITIES = [
    *("SR_UPDATE", "ATOMIC_PAUSE"),
    *("VDI_CREATE", "VDI_DELETE", "VDI_CLONE", "VDI_INTRODUCE", "VDI_UPDATE"),
    *("VDI_ATTACH", "VDI_DETACH", "VDI_ACTIVATE", "VDI_DEACTIVATE"),
]

CONFIGURATION = [
    ["volumes", "file that declares the volumes, the same on every host"],
    ["provisioner", "program that makes, copies and deletes volumes (one of both is required)"],
    ["server", "Crucible's NBD server (default: /usr/local/bin/crucible-nbd-server)"],
    ["datapath", "aio (tapdisk, default) or phy (blkback)"],
]

DRIVER_INFO = {
    "name": "Oxide Crucible",
    "description": "Crucible volumes as disks, served through NBD on each host",
    "vendor": "smblock",
    "copyright": "(C) 2026 the smblock authors, LGPL-2.1",
    "driver_version": smblock.__version__,
    "required_api_version": "1.0",
    "capabilities": CAPABILITIES,
    "configuration": CONFIGURATION,
}


class CrucibleSR(CoreSR):
    """The volumes that a file declares and that a provisioner has made."""

    @staticmethod
    def handles(type):
        return type == "crucible"

    @as_sm_error
    def load(self, sr_uuid):
        super().load(sr_uuid)
        # A copy takes up to an hour. A host that plugs the SR does not wait for it.
        self.ops_exclusive = [operation for operation in self.ops_exclusive if operation != "vdi_clone"]
        xapi = Xapi(self.session, sr_uuid)
        self.core = smblock.CrucibleSr(sr_uuid, util.get_this_host(), self.dconf, xapi, RUNNER)
        self.sr_vditype = self.core.vdi_type

    def vdi(self, uuid):
        return CrucibleVDI(self, uuid)

    @as_sm_error
    def create(self, uuid, size):
        self.core.create(DATAPATHS)
        warn_unless_shared(self)

    @as_sm_error
    def scan(self, uuid):
        vdis, attributes = self.core.scan(self.own_vdi_records())
        take_over(self, attributes)
        for found in vdis:
            self.vdis[found["uuid"]] = take_over(self.vdi(found["uuid"]), found)
        super().scan(uuid)

    @as_sm_error
    def update(self, uuid):
        take_over(self, self.core.update())
        self._db_update()


if __name__ == "__main__":
    run(CrucibleSR, DRIVER_INFO)
else:
    SR.registerSR(CrucibleSR)
