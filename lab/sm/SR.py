"""Simulator of SM's SR: the base class of storage repositories, and the scan that follows one."""

import copy
import importlib.util
import os
import traceback
import xmlrpc.client

import util
import XenAPI
import xs_errors

MOUNT_BASE = "/var/run/sr-mount"
DEFAULT_TAP = "vhd"

# a disk's format in the sm_config of a scan, as in SM with QCOW2
IMAGE_FORMATS = {"aio": "raw", "phy": "raw", "vhd": "vhd", "qcow2": "qcow2"}

backends = []


def registerSR(SRClass):
    """Every driver module registers its class when it is imported."""
    backends.append(SRClass)


def driver(type):
    for backend in backends:
        if backend.handles(type):
            return backend
    raise xs_errors.XenError("SRUnknownType")


class SR:
    """A storage repository. A driver sets its attributes in load(), which __init__ runs last.

    physical_size, physical_utilisation and virtual_allocation are bytes; vdis is
    {uuid: VDI}, which a scan compares with xapi's records.
    """

    @staticmethod
    def handles(type):
        return False

    def __init__(self, srcmd, sr_uuid):
        self.other_config = {}
        self.srcmd = srcmd
        self.dconf = srcmd.dconf
        self.session = None
        try:
            if "session_ref" in srcmd.params:
                self.session_ref = srcmd.params["session_ref"]
                self.session = XenAPI.xapi_local()
                self.session._session = self.session_ref
                if "subtask_of" in srcmd.params:
                    self.session.transport.add_extra_header("Subtask-of", srcmd.params["subtask_of"])
        except TypeError:
            raise Exception(traceback.format_exc()) from None
        self.host_ref = srcmd.params.get("host_ref", "")
        self.sr_ref = srcmd.params.get("sr_ref")
        self.cmd = srcmd.params["command"]
        self.uuid = sr_uuid
        self.label = ""
        self.description = ""
        self.vdis = {}
        self.physical_utilisation = 0
        self.virtual_allocation = 0
        self.physical_size = 0
        self.sr_vditype = ""
        self.passthrough = False
        self.original_srcmd = copy.deepcopy(srcmd)
        self.default_vdi_visibility = True
        self.scheds = ["none", "noop"]
        self._mpathinit()
        self.direct = False
        self.ops_exclusive = []
        self.driver_config = {}

        self.load(sr_uuid)

    def _mpathinit(self):
        """Multipathing is never on here, but SM reads the setting from xapi at each start."""
        self.mpath, self.mpathhandle = "false", "null"
        if "multipathing" in self.dconf and "multipathhandle" in self.dconf:
            return
        try:
            self.session.xenapi.host.get_other_config(self.host_ref)
        except Exception as error:
            util.SMlog(f"no multipath configuration: {error}")

    @staticmethod
    def from_uuid(session, sr_uuid):
        """The SR as this host has it plugged; each call loads its driver's file again."""
        sr_ref = session.xenapi.SR.get_by_uuid(sr_uuid)
        sm_type = session.xenapi.SR.get_type(sr_ref)
        plugins = session.xenapi.SM.get_all_records_where(f'field "type" = "{sm_type}"')
        sm_ref, _ = plugins.popitem()
        assert not plugins
        driver_path = session.xenapi.SM.get_driver_filename(sm_ref)
        # A file whose real name lacks ".py" has no spec: a copy instead of a symbolic link fails here.
        spec = importlib.util.spec_from_file_location(os.path.basename(driver_path), os.path.realpath(driver_path))
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        target = driver(sm_type)

        host_ref = util.get_localhost_ref(session)
        pbds = session.xenapi.PBD.get_all_records_where(f'field "SR" = "{sr_ref}" and field "host" = "{host_ref}"')
        pbd_ref, _ = pbds.popitem()
        assert not pbds
        device_config = session.xenapi.PBD.get_device_config(pbd_ref)

        from SRCommand import SRCommand

        command = SRCommand(module.DRIVER_INFO)
        command.dconf = device_config
        command.params = {
            "session_ref": session._session,
            "host_ref": host_ref,
            "device_config": device_config,
            "sr_ref": sr_ref,
            "sr_uuid": sr_uuid,
            "command": "nop",
        }
        return target(command, sr_uuid)

    # --- what a driver overrides

    def load(self, sr_uuid):
        """Called at the end of __init__."""

    def create(self, uuid, size):
        raise xs_errors.XenError("Unimplemented")

    def delete(self, uuid):
        raise xs_errors.XenError("Unimplemented")

    def attach(self, uuid):
        raise xs_errors.XenError("Unimplemented")

    def detach(self, uuid):
        raise xs_errors.XenError("Unimplemented")

    def probe(self):
        raise xs_errors.XenError("Unimplemented")

    def replay(self, uuid):
        raise xs_errors.XenError("Unimplemented")

    def vdi(self, uuid):
        raise xs_errors.XenError("Unimplemented")

    def update(self, uuid):
        """Nothing; a driver may override it."""

    def check_sr(self, sr_uuid):
        """Nothing; a driver may override it."""

    def cleanup(self):
        """Called after each command, also a failed one."""

    # --- what a driver inherits

    def scan(self, uuid):
        self._db_update()
        ScanRecord(self).synchronise()

    def after_master_attach(self, uuid):
        """The first scan. Its failure does not fail the attach: it becomes a message of xapi's."""
        try:
            self.scan(uuid)
        except Exception as error:
            util.SMlog(f"Error in SR.after_master_attach {error}")
            self.session.xenapi.message.create(
                "POST_ATTACH_SCAN_FAILED", 2, "SR", uuid, f"Failed to scan SR {uuid} after attaching, error {error}"
            )

    def content_type(self, uuid):
        return xmlrpc.client.dumps((str(self.sr_vditype),), "", True)

    def forget_vdi(self, uuid):
        self.session.xenapi.VDI.db_forget(self.session.xenapi.VDI.get_by_uuid(uuid))

    def _db_update(self):
        sr_ref = self.session.xenapi.SR.get_by_uuid(self.uuid)
        self.session.xenapi.SR.set_virtual_allocation(sr_ref, str(self.virtual_allocation))
        self.session.xenapi.SR.set_physical_size(sr_ref, str(self.physical_size))
        self.session.xenapi.SR.set_physical_utilisation(sr_ref, str(self.physical_utilisation))

    def check_dconf(self, key_list, raise_flag=True):
        missing = {key for key in key_list if key not in self.dconf}
        if missing and raise_flag:
            raise xs_errors.XenError(
                "ConfigParamsMissing", opterr="device-config is missing the following parameters: " + ", ".join(missing)
            )
        return missing


class ScanRecord:
    """The difference between sr.vdis and xapi's records of the SR, by location."""

    def __init__(self, sr):
        self.sr = sr
        self._known = {
            util.to_plain_string(record["location"]): record for record in util.list_VDI_records_in_sr(sr).values()
        }
        self._found = {}
        for vdi in sr.vdis.values():
            # A VDI without sm_config keeps xapi's.
            if not hasattr(vdi, "sm_config"):
                record = self._known.get(vdi.location)
                vdi.sm_config = dict(record["sm_config"]) if record else {}
            if vdi.vdi_type in IMAGE_FORMATS:
                vdi.sm_config.setdefault("image-format", IMAGE_FORMATS[vdi.vdi_type])
            vdi._override_sm_config(vdi.sm_config)
            self._found[vdi.location] = vdi
        self.new = set(self._found) - set(self._known)
        self.gone = set(self._known) - set(self._found)
        both = set(self._found) & set(self._known)
        for location in both:
            vdi = self._found[location]
            if not hasattr(vdi, "uuid"):
                vdi.uuid = self._known[location]["uuid"]
        self.existing = [
            location for location in both if not self._found[location].in_sync_with_xenapi_record(self._known[location])
        ]
        util.SMlog(f"scan: new {self.new!r}, gone {self.gone!r}, changed {self.existing!r}")

    def get_sm_vdi(self, location):
        return self._found[location]

    def get_xenapi_vdi(self, location):
        return self._known[location]

    def all_xenapi_locations(self):
        return set(self._known)

    def synchronise_new(self):
        for location in self.new:
            self._found[location]._db_introduce()

    def synchronise_gone(self):
        for location in self.gone:
            try:
                self.sr.forget_vdi(self._known[location]["uuid"])
            except XenAPI.Failure as failure:
                if not util.isInvalidVDI(failure):
                    raise
                util.SMlog("VDI {} not found, ignoring exception".format(self._known[location]["uuid"]))

    def synchronise_existing(self):
        for location in self.existing:
            self._found[location]._db_update()

    def synchronise(self):
        self.synchronise_new()
        self.synchronise_gone()
        self.synchronise_existing()
