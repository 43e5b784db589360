"""Simulator of SM's SRCommand: one command of xapi, from argv to the reply on stdout.

xapi starts a driver with one argument, an XML-RPC call whose only parameter is a
struct. The reply, or the fault, goes to stdout, and the exit status is 0 in both cases.
"""

import os
import sys
import traceback
import xmlrpc.client

import blktap2
import resetvdis
import util
import XenAPI
import xs_errors

NEEDS_VDI_OBJECT = [
    "vdi_update",
    "vdi_create",
    "vdi_delete",
    "vdi_snapshot",
    "vdi_clone",
    "vdi_resize",
    "vdi_resize_online",
    "vdi_attach",
    "vdi_detach",
    "vdi_activate",
    "vdi_deactivate",
    "vdi_attach_from_config",
    "vdi_detach_from_config",
    "vdi_generate_config",
    "vdi_compose",
    "vdi_epoch_begin",
    "vdi_epoch_end",
    "vdi_enable_cbt",
    "vdi_disable_cbt",
    "vdi_data_destroy",
    "vdi_list_changed_blocks",
]

# the error name for an SMException or a XenAPI failure inside a command
EXCEPTION_TYPE = {
    "sr_scan": "SRScan",
    "vdi_init": "VDILoad",
    "vdi_create": "VDICreate",
    "vdi_delete": "VDIDelete",
    "vdi_attach": "VDIUnavailable",
    "vdi_detach": "VDIUnavailable",
    "vdi_activate": "VDIUnavailable",
    "vdi_deactivate": "VDIUnavailable",
    "vdi_resize": "VDIResize",
    "vdi_resize_online": "VDIResize",
    "vdi_snapshot": "VDISnapshot",
    "vdi_clone": "VDIClone",
}


def _check_names(*names):
    if not all(util.isLegalXMLString(name) for name in names):
        raise xs_errors.XenError(
            "IllegalXMLChar", opterr="The name and/or description must contain valid XML characters"
        )


class SRCommand:
    def __init__(self, driver_info):
        self.driver_info = driver_info
        self.dconf = ""
        self.type = ""
        self.sr_uuid = ""
        self.cmdname = ""
        self.cmdtype = ""
        self.cmd = None
        self.args = None

    def parse(self):
        if len(sys.argv) != 2:
            util.SMlog(f"Failed to parse commandline; wrong number of arguments; argv = {sys.argv!r}")
            raise xs_errors.XenError("BadRequest")
        try:
            params, self.cmd = xmlrpc.client.loads(os.fsencode(sys.argv[1]))
            self.params = params[0]
            self.dconf = self.params["device_config"]
            self.sr_uuid = self.params.get("sr_uuid", self.sr_uuid)
            if "vdi_uuid" in self.params:
                self.vdi_uuid = self.params["vdi_uuid"]
            elif self.cmd == "vdi_create":
                self.vdi_uuid = util.gen_uuid()
        except Exception as error:
            util.SMlog(f"Failed to parse commandline; exception = {error}")
            raise xs_errors.XenError("BadRequest") from error

    def run_statics(self):
        if self.params["command"] == "sr_get_driver_info":
            print(util.sr_get_driver_info(self.driver_info))
            sys.exit(0)

    def run(self, sr):
        try:
            return self._run_locked(sr)
        except (util.SMException, XenAPI.Failure) as error:
            util.logException(self.cmd)
            message = str(error)
            if isinstance(error, util.CommandException):
                message = f"Command {error.cmd} failed ({error.reason}): {os.strerror(abs(error.code))}"
            raise xs_errors.XenError(EXCEPTION_TYPE.get(self.cmd, "SMGeneral"), opterr=message) from error
        except blktap2.TapdiskFailed as error:
            util.logException(f"tapdisk failed exception: {error}")
            raise xs_errors.XenError("TapdiskFailed", os.strerror(error.get_error().get_error_code())) from error
        except blktap2.TapdiskExists as error:
            util.logException(f"tapdisk exists exception: {error}")
            raise xs_errors.XenError("TapdiskAlreadyRunning", str(error)) from error

    def _run_locked(self, sr):
        """Holds the SR's lock for the whole command if it is one of sr.ops_exclusive, and only while
        the VDI object is made if "vdi_init" is."""
        exclusive = self.cmd in sr.ops_exclusive
        init_only = not exclusive and self.cmd in NEEDS_VDI_OBJECT and "vdi_init" in sr.ops_exclusive
        target = None
        failed = True
        if exclusive or init_only:
            sr.lock.acquire()
        try:
            try:
                if self.cmd in NEEDS_VDI_OBJECT:
                    target = sr.vdi(self.vdi_uuid)
            finally:
                if init_only:
                    sr.lock.release()
            reply = self._run(sr, target)
            failed = False
            return reply
        finally:
            if exclusive:
                sr.lock.release()
            try:
                sr.cleanup()
            except Exception as error:
                util.SMlog(f"failed to clean up SR: {error}")
                if not failed:
                    raise

    def _log(self):
        params = self.params
        if "device_config" in params:
            params = util.hidePasswdInParams(params, "device_config")
        if "session_ref" in params:
            params["session_ref"] = "******"
        util.SMlog(f"{self.cmd} {params!r}")

    def _run(self, sr, target):
        self._log()
        known = self.cmd.startswith(("sr_", "vdi_"))
        handler = getattr(self, "_" + self.cmd, None) if known else None
        if handler is None:
            util.SMlog(f"Unknown command: {self.cmd}")
            raise xs_errors.XenError("BadRequest")
        return handler(sr, target)

    def _caching_params(self):
        keys = (
            blktap2.VDI.CONF_KEY_ALLOW_CACHING,
            blktap2.VDI.CONF_KEY_MODE_ON_BOOT,
            blktap2.VDI.CONF_KEY_CACHE_SR,
            blktap2.VDI.CONF_KEY_O_DIRECT,
        )
        return {key: self.params.get(key) for key in keys}

    def _tap(self, target):
        return blktap2.VDI(self.vdi_uuid, target, self.driver_info)

    # --- VDI commands

    def _vdi_create(self, sr, target):
        size, label, description, of_pool, is_a_snapshot, snapshot_time, snapshot_of, read_only = self.params["args"][
            :8
        ]
        target.label, target.description = label, description
        _check_names(label, description)
        target.ty = self.params["vdi_type"]
        target.metadata_of_pool = of_pool
        target.is_a_snapshot = is_a_snapshot == "true"
        target.snapshot_time = snapshot_time
        target.snapshot_of = snapshot_of
        target.read_only = read_only == "true"
        return target.create(self.params["sr_uuid"], self.vdi_uuid, int(size))

    def _vdi_update(self, sr, target):
        vdi = sr.session.xenapi.VDI
        vdi_ref = vdi.get_by_uuid(self.vdi_uuid)
        _check_names(vdi.get_name_label(vdi_ref), vdi.get_name_description(vdi_ref))
        return target.update(self.params["sr_uuid"], self.vdi_uuid)

    def _vdi_introduce(self, sr, target):
        new = self.params["new_uuid"]
        return sr.vdi(new).introduce(self.params["sr_uuid"], new)

    def _vdi_delete(self, sr, target):
        if "VDI_CONFIG_CBT" in util.sr_get_capability(self.params["sr_uuid"], session=sr.session):
            return target.delete(self.params["sr_uuid"], self.vdi_uuid, data_only=False)
        return target.delete(self.params["sr_uuid"], self.vdi_uuid)

    def _vdi_attach(self, sr, target):
        return self._tap(target).attach(
            self.params["sr_uuid"],
            self.vdi_uuid,
            self.params["args"][0] == "true",
            caching_params=self._caching_params(),
        )

    def _vdi_detach(self, sr, target):
        return self._tap(target).detach(self.params["sr_uuid"], self.vdi_uuid)

    def _vdi_activate(self, sr, target):
        return self._tap(target).activate(
            self.params["sr_uuid"], self.vdi_uuid, self.params["args"][0] == "true", self._caching_params()
        )

    def _vdi_deactivate(self, sr, target):
        return self._tap(target).deactivate(self.params["sr_uuid"], self.vdi_uuid, self._caching_params())

    def _vdi_snapshot(self, sr, target):
        return target.snapshot(self.params["sr_uuid"], self.vdi_uuid)

    def _vdi_clone(self, sr, target):
        return target.clone(self.params["sr_uuid"], self.vdi_uuid)

    def _vdi_resize(self, sr, target):
        return target.resize(self.params["sr_uuid"], self.vdi_uuid, int(self.params["args"][0]))

    def _vdi_resize_online(self, sr, target):
        return target.resize_online(self.params["sr_uuid"], self.vdi_uuid, int(self.params["args"][0]))

    def _vdi_epoch_begin(self, sr, target):
        if self.params.get(blktap2.VDI.CONF_KEY_MODE_ON_BOOT) != "reset":
            return None
        if "VDI_RESET_ON_BOOT/2" not in self.driver_info["capabilities"]:
            raise xs_errors.XenError("Unimplemented")
        return target.reset_leaf(self.params["sr_uuid"], self.vdi_uuid)

    def _vdi_epoch_end(self, sr, target):
        return None

    def _vdi_generate_config(self, sr, target):
        return target.generate_config(self.params["sr_uuid"], self.vdi_uuid)

    def _vdi_compose(self, sr, target):
        base = sr.session.xenapi.VDI.get_uuid(self.params["args"][0])
        return target.compose(self.params["sr_uuid"], base, self.vdi_uuid)

    def _vdi_attach_from_config(self, sr, target):
        reply = target.attach_from_config(self.params["sr_uuid"], self.vdi_uuid)
        if not target.sr.driver_config.get("ATTACH_FROM_CONFIG_WITH_TAPDISK"):
            return reply
        return self._tap(target).attach(self.params["sr_uuid"], self.vdi_uuid, True, True)

    def _vdi_detach_from_config(self, sr, target):
        if target.sr.driver_config.get("ATTACH_FROM_CONFIG_WITH_TAPDISK"):
            self._tap(target).detach(
                self.params["sr_uuid"], self.vdi_uuid, deactivate=True, caching_params=self._caching_params()
            )
        else:
            target.detach(self.params["sr_uuid"], self.vdi_uuid)

    def _vdi_enable_cbt(self, sr, target):
        return target.configure_blocktracking(self.params["sr_uuid"], self.vdi_uuid, True)

    def _vdi_disable_cbt(self, sr, target):
        return target.configure_blocktracking(self.params["sr_uuid"], self.vdi_uuid, False)

    def _vdi_data_destroy(self, sr, target):
        return target.data_destroy(self.params["sr_uuid"], self.vdi_uuid)

    def _vdi_list_changed_blocks(self, sr, target):
        return target.list_changed_blocks()

    # --- SR commands

    def _sr_create(self, sr, target):
        return sr.create(self.params["sr_uuid"], int(self.params["args"][0]))

    def _sr_delete(self, sr, target):
        return sr.delete(self.params["sr_uuid"])

    def _sr_update(self, sr, target):
        return sr.update(self.params["sr_uuid"])

    def _sr_probe(self, sr, target):
        found = sr.probe()
        util.SMlog(f"sr_probe result: {util.splitXmlText(found, showContd=True)}")
        return xmlrpc.client.dumps((found,), "", True)

    def _sr_attach(self, sr, target):
        sr_uuid = self.params["sr_uuid"]
        on_master = sr.dconf.get("SRmaster") == "true"
        resetvdis.reset_sr(sr.session, util.get_this_host(), sr_uuid, on_master)
        if on_master:
            util.set_dirty(sr.session, self.params["sr_ref"])
        try:
            return sr.attach(sr_uuid)
        finally:
            if on_master:
                sr.after_master_attach(sr_uuid)

    def _sr_detach(self, sr, target):
        return sr.detach(self.params["sr_uuid"])

    def _sr_content_type(self, sr, target):
        return sr.content_type(self.params["sr_uuid"])

    def _sr_scan(self, sr, target):
        return sr.scan(self.params["sr_uuid"])


def run(driver, driver_info):
    """A driver file calls this when xapi executes it. Prints the reply or the fault; exits with 0."""
    command = SRCommand(driver_info)
    try:
        command.parse()
        command.run_statics()
        sr = driver(command, command.sr_uuid)
        sr.direct = True
        reply = command.run(sr)
        print(util.return_nil() if reply is None else reply)
    except xmlrpc.client.ProtocolError:
        print(xs_errors.XenError("APIProtocolError", opterr=traceback.format_exc()).toxml())
    except xs_errors.SRException as error:
        util.logException(driver_info["name"])
        print(error.toxml())
    except Exception as error:
        util.logException(driver_info["name"])
        print(xmlrpc.client.dumps(xmlrpc.client.Fault(1200, str(error)), "", True))
    sys.exit(0)
