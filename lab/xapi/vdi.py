"""VDI calls: the SM commands each makes, and what xapi writes in the database around them."""

from __future__ import annotations

import re
import uuid as uuids
from collections.abc import Mapping
from typing import Any

from lab.xapi import sm_exec
from lab.xapi.cbt import Tracking
from lab.xapi.errors import ApiError, Unimplemented
from lab.xapi.pool import Pool
from lab.xapi.schema import EPOCH, NULL
from lab.xapi.tasks import now

_UUID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
# sm-config keys that xapi carries over from driver_params to a snapshot or clone.
_KEPT_SM_CONFIG = ("base_mirror",)
_COPIED_FIELDS = (
    "name_label",
    "name_description",
    "type",
    "sharable",
    "other_config",
    "xenstore_data",
    "on_boot",
    "allow_caching",
    "tags",
)


class VdiCalls:
    """The XenAPI class VDI."""

    API = (
        "create",
        "destroy",
        "resize",
        "snapshot",
        "clone",
        "revert",
        "update",
        "set_name_label",
        "set_name_description",
        "set_on_boot",
        "generate_config",
        "introduce",
        "db_introduce",
        "pool_introduce",
        "db_forget",
        "forget",
        "enable_cbt",
        "disable_cbt",
        "data_destroy",
        "list_changed_blocks",
    )

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._tracking = Tracking(pool, self._ready, self._run)
        self.data_destroy = self._tracking.data_destroy
        self.list_changed_blocks = self._tracking.list_changed_blocks

    def enable_cbt(self, vdi: str) -> None:
        """vdi_enable_cbt"""
        self._tracking.switch(vdi, True)

    def disable_cbt(self, vdi: str) -> None:
        """vdi_disable_cbt"""
        self._tracking.switch(vdi, False)

    # Create and destroy

    def create(self, record: Mapping[str, Any]) -> str:
        """vdi_create; the driver introduces the record, xapi adds the fields that are its own."""
        pool, db = self._pool, self._pool.db
        sr = record["SR"]
        with pool.exclusive(("SR", sr)):
            host = self._ready(sr, "VDI_CREATE")
            reply = self._run(
                host,
                "vdi_create",
                sr,
                vdi_sm_config=dict(record.get("sm_config", {})),
                vdi_type=record.get("type", "user"),
                args=[
                    str(record["virtual_size"]),
                    record.get("name_label", ""),
                    record.get("name_description", ""),
                    "",
                    "false",
                    EPOCH,
                    "",
                    "true" if record.get("read_only", False) else "false",
                ],
            )
            vdi = self._introduced(reply)
            for name in ("other_config", "xenstore_data", "sharable", "tags"):
                if name in record:
                    db.set("VDI", vdi, name, record[name])
            return vdi

    def destroy(self, vdi: str) -> None:
        """vdi_delete, then the record and the VBDs that named it."""
        pool, db = self._pool, self._pool.db
        sr = db.get("VDI", vdi, "SR")
        with pool.exclusive(("SR", sr), ("VDI", vdi)):
            host = self._ready(sr, "VDI_DELETE", vdi)
            self._require_idle(vdi, "destroy")
            sm_exec.expect_nil(self._run(host, "vdi_delete", sr, vdi))
            for vbd in db.find("VBD", VDI=vdi):
                db.destroy("VBD", vbd)
            if db.exists("VDI", vdi):
                db.destroy("VDI", vdi)

    def resize(self, vdi: str, size: str | int) -> None:
        """vdi_resize to `size` bytes, while no VBD is plugged."""
        pool = self._pool
        sr = pool.db.get("VDI", vdi, "SR")
        with pool.exclusive(("SR", sr), ("VDI", vdi)):
            host = self._ready(sr, "VDI_RESIZE", vdi)
            self._require_idle(vdi, "resize")
            self._tracking.refuse_metadata(vdi)
            sm_exec.expect_vdi(self._run(host, "vdi_resize", sr, vdi, args=[str(size)]))

    def snapshot(self, vdi: str, driver_params: Mapping[str, str] | None = None) -> str:
        """vdi_snapshot and vdi_update; the new record has snapshot_of."""
        sr = self._pool.db.get("VDI", vdi, "SR")
        with self._pool.exclusive(("SR", sr), ("VDI", vdi)):
            self._ready(sr, "VDI_SNAPSHOT", vdi)
            self._tracking.refuse_metadata(vdi)
            if self._pool.db.get("VDI", vdi, "sharable"):
                raise ApiError("VDI_IS_SHARABLE", vdi)
            if self._pool.db.get("VDI", vdi, "on_boot") == "reset":
                raise ApiError("VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION")
            new = self._copy("vdi_snapshot", vdi, driver_params or {}, is_a_snapshot=True)
            self._pool.db.set("VDI", new, "is_a_snapshot", True)
            self._pool.db.set("VDI", new, "snapshot_of", vdi)
            return new

    def clone(self, vdi: str, driver_params: Mapping[str, str] | None = None) -> str:
        """vdi_clone and vdi_update.

        xapi makes a full copy if the driver has no clone. The simulator does not: the call fails with
        UNIMPLEMENTED_IN_SM_BACKEND.
        """
        sr = self._pool.db.get("VDI", vdi, "SR")
        with self._pool.exclusive(("SR", sr), ("VDI", vdi)):
            self._ready(sr, "VDI_CLONE", vdi)
            self._tracking.refuse_metadata(vdi)
            return self._copy("vdi_clone", vdi, driver_params or {}, is_a_snapshot=False)

    def revert(self, snapshot: str) -> None:
        """vdi_revert: the disk a snapshot was taken of gets the snapshot's contents back."""
        pool, db = self._pool, self._pool.db
        row = db.record("VDI", snapshot)
        if not row["is_a_snapshot"] or not db.exists("VDI", row["snapshot_of"]):
            raise ApiError("VDI_NOT_A_SNAPSHOT", snapshot)
        base = row["snapshot_of"]
        with pool.exclusive(("SR", row["SR"]), ("VDI", snapshot), ("VDI", base)):
            host = self._ready(row["SR"], "VDI_REVERT", snapshot)
            self._tracking.refuse_metadata(snapshot)
            self._require_idle(base, "revert_from")
            sm_exec.expect_nil(self._run(host, "vdi_revert", row["SR"], snapshot, args=[base]))

    # Attributes

    def update(self, vdi: str) -> None:
        """vdi_update: the driver stores the record's fields, or corrects them."""
        sr = self._pool.db.get("VDI", vdi, "SR")
        with self._pool.exclusive(("VDI", vdi)):
            host = self._ready(sr, "VDI_UPDATE")
            sm_exec.expect_nil(self._run(host, "vdi_update", sr, vdi))

    def set_name_label(self, vdi: str, value: str) -> None:
        """The record, then vdi_update."""
        self._pool.db.set("VDI", vdi, "name_label", value)
        self.update(vdi)

    def set_name_description(self, vdi: str, value: str) -> None:
        """The record, then vdi_update."""
        self._pool.db.set("VDI", vdi, "name_description", value)
        self.update(vdi)

    def set_on_boot(self, vdi: str, value: str) -> None:
        """The record.

        xapi does not pass "reset" to the driver: it clones the disk and deletes the clone, which
        gives a VHD an empty leaf.  The driver drops the clone's record.
        """
        pool, db = self._pool, self._pool.db
        sr = db.get("VDI", vdi, "SR")
        with pool.exclusive(("SR", sr), ("VDI", vdi)):
            host = self._ready(sr, "VDI_RESET_ON_BOOT", vdi)
            if db.get("VDI", vdi, "cbt_enabled"):
                raise ApiError("VDI_CBT_ENABLED", vdi)
            self._require_idle(vdi, "set_on_boot")
            if value == "reset":
                clone = self._introduced(self._run(host, "vdi_clone", sr, vdi, driver_params={}))
                sm_exec.expect_nil(self._run(host, "vdi_delete", sr, clone))
            db.set("VDI", vdi, "on_boot", value)

    def generate_config(self, host: str, vdi: str) -> str:
        """vdi_generate_config: the text that attaches the VDI on a host without xapi."""
        sr = self._pool.db.get("VDI", vdi, "SR")
        with self._pool.exclusive(("VDI", vdi)):
            self._pool.require_feature(sr, "VDI_GENERATE_CONFIG")
            self._pool.require_plugged(sr, host)
            return sm_exec.expect_string(self._run(host, "vdi_generate_config", sr, vdi))

    # Records

    def introduce(
        self,
        uuid: str,
        name_label: str,
        name_description: str,
        sr: str,
        vdi_type: str,
        sharable: bool,
        _read_only: bool,
        other_config: Mapping[str, str],
        location: str,
        xenstore_data: Mapping[str, str],
        sm_config: Mapping[str, str],
        *_managed_and_later: Any,
    ) -> str:
        """vdi_introduce of a location the SR has on disk."""
        pool, db = self._pool, self._pool.db
        with pool.exclusive(("SR", sr)):
            host = self._ready(sr, "VDI_INTRODUCE")
            self._require_new_location(sr, location, but=uuid)
            reply = self._run(
                host,
                "vdi_introduce",
                sr,
                new_uuid=uuid or str(uuids.uuid4()),
                vdi_location=location,
                vdi_sm_config=dict(sm_config),
            )
            vdi = self._introduced(reply)
            db.set("VDI", vdi, "other_config", other_config)
            db.set("VDI", vdi, "xenstore_data", xenstore_data)
            db.set("VDI", vdi, "sharable", sharable)
            db.set("VDI", vdi, "type", vdi_type)
            for name, value in (("name_label", name_label), ("name_description", name_description)):
                if value:
                    db.set("VDI", vdi, name, value)
            return vdi

    def db_introduce(
        self,
        uuid: str,
        name_label: str,
        name_description: str,
        sr: str,
        vdi_type: str,
        sharable: bool,
        read_only: bool,
        other_config: Mapping[str, str],
        location: str,
        xenstore_data: Mapping[str, str],
        sm_config: Mapping[str, str],
        managed: bool = True,
        virtual_size: str | int = 0,
        physical_utilisation: str | int = 0,
        metadata_of_pool: str = NULL,
        is_a_snapshot: bool = False,
        snapshot_time: str = EPOCH,
        snapshot_of: str = NULL,
        cbt_enabled: bool = False,
    ) -> str:
        """Only a record: the call drivers make.  A location is unique within its SR."""
        self._pool.db.get("SR", sr, "uuid")
        self._require_new_location(sr, location)
        if not _UUID.fullmatch(uuid):
            raise ApiError("UUID_INVALID", "VDI", uuid)
        return self._pool.db.create(
            "VDI",
            uuid=uuid,
            name_label=name_label,
            name_description=name_description,
            SR=sr,
            type=vdi_type,
            sharable=sharable,
            read_only=read_only,
            other_config=other_config,
            location=location,
            xenstore_data=xenstore_data,
            sm_config=sm_config,
            managed=managed,
            virtual_size=virtual_size,
            physical_utilisation=physical_utilisation,
            metadata_of_pool=metadata_of_pool,
            is_a_snapshot=is_a_snapshot,
            snapshot_time=snapshot_time,
            snapshot_of=snapshot_of,
            cbt_enabled=cbt_enabled,
        )

    pool_introduce = db_introduce

    def db_forget(self, vdi: str) -> None:
        """Only the record goes."""
        self._pool.db.destroy("VDI", vdi)

    forget = db_forget

    # Internal

    def _ready(self, sr: str, feature: str, vdi: str = "") -> str:
        """The SR's master, if the driver has the feature, the SR is plugged there and the VDI is managed."""
        pool = self._pool
        pool.require_feature(sr, feature)
        host = pool.sr_master(sr)
        pool.require_plugged(sr, host)
        if vdi and not pool.db.get("VDI", vdi, "managed"):
            raise ApiError("VDI_NOT_MANAGED", vdi)
        return host

    def _require_idle(self, vdi: str, operation: str) -> None:
        if self._pool.db.find("VBD", VDI=vdi, currently_attached=True):
            raise ApiError("VDI_IN_USE", vdi, operation)

    def _require_new_location(self, sr: str, location: str, but: str = "") -> None:
        db = self._pool.db
        for other in db.find("VDI", location=location, SR=sr):
            if db.get("VDI", other, "uuid") != but:
                raise ApiError("LOCATION_NOT_UNIQUE", sr, location)

    def _run(self, host: str, command: str, sr: str, vdi: str = "", **extra: Any) -> Any:
        try:
            return self._pool.sm(host, command, sr=sr, vdi=vdi, **extra)
        except Unimplemented as error:
            raise ApiError("UNIMPLEMENTED_IN_SM_BACKEND", sr) from error

    def _introduced(self, reply: Any) -> str:
        uuid, _location = sm_exec.expect_vdi(reply)
        return self._pool.db.by_uuid("VDI", uuid)

    def _copy(self, command: str, vdi: str, driver_params: Mapping[str, str], *, is_a_snapshot: bool) -> str:
        db = self._pool.db
        old = db.record("VDI", vdi)
        sr = old["SR"]
        host = self._pool.sr_master(sr)
        reply = self._run(host, command, sr, vdi, driver_params=dict(driver_params))
        new = self._introduced(reply)
        content = old["other_config"].get("content_id", str(uuids.uuid4()))
        db.set("VDI", new, "name_label", old["name_label"])
        db.set("VDI", new, "name_description", old["name_description"])
        db.set("VDI", new, "snapshot_time", now())
        db.set("VDI", new, "is_a_snapshot", is_a_snapshot)
        db.replace_key("VDI", new, "other_config", "content_id", content)
        for key in _KEPT_SM_CONFIG:
            if key in driver_params:
                db.replace_key("VDI", new, "sm_config", key, driver_params[key])
        sm_exec.expect_nil(self._run(host, "vdi_update", sr, new))
        for name in _COPIED_FIELDS:
            db.set("VDI", new, name, old[name])
        return new
