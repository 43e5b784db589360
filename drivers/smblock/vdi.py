"""SM's VDIs, for every SR with a core: sr.core implements SM's commands."""

import base64
import uuid
from xmlrpc.client import dumps

from XenAPI import Failure

from smblock.local import LocalVdi
from smblock.sm import VDI, as_sm_error, fist_point, set_attributes, util

NULL = "OpaqueRef:NULL"


class CoreVDI(VDI.VDI):
    """A disk."""

    def load(self, vdi_uuid):
        self.vdi_type = self.sr.core.vdi_type
        backend = self.sr.core.sm_config.get("backend-kind")
        # SM's scan sets "raw". With it, Xen Orchestra exports a disk as VHD, which xapi refuses above 2040 GiB.
        # Without it, the size decides between VHD and QCOW2.
        self.sm_config_override = {"backend-kind": backend, "image-format": None}

    @as_sm_error
    def create(self, sr_uuid, vdi_uuid, size):
        self.size = self.sr.core.create_vdi(vdi_uuid, size, self)
        fist_point("vdi_create")
        self.sm_config = self.sr.core.sm_config
        self._db_introduce()
        return self.get_params()

    @as_sm_error
    def delete(self, sr_uuid, vdi_uuid, data_only=False):
        self.sr.core.delete_vdi(vdi_uuid)
        fist_point("vdi_delete")
        self._db_forget()

    @as_sm_error
    def introduce(self, sr_uuid, vdi_uuid):
        return self._introduce(self.sr.core.introduce_vdi(self.sr.srcmd.params["vdi_location"]))

    @as_sm_error
    def attach(self, sr_uuid, vdi_uuid):
        self.path = self.sr.core.activate_vdi(vdi_uuid, self.sr.srcmd.params["args"][0] == "true")
        LocalVdi(sr_uuid, vdi_uuid).has_mapped(self.path)
        fist_point("vdi_activate")
        return super().attach(sr_uuid, vdi_uuid)

    @as_sm_error
    def detach(self, sr_uuid, vdi_uuid):
        self.sr.core.deactivate_vdi(vdi_uuid)

    @as_sm_error
    def clone(self, sr_uuid, vdi_uuid):
        new = self.sr.vdi(str(uuid.uuid4()))
        made = self.sr.core.clone_vdi(vdi_uuid, new.uuid, self._on_boot())
        fist_point("vdi_clone")
        return new._introduce(made)

    @as_sm_error
    def begin_epoch(self):
        self.sr.core.begin_epoch(self.uuid, self._on_boot())

    def activate(self, sr_uuid, vdi_uuid):
        """Does nothing: attach has made the device, and tapdisk needs no options."""

    def deactivate(self, sr_uuid, vdi_uuid):
        """Does nothing: detach removes the device."""

    def _on_boot(self):
        return self.sr.srcmd.params.get("vdi_on_boot", "persist")

    def _introduce(self, attributes):
        set_attributes(self, attributes)
        self.sm_config = dict(self.sm_config, **self.sr.core.sm_config)
        self._db_introduce()
        return self.get_params()


class SnapshotVDI(CoreVDI):
    """A disk that can be snapshotted and resized, or a snapshot."""

    @as_sm_error
    def snapshot(self, sr_uuid, vdi_uuid):
        new = self.sr.vdi(str(uuid.uuid4()))
        new.snapshot_of = self.sr.srcmd.params["vdi_ref"]
        made = self.sr.core.snapshot_vdi(vdi_uuid, new.uuid)
        fist_point("vdi_snapshot")
        return new._introduce(made)

    @as_sm_error
    def revert(self, sr_uuid, snapshot_uuid):
        vdi, disk = self.session.xenapi.VDI, self.sr.srcmd.params["args"][0]
        size = self.sr.core.revert_vdi(vdi.get_uuid(disk), snapshot_uuid)
        fist_point("vdi_revert")
        vdi.set_virtual_size(disk, str(size))

    @as_sm_error
    def update(self, sr_uuid, vdi_uuid):
        records = self.sr.vdi_records('field "uuid" = "%s"' % vdi_uuid)
        self.sr.core.update_vdis(records, self._disks_of(records))

    @as_sm_error
    def resize(self, sr_uuid, vdi_uuid, size):
        self.size = self.sr.core.resize_vdi(vdi_uuid, size)
        fist_point("vdi_resize")
        vdi = self.session.xenapi.VDI
        vdi.set_virtual_size(vdi.get_by_uuid(vdi_uuid), str(self.size))
        return self.get_params()

    @as_sm_error
    def configure_blocktracking(self, sr_uuid, vdi_uuid, enable):
        self.sr.core.track_changes(vdi_uuid, enable)

    @as_sm_error
    def data_destroy(self, sr_uuid, vdi_uuid):
        """Replaces SM's method, which deletes the VDI."""
        self.sr.core.destroy_data(vdi_uuid)
        fist_point("vdi_data_destroy")

    @as_sm_error
    def list_changed_blocks(self):
        """Returns a reply whose value is the bitmap of the VDI in `args`, in base64. This VDI is the older one."""
        to = self.session.xenapi.VDI.get_uuid(self.sr.srcmd.params["args"][0])
        bitmap = self.sr.core.changed_blocks(self.uuid, to)
        return dumps((base64.b64encode(bitmap).decode(),), "", True)

    def _get_blocktracking_status(self, uuid=None):
        """SM's scan writes this to XAPI. SM's own method reads log files, which a raw disk does not have."""
        return self.cbt_enabled

    @as_sm_error
    def generate_config(self, sr_uuid, vdi_uuid):
        """Returns a command that attaches the disk without xapi, as a reply whose value is the command's XML."""
        self.sr.core.require_ha_vdi(vdi_uuid)
        command = "vdi_attach_from_config"
        config = {
            "command": command,
            "sr_uuid": sr_uuid,
            "vdi_uuid": vdi_uuid,
            "device_config": self.sr.dconf,
        }
        return dumps((dumps((config,), command),), "", True)

    @as_sm_error
    def attach_from_config(self, sr_uuid, vdi_uuid):
        """Maps a disk of high availability, without xapi and without a plugged SR. vdi_detach_from_config is detach."""
        self.path = self.sr.core.attach_ha_vdi(vdi_uuid)
        return VDI.VDI.attach(self, sr_uuid, vdi_uuid)

    def _disks_of(self, records):
        """Returns the UUIDs of the disks that those are snapshots of, by reference. Skips one that XAPI has lost."""
        vdi, uuids = self.session.xenapi.VDI, {}
        for disk in {record["snapshot_of"] for record in records.values()} - {NULL}:
            try:
                uuids[disk] = vdi.get_uuid(disk)
            except Failure as failure:
                util.SMlog(
                    "VDI %s: cannot read the disk that it is a snapshot of; the record keeps its value: %s"
                    % (self.uuid, failure)
                )
        return uuids
