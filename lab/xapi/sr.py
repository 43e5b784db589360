"""SR and PBD calls, in the order xapi makes their SM commands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab.xapi import sm_exec
from lab.xapi.errors import ApiError, Unimplemented
from lab.xapi.pool import Pool
from lab.xapi.schema import NULL
from lab.xapi.tasks import Tasks

_SCAN_RETRIES = 10

Config = Mapping[str, str]


class PbdCalls:
    """The XenAPI class PBD."""

    API = ("create", "plug", "unplug", "destroy")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def create(self, record: Mapping[str, Any]) -> str:
        """Connect an SR to a host, unplugged."""
        db = self._pool.db
        host, sr = record["host"], record["SR"]
        if db.find("PBD", SR=sr, host=host):
            raise ApiError("PBD_EXISTS", sr, host, db.find("PBD", SR=sr, host=host)[0])
        return db.create(
            "PBD",
            host=host,
            SR=sr,
            device_config=record.get("device_config", {}),
            other_config=record.get("other_config", {}),
        )

    def plug(self, pbd: str) -> None:
        """sr_attach on the PBD's host; for another host than the master, the master's PBD is plugged first."""
        pool, db = self._pool, self._pool.db
        row = db.record("PBD", pbd)
        sr, host = row["SR"], row["host"]
        if db.get("SR", sr, "shared"):
            if host != pool.master:
                for master_pbd in db.find("PBD", SR=sr, host=pool.master):
                    self.plug(master_pbd)
        else:
            for other in db.find("PBD", SR=sr, currently_attached=True):
                if other != pbd:
                    raise ApiError("SR_NOT_SHARABLE", sr, db.get("PBD", other, "host"))
        with pool.exclusive(("attach", host)):
            if not db.get("PBD", pbd, "currently_attached"):
                sm_exec.expect_nil(pool.sm(host, "sr_attach", sr=sr))
                db.set("PBD", pbd, "currently_attached", True)

    def unplug(self, pbd: str) -> None:
        """sr_detach, if no disk of the SR is attached on the PBD's host."""
        pool, db = self._pool, self._pool.db
        row = db.record("PBD", pbd)
        sr, host = row["SR"], row["host"]
        used = [
            vbd["VDI"]
            for vbd in db.records("VBD").values()
            if vbd["currently_attached"]
            and vbd["VDI"] != NULL
            and db.get("VDI", vbd["VDI"], "SR") == sr
            and db.get("VM", vbd["VM"], "resident_on") == host
        ]
        if used:
            raise ApiError("VDI_IN_USE", *used)
        with pool.exclusive(("attach", host)):
            if db.get("PBD", pbd, "currently_attached"):
                sm_exec.expect_nil(pool.sm(host, "sr_detach", sr=sr))
                db.set("PBD", pbd, "currently_attached", False)

    def destroy(self, pbd: str) -> None:
        """Drop the record of an unplugged PBD."""
        db = self._pool.db
        if db.get("PBD", pbd, "currently_attached"):
            raise ApiError("OPERATION_NOT_ALLOWED", "PBD is currently attached")
        db.destroy("PBD", pbd)


class SrCalls:
    """The XenAPI class SR."""

    API = ("create", "introduce", "probe", "scan", "update", "forget", "destroy", "set_shared")

    def __init__(self, pool: Pool, pbds: PbdCalls, tasks: Tasks) -> None:
        self._pool = pool
        self._pbds = pbds
        self._tasks = tasks

    def create(
        self,
        host: str,
        device_config: Config,
        physical_size: str | int,
        name_label: str,
        name_description: str,
        sr_type: str,
        content_type: str,
        shared: bool,
        sm_config: Config,
    ) -> str:
        """sr_create on `host`, then plug everywhere.

        As in xapi a plug that fails does not fail the call: the SR is there, unplugged on that host,
        and the failure is in the plug's task.
        """
        pool, db = self._pool, self._pool.db
        self._require_driver(host, sr_type)
        sr = self.introduce("", name_label, name_description, sr_type, content_type, shared, sm_config)
        hosts = [host]
        if shared:
            hosts = [pool.master, *(other for other in db.refs("host") if other != pool.master)]
        pbds = [self._pbds.create({"host": each, "SR": sr, "device_config": device_config}) for each in hosts]
        try:
            sm_exec.expect_nil(pool.sm(host, "sr_create", sr=sr, is_master=True, args=[str(physical_size)]))
        except (ApiError, Unimplemented) as error:
            for pbd in pbds:
                db.destroy("PBD", pbd)
            db.destroy("SR", sr)
            raise _unsupported(error, sr) from error
        for pbd in pbds:
            self._tasks.run("Async.PBD.plug", self._pbds.plug, pbd)
        return sr

    def introduce(
        self,
        uuid: str,
        name_label: str,
        name_description: str,
        sr_type: str,
        content_type: str,
        shared: bool,
        sm_config: Config,
    ) -> str:
        """Only a record: no PBD, no SM command."""
        return self._pool.db.create(
            "SR",
            uuid=uuid,
            name_label=name_label,
            name_description=name_description,
            type=sr_type.lower(),
            content_type=content_type,
            shared=shared,
            sm_config=sm_config,
        )

    def probe(self, host: str, device_config: Config, sr_type: str, sm_config: Config) -> str:
        """sr_probe, which has no SR. Returns the driver's XML document."""
        pool = self._pool
        driver = self._require_driver(host, sr_type)
        if "SR_PROBE" not in driver.features:
            raise ApiError("SR_BACKEND_FAILURE", "Operation 'sr_probe' not supported by this SR type", "", "")
        with pool.exclusive(("attach", host)):
            reply = pool.sm(
                host,
                "sr_probe",
                sr_type=sr_type,
                device_config=device_config,
                is_master=True,
                sr_sm_config=dict(sm_config),
            )
        return sm_exec.expect_string(reply)

    def scan(self, sr: str) -> None:
        """sr_scan and sr_update, repeated while the set of VDIs changes meanwhile."""
        pool, db = self._pool, self._pool.db
        host = pool.sr_master(sr)
        with pool.exclusive(("SR", sr)):
            pool.require_plugged(sr, host)
            for _ in range(_SCAN_RETRIES):
                before = set(db.find("VDI", SR=sr))
                self._command(sr, "sr_scan")
                self._command(sr, "sr_update")
                if set(db.find("VDI", SR=sr)) == before:
                    break
            else:
                raise ApiError("INTERNAL_ERROR", "SR.scan retry limit exceeded")
            self._after_scan(sr)

    def update(self, sr: str) -> None:
        """sr_update: the driver writes the SR's sizes."""
        with self._pool.exclusive(("SR", sr)):
            self._pool.require_feature(sr, "SR_UPDATE")
            self._command(sr, "sr_update")

    def forget(self, sr: str) -> None:
        """Drop the records of an SR that is plugged nowhere; nothing on disk changes."""
        with self._pool.exclusive(("SR", sr)):
            self._require_unplugged(sr)
            self._drop(sr)

    def destroy(self, sr: str) -> None:
        """Attach on the SR's master, sr_delete, drop the records; a failure detaches again."""
        pool, db = self._pool, self._pool.db
        with pool.exclusive(("SR", sr)):
            self._require_unplugged(sr)
            host = pool.sr_master(sr)
            pbd = pool.pbd(sr, host)
            if any(db.get("VDI", vdi, "managed") for vdi in db.find("VDI", SR=sr)):
                raise ApiError("SR_NOT_EMPTY")
            with pool.exclusive(("attach", host)):
                sm_exec.expect_nil(pool.sm(host, "sr_attach", sr=sr))
            db.set("PBD", pbd, "currently_attached", True)
            try:
                self._command(sr, "sr_delete")
            except ApiError:
                sm_exec.expect_nil(pool.sm(host, "sr_detach", sr=sr))
                raise
            finally:
                db.set("PBD", pbd, "currently_attached", False)
            self._drop(sr)

    def set_shared(self, sr: str, value: bool) -> None:
        """An SR with more than one PBD stays shared."""
        if not value and len(self._pool.db.get("SR", sr, "PBDs")) > 1:
            raise ApiError("SR_HAS_MULTIPLE_PBDS", sr)
        self._pool.db.set("SR", sr, "shared", value)

    def _require_driver(self, host: str, sr_type: str) -> Any:
        driver = self._pool.drivers.get(host, {}).get(sr_type.lower())
        if driver is None:
            raise ApiError("SR_UNKNOWN_DRIVER", sr_type)
        return driver

    def _command(self, sr: str, command: str) -> None:
        try:
            sm_exec.expect_nil(self._pool.sm(self._pool.sr_master(sr), command, sr=sr))
        except Unimplemented as error:
            raise _unsupported(error, sr) from error

    def _after_scan(self, sr: str) -> None:
        """xapi's own changes after a scan: it sums the allocation, and clears references to lost VDIs."""
        db = self._pool.db
        total = 0
        for vdi in db.find("VDI", SR=sr):
            row = db.record("VDI", vdi)
            total += row["virtual_size"]
            if row["snapshot_of"] != NULL and not db.exists("VDI", row["snapshot_of"]):
                db.set("VDI", vdi, "snapshot_of", NULL)
        db.set("SR", sr, "virtual_allocation", total)
        db.remove_key("SR", sr, "other_config", "dirty")

    def _require_unplugged(self, sr: str) -> None:
        db = self._pool.db
        if any(db.get("PBD", pbd, "currently_attached") for pbd in db.get("SR", sr, "PBDs")):
            raise ApiError("SR_HAS_PBD", sr)

    def _drop(self, sr: str) -> None:
        db = self._pool.db
        for pbd in db.get("SR", sr, "PBDs"):
            db.destroy("PBD", pbd)
        for vdi in db.get("SR", sr, "VDIs"):
            db.destroy("VDI", vdi)
        db.destroy("SR", sr)


def _unsupported(error: Exception, sr: str) -> Exception:
    return ApiError("SR_OPERATION_NOT_SUPPORTED", sr) if isinstance(error, Unimplemented) else error
