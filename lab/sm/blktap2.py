"""Simulator of SM's blktap2: the data path between SRCommand and a driver's VDI.

A disk of type "aio" gets a tapdisk on the path that the driver's attach returned, one
of type "phy" none. With the capability ATOMIC_PAUSE everything happens at activate,
under tags in the VDI's sm_config that name the hosts that have it open; without
it, at attach, and without any tag. tapdisk itself is driven through tap-ctl.
"""

import base64
import functools
import os
import time
import xmlrpc.client

import links
import resetvdis
import util
import VDI as sm
import XenAPI
import xs_errors
from lock import Lock
from tapctl import (  # noqa: F401
    TapCtl,
    Tapdisk,
    TapdiskExists,
    TapdiskFailed,
    TapdiskInvalidState,  # users import them from blktap2
    TapdiskNotRunning,
)

PLUGIN_TAP_PAUSE = "tapdisk-pause"
NO_MULTIPLE_ATTACH = not os.path.exists("/etc/xensource/allow_multiple_vdi_attach")


def locking(error_name):
    """Runs a method under its object's lock; an SM or XenAPI error in it becomes error_name."""

    def decorate(method):
        @functools.wraps(method)
        def locked(self, *args):
            self.lock.acquire()
            try:
                return method(self, *args)
            except (util.SMException, XenAPI.Failure) as error:
                util.logException(f"BLKTAP2:{method.__name__}")
                message = str(error)
                if isinstance(error, util.CommandException):
                    message = f"Command {error.cmd} failed ({error.code}): {error.reason}"
                raise xs_errors.XenError(error_name, opterr=message) from error
            finally:
                self.lock.release()

        return locked

    return decorate


class _Target:
    """The driver's VDI; its activate and deactivate are called only if its capabilities say so."""

    def __init__(self, vdi, driver_info):
        self.vdi = vdi
        self._caps = driver_info["capabilities"]

    def has_cap(self, cap):
        return cap in self._caps

    def activate(self, sr_uuid, vdi_uuid):
        return self.vdi.activate(sr_uuid, vdi_uuid) if self.has_cap("VDI_ACTIVATE") else None

    def deactivate(self, sr_uuid, vdi_uuid):
        if self.has_cap("VDI_DEACTIVATE"):
            self.vdi.deactivate(sr_uuid, vdi_uuid)


def _scsi_pages(vdi_uuid):
    page80 = "\x00\x80\x00\x12" + vdi_uuid[:16] + "  "
    page83 = "\x00\x83\x00\x31\x02\x01\x00\x2dXENSRC  " + vdi_uuid + " "
    return {
        "vdi-uuid": vdi_uuid,
        "scsi/0x12/0x80": base64.b64encode(page80.encode()).decode(),
        "scsi/0x12/0x83": base64.b64encode(page83.encode()).decode(),
    }


class VDI:
    CONF_KEY_ALLOW_CACHING = "vdi_allow_caching"
    CONF_KEY_MODE_ON_BOOT = "vdi_on_boot"
    CONF_KEY_CACHE_SR = "local_cache_sr"
    CONF_KEY_O_DIRECT = "o_direct"
    ATTACH_DETACH_RETRY_SECS = 120

    PhyLink = links.PhyLink
    NBDLink = links.NBDLink
    BackendLink = links.BackendLink

    # vdi_type: tapdisk's driver for it, None if the guest gets the device directly
    TAP_TYPES = {"aio": "aio", "file": "aio", "iso": "aio", "vhd": "vhd", "qcow2": "qcow2", "phy": None, "raw": None}

    class UnexpectedVDIType(Exception):
        pass

    def __init__(self, uuid, target, driver_info):
        self.target = _Target(target, driver_info)
        self._session = target.session
        self.xenstore_data = _scsi_pages(uuid)
        self.lock = Lock("vdi", uuid)
        self.tap = None

    def _tap_type(self):
        vdi_type = self.target.vdi.vdi_type
        if vdi_type not in self.TAP_TYPES:
            raise self.UnexpectedVDIType(f"Target {type(self.target.vdi)} has unexpected VDI type '{vdi_type}'")
        return self.TAP_TYPES[vdi_type]

    def tap_wanted(self):
        return self._tap_type() is not None

    def _o_direct(self):
        if util.read_caching_is_restricted(self._session):
            return True, "LICENSE_RESTRICTION"
        return True, "SR_NOT_SUPPORTED"

    def _pool_config(self, sr_uuid):
        """tapdisk's memory pool; an HA disk, attached without xapi, has none."""
        params = self.target.vdi.sr.srcmd.params
        if not params.get("vdi_ref"):
            return {}
        self._session.xenapi.SR.get_other_config(params.get("sr_ref"))
        named = self._session.xenapi.VDI.get_other_config(params["vdi_ref"]).get("mem-pool")
        return {"mem-pool": named or sr_uuid}

    # --- attach, activate, deactivate, detach

    def attach(self, sr_uuid, vdi_uuid, writable, activate=False, caching_params=None):
        """Returns the struct with the paths under which xapi will find the disk once it is active."""
        self.xenstore_data.update(self._pool_config(sr_uuid))
        if activate or not self.target.has_cap("ATOMIC_PAUSE"):
            self._attach(sr_uuid, vdi_uuid)
            self._link(sr_uuid, vdi_uuid, self._activate(sr_uuid, vdi_uuid, {"rdonly": not writable}))
        backend = self.BackendLink.from_uuid(sr_uuid, vdi_uuid).path()
        nbd = ""
        if self.tap_wanted():
            nbd = f"nbd:unix:{self.NBDLink.from_uuid(sr_uuid, vdi_uuid).path()}:exportname={vdi_uuid}"
        o_direct, reason = self._o_direct()
        reply = xmlrpc.client.dumps(
            (
                {
                    "params": backend,
                    "params_nbd": nbd,
                    "o_direct": o_direct,
                    "o_direct_reason": reason,
                    "xenstore_data": self.xenstore_data,
                },
            ),
            "",
            True,
        )
        if os.path.isdir(os.path.dirname(backend)):
            with open(backend + ".attach_info", "a") as info:
                info.write(reply)
        return reply

    def activate(self, sr_uuid, vdi_uuid, writable, caching_params):
        options = dict(caching_params, rdonly=not writable)
        self._session.xenapi.SR.get_other_config(self.target.vdi.sr.srcmd.params.get("sr_ref"))
        self._retried(vdi_uuid, lambda: self._activate_locked(sr_uuid, vdi_uuid, options))

    def deactivate(self, sr_uuid, vdi_uuid, caching_params):
        self._retried(vdi_uuid, lambda: self._deactivate_locked(sr_uuid, vdi_uuid))

    def detach(self, sr_uuid, vdi_uuid, deactivate=False, caching_params=None):
        if deactivate or not self.target.has_cap("ATOMIC_PAUSE"):
            self._deactivate(sr_uuid, vdi_uuid)
            self._detach(sr_uuid, vdi_uuid)

    def _retried(self, vdi_uuid, attempt):
        """Retries for two minutes while the disk is paused or the SR is busy."""
        for _ in range(self.ATTACH_DETACH_RETRY_SECS):
            try:
                if attempt():
                    return
            except util.SRBusyException:
                util.SMlog("SR locked, retrying")
            time.sleep(1)
        raise util.SMException(f"VDI {vdi_uuid} locked")

    def _refresh(self, vdi_uuid):
        """Loads the driver's VDI again, from its file: it may have changed while the disk was paused."""
        target = sm.VDI.from_uuid(self.target.vdi.session, vdi_uuid)
        self.target = _Target(target, target.sr.srcmd.driver_info)

    @locking("VDIUnavailable")
    def _activate_locked(self, sr_uuid, vdi_uuid, options):
        tagged = self.tap_wanted()
        if tagged and not self._add_tag(vdi_uuid, not options["rdonly"]):
            return False
        try:
            if tagged:
                params = self.target.vdi.sr.srcmd.params
                self._refresh(vdi_uuid)
                self.target.vdi.sr.srcmd.params = params
            if self.target.has_cap("ATOMIC_PAUSE"):
                self._attach(sr_uuid, vdi_uuid)
            device = self._activate(sr_uuid, vdi_uuid, options)
        except BaseException:
            if self.tap_wanted():
                try:
                    self._remove_tag(vdi_uuid)
                except Exception as error:
                    util.SMlog(f"failed to remove tag: {error}")
            raise
        finally:
            vdi_ref = self._session.xenapi.VDI.get_by_uuid(vdi_uuid)
            self._session.xenapi.VDI.remove_from_sm_config(vdi_ref, "activating")
        self._link(sr_uuid, vdi_uuid, device)
        return True

    @locking("VDIUnavailable")
    def _deactivate_locked(self, sr_uuid, vdi_uuid):
        if self.tap_wanted() and not self._check_tag(vdi_uuid):
            return False
        self._deactivate(sr_uuid, vdi_uuid)
        if self.target.has_cap("ATOMIC_PAUSE"):
            self._detach(sr_uuid, vdi_uuid)
        if self.tap_wanted():
            self._remove_tag(vdi_uuid)
        return True

    def _attach(self, sr_uuid, vdi_uuid):
        info = xmlrpc.client.loads(self.target.vdi.attach(sr_uuid, vdi_uuid))[0][0]
        self.xenstore_data.update(info["xenstore_data"])
        self.PhyLink.from_uuid(sr_uuid, vdi_uuid).mklink(util.to_plain_string(info["params"]))

    def _activate(self, sr_uuid, vdi_uuid, options):
        options.update(self.target.activate(sr_uuid, vdi_uuid) or {})
        path = self.PhyLink.from_uuid(sr_uuid, vdi_uuid).readlink()
        if not self.tap_wanted():
            return path
        self.tap = Tapdisk.find_by_path(path)
        if self.tap is None:
            self.tap = Tapdisk.launch(path, self._tap_type(), options)
        return self.tap.get_devpath()

    def _link(self, sr_uuid, vdi_uuid, device):
        self.BackendLink.from_uuid(sr_uuid, vdi_uuid).mklink(device)
        if self.tap:
            self.NBDLink.from_uuid(sr_uuid, vdi_uuid).mklink(f"/run/blktap-control/nbd{self.tap.pid}.{self.tap.minor}")

    def _deactivate(self, sr_uuid, vdi_uuid):
        """Without the backend link the disk was not active, and the driver is not called."""
        backend = self.BackendLink.from_uuid(sr_uuid, vdi_uuid)
        if not util.pathexists(backend.path()):
            util.SMlog(f"Backend path {backend.path()} does not exist")
            return
        util.force_unlink(backend.path() + ".attach_info")
        major, minor = backend.rdev()
        if major is not None and major == Tapdisk.major():
            try:
                Tapdisk.from_minor(minor).shutdown()
            except TapdiskNotRunning as error:
                util.SMlog(f"tap.deactivate: Warning, {error}")
        backend.unlink()
        self.NBDLink.from_uuid(sr_uuid, vdi_uuid).unlink()
        if self.tap_wanted() and self.target.vdi.session is not None:
            self._refresh(vdi_uuid)
        self.target.deactivate(sr_uuid, vdi_uuid)

    def _detach(self, sr_uuid, vdi_uuid):
        self.target.vdi.detach(sr_uuid, vdi_uuid)
        self.PhyLink.from_uuid(sr_uuid, vdi_uuid).unlink()

    # --- tags in sm_config: host_<ref> = RW or RO; activating; paused; relinking

    def _add_tag(self, vdi_uuid, writable):
        """Returns False if the disk is paused or being relinked: the caller retries."""
        vdi = self._session.xenapi.VDI
        mode = "RW" if writable else "RO"
        vdi_ref = vdi.get_by_uuid(vdi_uuid)
        host_key = f"host_{self._session.xenapi.host.get_by_uuid(util.get_this_host())}"
        sm_config = vdi.get_sm_config(vdi_ref)
        held = util.attached_as(sm_config)
        if NO_MULTIPLE_ATTACH and (held == "RW" or (held == "RO" and writable)):
            if not resetvdis.reset_vdi(self._session, vdi_uuid, force=False, term_output=False, writable=writable):
                raise util.SMException(f"VDI {vdi_uuid} not detached cleanly")
            sm_config = vdi.get_sm_config(vdi_ref)
        if "relinking" in sm_config or "paused" in sm_config:
            util.SMlog(f"paused or being relinked [{sm_config}]")
            return False
        try:
            vdi.add_to_sm_config(vdi_ref, "activating", "True")
        except XenAPI.Failure as failure:
            if failure.details[0] == "MAP_DUPLICATE_KEY" and not writable:
                return False
            raise
        assert host_key not in sm_config
        vdi.add_to_sm_config(vdi_ref, host_key, mode)
        sm_config = vdi.get_sm_config(vdi_ref)
        if "paused" in sm_config or "relinking" in sm_config:
            vdi.remove_from_sm_config(vdi_ref, host_key)
            vdi.remove_from_sm_config(vdi_ref, "activating")
            return False
        return True

    def _check_tag(self, vdi_uuid):
        vdi_ref = self._session.xenapi.VDI.get_by_uuid(vdi_uuid)
        return "paused" not in self._session.xenapi.VDI.get_sm_config(vdi_ref)

    def _remove_tag(self, vdi_uuid):
        vdi_ref = self._session.xenapi.VDI.get_by_uuid(vdi_uuid)
        host_key = f"host_{self._session.xenapi.host.get_by_uuid(util.get_this_host())}"
        if host_key in self._session.xenapi.VDI.get_sm_config(vdi_ref):
            self._session.xenapi.VDI.remove_from_sm_config(vdi_ref, host_key)

    # --- pausing a disk on every host that has it open

    @staticmethod
    def _open_on(session, vdi_ref):
        return [key[len("host_") :] for key in session.xenapi.VDI.get_sm_config(vdi_ref) if key.startswith("host_")]

    @classmethod
    def tap_pause(cls, session, sr_uuid, vdi_uuid, failfast=False):
        """Returns whether every host that has the disk open has paused it."""
        vdi_ref = session.xenapi.VDI.get_by_uuid(vdi_uuid)
        session.xenapi.VDI.add_to_sm_config(vdi_ref, "paused", "true")
        for host_ref in cls._open_on(session, vdi_ref):
            if not cls.call_pluginhandler(session, host_ref, sr_uuid, vdi_uuid, "pause", failfast=failfast):
                session.xenapi.VDI.remove_from_sm_config(vdi_ref, "paused")
                return False
        return True

    @classmethod
    def tap_unpause(cls, session, sr_uuid, vdi_uuid, secondary=None, activate_parents=False):
        vdi_ref = session.xenapi.VDI.get_by_uuid(vdi_uuid)
        for host_ref in cls._open_on(session, vdi_ref):
            if not cls.call_pluginhandler(session, host_ref, sr_uuid, vdi_uuid, "unpause", secondary, activate_parents):
                return False
        session.xenapi.VDI.remove_from_sm_config(vdi_ref, "paused")
        return True

    @classmethod
    def tap_refresh(cls, session, sr_uuid, vdi_uuid, activate_parents=False):
        vdi_ref = session.xenapi.VDI.get_by_uuid(vdi_uuid)
        return all(
            cls.call_pluginhandler(session, host_ref, sr_uuid, vdi_uuid, "refresh", None, activate_parents)
            for host_ref in cls._open_on(session, vdi_ref)
        )

    @classmethod
    def tap_status(cls, session, vdi_uuid):
        return bool(cls._open_on(session, session.xenapi.VDI.get_by_uuid(vdi_uuid)))

    @classmethod
    def call_pluginhandler(
        cls, session, host_ref, sr_uuid, vdi_uuid, action, secondary=None, activate_parents=False, failfast=False
    ):
        args = {"sr_uuid": sr_uuid, "vdi_uuid": vdi_uuid, "failfast": str(failfast)}
        if secondary:
            args["secondary"] = secondary
        if activate_parents:
            args["activate_parents"] = "true"
        try:
            return session.xenapi.host.call_plugin(host_ref, PLUGIN_TAP_PAUSE, action, args) == "True"
        except Exception as error:
            util.logException(f"BLKTAP2:call_pluginhandler {error}")
            return False
