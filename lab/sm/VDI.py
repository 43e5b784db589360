"""Simulator of SM's VDI: the base class of virtual disks, for a driver of raw block devices.

SM's own changed block tracking keeps log files beside image files; for a raw disk
it is always off.
"""

import os
import xmlrpc.client

import SR
import util
import xs_errors

SM_CONFIG_PASS_THROUGH_FIELDS = ["base_mirror", "key_hash"]
# sm_config keys of tapdisk; those of hosts start with host_
PROTECTED_SM_CONFIG = ("paused", "vhd-blocks", "relinking", "activating")
LEAF_COALESCE = "leaf-coalesce"

SNAPSHOT_SINGLE = 1
SNAPSHOT_DOUBLE = 2
SNAPSHOT_INTERNAL = 3
CBT_BLOCK_SIZE = 64 * 1024


class VDI:
    """A virtual disk. size and utilisation are bytes; snapshot_of is a reference, not a uuid.

    load() runs inside __init__: what a subclass sets after super().__init__() overwrites
    what its load() found.
    """

    def __init__(self, sr, uuid):
        self.sr = sr
        if uuid is not None:
            self.uuid = uuid
            self.location = uuid
            self.path = None
        # sm_config stays unset: then a scan keeps xapi's
        self.label = ""
        self.description = ""
        self.vbds = []
        self.size = 0
        self.utilisation = 0
        self.vdi_type = ""
        self.has_child = 0
        self.parent = None
        self.shareable = False
        self.attached = False
        self.status = 0
        self.read_only = False
        self.xenstore_data = {}
        self.deleted = False
        self.session = sr.session
        self.managed = True
        self.sm_config_override = {}
        self.sm_config_keep = ["key_hash"]
        self.ty = "user"
        self.cbt_enabled = False

        self.load(uuid)

    @staticmethod
    def from_uuid(session, vdi_uuid):
        vdi_ref = session.xenapi.VDI.get_by_uuid(vdi_uuid)
        sr_uuid = session.xenapi.SR.get_uuid(session.xenapi.VDI.get_SR(vdi_ref))
        sr = SR.SR.from_uuid(session, sr_uuid)
        sr.srcmd.params["vdi_ref"] = vdi_ref
        return sr.vdi(vdi_uuid)

    # --- what a driver overrides

    def load(self, vdi_uuid):
        """Called at the end of __init__."""

    def create(self, sr_uuid, vdi_uuid, size):
        raise xs_errors.XenError("Unimplemented")

    def introduce(self, sr_uuid, vdi_uuid):
        raise xs_errors.XenError("Unimplemented")

    def update(self, sr_uuid, vdi_uuid):
        """Nothing; a driver may override it."""

    def delete(self, sr_uuid, vdi_uuid, data_only=False):
        """SM's part in a deletion is for change logs, which a raw disk does not have."""

    def attach(self, sr_uuid, vdi_uuid):
        return xmlrpc.client.dumps(({"params": self.path, "xenstore_data": self.xenstore_data or {}},), "", True)

    def detach(self, sr_uuid, vdi_uuid):
        raise xs_errors.XenError("Unimplemented")

    def activate(self, sr_uuid, vdi_uuid):
        """Before tapdisk opens the disk; may return options for it."""
        return

    def deactivate(self, sr_uuid, vdi_uuid):
        """After tapdisk closed the disk."""

    def clone(self, sr_uuid, vdi_uuid):
        raise xs_errors.XenError("Unimplemented")

    def resize(self, sr_uuid, vdi_uuid, size):
        raise xs_errors.XenError("Unimplemented")

    def resize_online(self, sr_uuid, vdi_uuid, size):
        raise xs_errors.XenError("Unimplemented")

    def resize_cbt(self, sr_uuid, vdi_uuid, size):
        """A raw disk has no change log to resize."""

    def generate_config(self, sr_uuid, vdi_uuid):
        raise xs_errors.XenError("Unimplemented")

    def attach_from_config(self, sr_uuid, vdi_uuid):
        raise xs_errors.XenError("Unimplemented")

    def compose(self, sr_uuid, vdi1, vdi2):
        raise xs_errors.XenError("Unimplemented")

    def _do_snapshot(
        self, sr_uuid, vdi_uuid, snapType, cloneOp=False, secondary=None, cbtlog=None, is_mirror_destination=False
    ):
        raise xs_errors.XenError("Unimplemented")

    def _get_blocktracking_status(self, uuid=None):
        return False

    def _get_cbt_logpath(self, uuid):
        return os.path.join(self.sr.path, f"{uuid}.cbtlog")

    def configure_blocktracking(self, sr_uuid, vdi_uuid, enable):
        raise xs_errors.XenError("VDIType", opterr="Raw VDI or snapshot not permitted")

    def list_changed_blocks(self):
        params = self.sr.srcmd.params
        other = self.session.xenapi.VDI.get_uuid(params["args"][0])
        reason = "Source and target VDI are same" if other == self.uuid else "Source and target VDI are unrelated"
        raise xs_errors.XenError("CBTChangedBlocksError", reason)

    # --- what a driver inherits

    def snapshot(self, sr_uuid, vdi_uuid):
        driver_params = self.sr.srcmd.params["driver_params"]
        kind = {"single": SNAPSHOT_SINGLE, "internal": SNAPSHOT_INTERNAL}.get(
            driver_params.get("type"), SNAPSHOT_DOUBLE
        )
        cbtlog = self._get_cbt_logpath(self.uuid) if self._get_blocktracking_status() else None
        secondary = driver_params.get("mirror") or None
        # one argument more than SM passed before it had QCOW2
        destination = bool(driver_params.get("base_mirror")) and not secondary
        return self._do_snapshot(
            sr_uuid, vdi_uuid, kind, secondary=secondary, cbtlog=cbtlog, is_mirror_destination=destination
        )

    def data_destroy(self, sr_uuid, vdi_uuid):
        if not self.session.xenapi.VDI.get_is_a_snapshot(self.sr.srcmd.params["vdi_ref"]):
            raise xs_errors.XenError("VDIType", opterr="Only allowed for snapshot VDIs")
        self.delete(sr_uuid, vdi_uuid, data_only=True)

    def disable_leaf_on_secondary(self, vdi_uuid, secondary=None):
        vdi_ref = self.session.xenapi.VDI.get_by_uuid(vdi_uuid)
        self.session.xenapi.VDI.remove_from_other_config(vdi_ref, LEAF_COALESCE)
        if secondary is not None:
            self.session.xenapi.VDI.add_to_other_config(vdi_ref, LEAF_COALESCE, "false")

    def get_params(self):
        return xmlrpc.client.dumps(({"location": self.location, "uuid": self.uuid},), "", True)

    def _db_introduce(self):
        uuid = util.default(self, "uuid", util.gen_uuid)
        sm_config = util.default(self, "sm_config", dict)
        given = self.sr.srcmd.params.get("vdi_sm_config", {})
        sm_config.update((key, given[key]) for key in SM_CONFIG_PASS_THROUGH_FIELDS if given.get(key))
        return self.sr.session.xenapi.VDI.db_introduce(
            uuid,
            self.label,
            self.description,
            self.sr.sr_ref,
            self.ty,
            self.shareable,
            self.read_only,
            {},
            self.location,
            {},
            sm_config,
            self.managed,
            str(self.size),
            str(self.utilisation),
            util.default(self, "metadata_of_pool", lambda: "OpaqueRef:NULL"),
            util.default(self, "is_a_snapshot", lambda: False),
            xmlrpc.client.DateTime(util.default(self, "snapshot_time", lambda: "19700101T00:00:00Z")),
            util.default(self, "snapshot_of", lambda: "OpaqueRef:NULL"),
            self.cbt_enabled,
        )

    def _db_forget(self):
        self.sr.forget_vdi(self.uuid)

    def _override_sm_config(self, sm_config):
        for key, value in self.sm_config_override.items():
            if value:
                sm_config[key] = value
            else:
                sm_config.pop(key, None)

    def _db_update(self):
        vdi = self.sr.session.xenapi.VDI
        vdi_ref = vdi.get_by_uuid(self.uuid)
        vdi.set_virtual_size(vdi_ref, str(self.size))
        vdi.set_physical_utilisation(vdi_ref, str(self.utilisation))
        vdi.set_read_only(vdi_ref, self.read_only)
        sm_config = util.default(self, "sm_config", dict)
        self._override_sm_config(sm_config)
        self._db_update_sm_config(vdi_ref, sm_config)
        vdi.set_cbt_enabled(vdi_ref, self._get_blocktracking_status())

    def _db_update_sm_config(self, vdi_ref, sm_config):
        """Replaces xapi's sm_config, except the keys of hosts and of tapdisk."""
        vdi = self.sr.session.xenapi.VDI
        current = vdi.get_sm_config(vdi_ref)

        def ours(key):
            return not key.startswith("host_") and key not in PROTECTED_SM_CONFIG

        for key, value in sm_config.items():
            if ours(key) and value != current.get(key):
                vdi.remove_from_sm_config(vdi_ref, key)
                vdi.add_to_sm_config(vdi_ref, key, value)
        for key in current:
            if ours(key) and key not in self.sm_config_keep and not sm_config.get(key):
                vdi.remove_from_sm_config(vdi_ref, key)

    def in_sync_with_xenapi_record(self, x):
        ours = (
            self.location,
            self.read_only,
            str(self.size),
            str(self.utilisation),
            util.default(self, "sm_config", dict),
            self.cbt_enabled,
        )
        theirs = (
            util.to_plain_string(x["location"]),
            x["read_only"],
            x["virtual_size"],
            x["physical_utilisation"],
            x["sm_config"],
            x["cbt_enabled"],
        )
        if ours != theirs:
            util.SMlog(f"VDI {ours!r} <> xapi's record {theirs!r}")
        return ours == theirs
