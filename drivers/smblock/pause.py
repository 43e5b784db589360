"""Holding back a disk's I/O for a snapshot, on whichever host of the pool it runs."""

from smblock.hosts import Hosts
from smblock.sm import blktap2, fist_point, util


class Toolstack(Hosts):
    """What only XAPI and SM know or can do, for the core."""

    def pause(self, vdi_uuid):
        """Holds back the I/O of a disk's tapdisk, on whichever host it runs."""
        if not blktap2.VDI.tap_pause(self._session, self._sr_uuid, vdi_uuid):
            raise util.SMException("tapdisk-pause did not pause the disk: SMlog of the host that runs it says why")
        fist_point("vdi_snapshot_paused")

    def unpause(self, vdi_uuid):
        """Lets a disk's tapdisk go on, also if it does already."""
        fist_point("vdi_snapshot_taken")
        session = self._session
        if blktap2.VDI.tap_unpause(session, self._sr_uuid, vdi_uuid):
            return
        # SM unpauses no tapdisk that is not paused; of one that runs it shows that it can be.
        if not blktap2.VDI.tap_refresh(session, self._sr_uuid, vdi_uuid):
            raise util.SMException("tapdisk-pause did not unpause the disk: SMlog of the host that runs it says why")
        vdi = session.xenapi.VDI
        vdi.remove_from_sm_config(vdi.get_by_uuid(vdi_uuid), "paused")
