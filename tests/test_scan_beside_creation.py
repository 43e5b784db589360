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


def scan_beside(sr: CephSr, monkeypatch: pytest.MonkeyPatch, name: str, **call: Any) -> tuple[Any, bool]:
    """Scans the SR while another command runs. Returns that command's reply, and whether it waits for the scan."""
    pool, waits = sr.lab.xapi.pool, list[bool]()
    note, ref = pool.note_call, pool.db.by_uuid("SR", sr.uuid)
    started: list[Future[Any]] = []

    def start_beside(session: str, method: str) -> None:
        note(session, method)
        # The driver's read of XAPI's records, before it reads the catalogue.
        if method == "VDI.get_all_records_where" and not started:
            started.append(beside.submit(pool.sm, pool.master, name, sr=ref, **call))
            time.sleep(3)
            waits.append(not started[0].done())

    with ThreadPoolExecutor() as beside:
        monkeypatch.setattr(pool, "note_call", start_beside)
        pool.sm(pool.master, "sr_scan", sr=ref)
        monkeypatch.undo()
        return started[0].result(), waits[0]


def test_a_scan_keeps_a_disk_that_is_made_while_it_runs(sr: CephSr, monkeypatch: pytest.MonkeyPatch) -> None:
    first = sr.create_vdi("first")
    made, waits = scan_beside(sr, monkeypatch, "vdi_create", vdi_sm_config={}, vdi_type="user", args=CREATE)
    assert waits
    assert sr.vdis() == {first, made["uuid"]}


def test_a_scan_waits_for_a_revert(sr: CephSr, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk.create(sr)
    snapshot, db = disk.snapshot(), sr.lab.xapi.pool.db
    refs = {"vdi": db.by_uuid("VDI", snapshot.uuid), "args": [db.by_uuid("VDI", disk.uuid)]}
    _, waits = scan_beside(sr, monkeypatch, "vdi_revert", **refs)
    assert waits
    assert sr.vdis() == {disk.uuid, snapshot.uuid}


def test_a_scan_does_not_wait_for_an_attach(sr: CephSr, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk.create(sr)
    refs = {"vdi": sr.lab.xapi.pool.db.by_uuid("VDI", disk.uuid), "args": ["true"]}
    _, waits = scan_beside(sr, monkeypatch, "vdi_attach", **refs)
    assert not waits
