"""VDI.copy: a disk's blocks go from one SR to another, through both SRs' drivers, on one host.

As xapi does it (xen-api, `copy` of ocaml/xapi/xapi_vdi.ml and `copy_vdi` of ocaml/xapi/sm_fs_ops.ml): VDI.create in
the other SR with the source's names and keys, without its sm_config; the source is plugged read-only into a control
domain, the copy read-write; `sparse_dd` copies what is not zero.  If that fails, the copy is destroyed.
message_forwarding.ml chooses a host that has both SRs plugged, the master last (`prefer_slaves`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab.xapi.errors import ApiError
from lab.xapi.pool import Pool
from lab.xapi.schema import NULL
from lab.xapi.vbd import VbdCalls
from lab.xapi.vdi import VdiCalls

# What the copy has of the source.
_KEPT = ("name_label", "name_description", "virtual_size", "type", "sharable", "other_config", "xenstore_data", "tags")
# `sparse_dd` on the host: blocks of 1 MiB, and none that is zero.
_COPY = ["dd", "bs=1M", "conv=sparse,notrunc,fsync", "status=none"]


class CopyCalls:
    """`copy` of the XenAPI class VDI."""

    def __init__(self, pool: Pool, vdis: VdiCalls, vbds: VbdCalls) -> None:
        self._pool = pool
        self._vdis = vdis
        self._vbds = vbds

    def copy(self, vdi: str, sr: str, base: str = NULL, into: str = NULL) -> str:
        """Copy a VDI into an SR, or into another VDI. Returns the copy."""
        db = self._pool.db
        source = db.record("VDI", vdi)
        if into != NULL:
            self._require_fit(source, db.record("VDI", into), into)
            sr = db.get("VDI", into, "SR")
        host = self._host(source["SR"], sr)
        if into != NULL:
            self._copy_blocks(host, vdi, base, into)
            return into
        copy = self._vdis.create({name: source[name] for name in _KEPT} | {"SR": sr, "read_only": False})
        try:
            self._copy_blocks(host, vdi, base, copy)
        except BaseException:
            self._vdis.destroy(copy)
            raise
        return copy

    @staticmethod
    def _require_fit(source: Mapping[str, Any], into: Mapping[str, Any], ref: str) -> None:
        if into["read_only"]:
            raise ApiError("VDI_READONLY", ref)
        if into["virtual_size"] < source["virtual_size"]:
            raise ApiError("VDI_TOO_SMALL", ref, str(source["virtual_size"]))

    def _host(self, *srs: str) -> str:
        db = self._pool.db
        plugged = [{db.get("PBD", p, "host") for p in db.find("PBD", SR=sr, currently_attached=True)} for sr in srs]
        hosts = sorted(set.intersection(*plugged), key=lambda host: host == self._pool.master)
        if not hosts:
            raise ApiError("SR_HAS_NO_PBDS", srs[-1])
        return hosts[0]

    def _copy_blocks(self, host: str, vdi: str, base: str, copy: str) -> None:
        plugged: list[str] = []
        try:
            if base != NULL:
                plugged.append(self._plug(host, base, "RO"))
            for one, mode in ((vdi, "RO"), (copy, "RW")):
                plugged.append(self._plug(host, one, mode))
            source, destination = (self._device(vbd) for vbd in plugged[-2:])
            reply = self._pool.execute(host, [*_COPY, f"if={source}", f"of={destination}"])
            if reply.returncode != 0:
                raise ApiError("VDI_COPY_FAILED", reply.stderr.decode(errors="replace"))
        finally:
            for vbd in reversed(plugged):
                self._vbds.unplug(vbd)
                self._vbds.destroy(vbd)

    def _plug(self, host: str, vdi: str, mode: str) -> str:
        (domain,) = self._pool.db.find("VM", is_control_domain=True, resident_on=host)
        vbd = self._vbds.create({"VM": domain, "VDI": vdi, "mode": mode})
        try:
            self._vbds.plug(vbd)
        except BaseException:
            self._vbds.destroy(vbd)
            raise
        return vbd

    def _device(self, vbd: str) -> str:
        return f"/dev/{self._pool.db.get('VBD', vbd, 'device')}"
