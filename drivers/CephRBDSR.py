#!/usr/bin/python3
"""SM driver of type cephrbd: one Ceph RBD image for each VDI.

xapi executes this file once for each command. It only adapts SM's classes to the Rust core (smblock._core),
and turns the core's errors into SM's. The core decides everything.
"""

import os
import sys

# SM's plugins load this file too. In those of SM 4, __file__ is not defined, and this directory not in sys.path.
sys.path.append(os.path.dirname(os.path.realpath(sys._getframe().f_code.co_filename)))

import smblock  # noqa: E402
from smblock import worker  # noqa: E402
from smblock.checks import check_sr  # noqa: E402
from smblock.command import run  # noqa: E402
from smblock.pause import CephXapi  # noqa: E402
from smblock.shared import warn_unless_shared  # noqa: E402
from smblock.sm import DATAPATHS, SR, CoreSR, as_sm_error, set_attributes, util  # noqa: E402
from smblock.vdi import SnapshotVDI  # noqa: E402

SR_TYPE = "cephrbd"

DRIVER_INFO = {
    "name": "Ceph RBD",
    "description": "Ceph RBD images as disks, mapped by the kernel",
    "vendor": "smblock",
    "copyright": "(C) 2026 the smblock authors, LGPL-2.1",
    "driver_version": smblock.__version__,
    "required_api_version": "1.0",
    "capabilities": smblock.capabilities(SR_TYPE),
    "configuration": smblock.configuration(SR_TYPE),
}


class CephRBDSR(CoreSR):
    """The images of one SR in a Ceph pool."""

    @staticmethod
    def handles(type):
        return type == SR_TYPE

    @as_sm_error
    def load(self, sr_uuid):
        super().load(sr_uuid)
        self.xapi = CephXapi(lambda: self.session, sr_uuid)
        self.core = smblock.Sr(SR_TYPE, sr_uuid, util.get_this_host(), self.dconf, self.xapi)
        self.sr_vditype = self.core.vdi_type

    def vdi(self, uuid):
        return SnapshotVDI(self, uuid)

    @as_sm_error
    def create(self, uuid, size):
        self.core.create(DATAPATHS, *self._names())
        warn_unless_shared(self)

    def check_sr(self, sr_uuid):
        check_sr(self.session, sr_uuid)

    @as_sm_error
    def probe(self):
        return self.core.probe()

    @as_sm_error
    def update(self, uuid):
        set_attributes(self, self.core.update(*self._names()))
        self._db_update()

    def has_succeeded(self):
        self.xapi.command_succeeded()

    def after_command(self):
        if self.core.needs_worker:
            worker.start(self.uuid, self.dconf, util.SMlog)

    def _names(self):
        sr = self.session.xenapi.SR
        return sr.get_name_label(self.sr_ref), sr.get_name_description(self.sr_ref)


if __name__ == "__main__":
    run(CephRBDSR, DRIVER_INFO)
else:
    SR.registerSR(CephRBDSR)
