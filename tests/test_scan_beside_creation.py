"""A scan runs beside a command that xapi has lost: the disk of that command stays in XAPI.

xapi lets one operation at a time change an SR, but loses the list of running ones at its restart. SM's
process continues. A scan can then run beside it.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from lab.cephrbd import CephSr
from lab.disk import Disk

CREATE = ["1048576", "orphan", "", "", "false", "19700101T00:00:00Z", "", "false"]


def scan_beside(sr: CephSr, monkeypatch: pytest.MonkeyPatch, name: str, **call: Any) -> tuple[Any, list[str]]:
    """Scans the SR while another command runs. Returns that command's reply, and the order in which they end."""
    pool, ended = sr.lab.xapi.pool, list[str]()
    note, ref = pool.note_call, pool.db.by_uuid("SR", sr.uuid)
    started: list[Future[Any]] = []

    def other() -> Any:
        reply = pool.sm(pool.master, name, sr=ref, **call)
        ended.append(name)
        return reply

    def start_beside(session: str, method: str) -> None:
        note(session, method)
        # The driver's read of XAPI's records, before it reads the catalogue.
        if method == "VDI.get_all_records_where" and not started:
            started.append(beside.submit(other))
            time.sleep(3)

    with ThreadPoolExecutor() as beside:
        monkeypatch.setattr(pool, "note_call", start_beside)
        pool.sm(pool.master, "sr_scan", sr=ref)
        ended.append("sr_scan")
        monkeypatch.undo()
        return started[0].result(), ended


def test_a_scan_keeps_a_disk_that_is_made_while_it_runs(sr: CephSr, monkeypatch: pytest.MonkeyPatch) -> None:
    first = sr.create_vdi("first")
    made, ended = scan_beside(sr, monkeypatch, "vdi_create", vdi_sm_config={}, vdi_type="user", args=CREATE)
    assert ended == ["sr_scan", "vdi_create"]
    assert sr.vdis() == {first, made["uuid"]}


def test_a_scan_waits_for_a_revert(sr: CephSr, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk.create(sr)
    snapshot, db = disk.snapshot(), sr.lab.xapi.pool.db
    refs = {"vdi": db.by_uuid("VDI", snapshot.uuid), "args": [db.by_uuid("VDI", disk.uuid)]}
    _, ended = scan_beside(sr, monkeypatch, "vdi_revert", **refs)
    assert ended == ["sr_scan", "vdi_revert"]
    assert sr.vdis() == {disk.uuid, snapshot.uuid}


def test_a_scan_does_not_wait_for_an_attach(sr: CephSr, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk.create(sr)
    refs = {"vdi": sr.lab.xapi.pool.db.by_uuid("VDI", disk.uuid), "args": ["true"]}
    _, ended = scan_beside(sr, monkeypatch, "vdi_attach", **refs)
    assert ended == ["vdi_attach", "sr_scan"]
