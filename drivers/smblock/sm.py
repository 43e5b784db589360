"""What the SM drivers share: SM's own modules, wherever this XCP-ng keeps them, and its errors."""

import functools
import os
import signal

try:  # sm 4: a package
    from sm import SR, VDI, SRCommand, blktap2
    from sm.core import util, xs_errors
except ImportError:  # sm 3, as in XCP-ng 8.3: modules beside the drivers
    import blktap2
    import SR
    import SRCommand
    import util
    import VDI
    import xs_errors

from smblock._core import Error

__all__ = ["DATAPATHS", "SR", "VDI", "CoreSR", "Toolstack", "as_sm_error", "fist_point", "is_dead", "run"]
__all__ += ["take_over", "util"]

# How this SM connects a disk: xapi gets a tapdisk's NBD socket and, up to SM 3, a block device too.
DATAPATHS = ("aio", "phy") if hasattr(blktap2.VDI, "BackendLink") else ("aio",)

# Where a command can be killed, to try what comes after it: where a snapshot has paused the disk's
# tapdisk, and has been taken; and for each command where the core is done and XAPI not told yet.
FIST_POINTS = ["smblock_vdi_snapshot_paused", "smblock_vdi_snapshot_taken"]
FIST_POINTS += ["smblock_vdi_%s" % command for command in ("create", "delete", "snapshot", "clone", "revert", "resize")]
util.fistpoint.points.extend(FIST_POINTS)


def fist_point(name):
    """SM's own way to have a command fail: dies where there is a file /tmp/fist_smblock_NAME."""
    util.fistpoint.activate_custom_fn("smblock_" + name, lambda: os.kill(os.getpid(), signal.SIGKILL))


def as_sm_error(method):
    """Lets an error of the core reach xapi under SM's name for it, with its text."""

    @functools.wraps(method)
    def wrapper(*args, **kwargs):
        try:
            return method(*args, **kwargs)
        except Error as error:
            raise xs_errors.XenError(error.key, opterr=str(error)) from error

    return wrapper


def take_over(target, attributes):
    """Puts what the core says about an SR or a VDI on SM's object for it."""
    for name, value in attributes.items():
        setattr(target, name, value)
    return target


class CoreSR(SR.SR):
    """An SR whose object has a core: self.core does what SM asks of it."""

    @as_sm_error
    def delete(self, uuid):
        self.core.delete()

    @as_sm_error
    def attach(self, uuid):
        self.core.attach(DATAPATHS)

    @as_sm_error
    def detach(self, uuid):
        self.core.detach()

    def after_command(self):
        """Whatever a command has left for later is started here."""

    def vdi_records(self, query):
        """XAPI's records of the VDIs that a query finds, by reference."""
        return self.session.xenapi.VDI.get_all_records_where(query)

    def own_vdi_records(self):
        return self.vdi_records('field "SR" = "%s"' % self.sr_ref)


def is_dead(session, host_uuid):
    """Whether XAPI has declared that host dead."""
    host = session.xenapi.host
    metrics = host.get_metrics(host.get_by_uuid(host_uuid))
    return not session.xenapi.host_metrics.get_live(metrics)


class Toolstack:
    """What only XAPI and SM know or can do, for the core; its SR has the session."""

    def __init__(self, sr):
        self._sr = sr

    def is_declared_dead(self, host_uuid):
        return is_dead(self._sr.session, host_uuid)

    def pause(self, vdi_uuid):
        """Holds back the I/O of a disk's tapdisk, on whichever host it runs."""
        if not blktap2.VDI.tap_pause(self._sr.session, self._sr.uuid, vdi_uuid):
            raise util.SMException("tapdisk-pause did not pause the disk: SMlog of the host that runs it says why")
        fist_point("vdi_snapshot_paused")

    def unpause(self, vdi_uuid):
        """Lets a disk's tapdisk go on, also where it does already."""
        fist_point("vdi_snapshot_taken")
        session, sr_uuid = self._sr.session, self._sr.uuid
        if blktap2.VDI.tap_unpause(session, sr_uuid, vdi_uuid):
            return
        # SM unpauses no tapdisk that is not paused; of one that runs it shows that it can be.
        if not blktap2.VDI.tap_refresh(session, sr_uuid, vdi_uuid):
            raise util.SMException("tapdisk-pause did not unpause the disk: SMlog of the host that runs it says why")
        vdi = session.xenapi.VDI
        vdi.remove_from_sm_config(vdi.get_by_uuid(vdi_uuid), "paused")


class Command(SRCommand.SRCommand):
    """SM's dispatcher, with the commands that xapi sends and SM does not pass on."""

    def run(self, sr):
        try:
            return super().run(sr)
        finally:
            sr.after_command()

    def _run(self, sr, target):
        if self.cmd == "vdi_revert":
            util.SMlog("vdi_revert %s" % self.vdi_uuid)
            return sr.vdi(self.vdi_uuid).revert(self.params["sr_uuid"], self.vdi_uuid)
        if self.cmd == "vdi_epoch_begin":
            # SM tells a driver of those disks alone that forget their changes.
            return target.begin_epoch()
        return super()._run(sr, target)


def run(driver, driver_info):
    """Runs the command that xapi has started this process for."""
    SRCommand.SRCommand = Command
    SRCommand.run(driver, driver_info)
