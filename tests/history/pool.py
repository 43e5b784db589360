"""Executes the steps of a history on two hosts with kernels of their own, and records the events.

SM's commands go to the hosts directly, because xapi's own checks would refuse most of what the driver itself
must refuse. `writer.py` runs on an activated disk.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lab import LabError
from lab.cephrbd import CephRbdLab
from lab.disk import Disk
from lab.dom0 import GuestDom0
from lab.sr import fist_point
from lab.xapi import ApiError
from lab.xapi.lab_pool import XeError
from tests.history import writer
from tests.history.check import END_SECONDS, violations
from tests.history.plan import SNAPSHOT_POINTS, Step
from tests.history.session import Session
from tests.history.trouble import Trouble

_SNAPSHOTS = 2
_KILLED = "received signal: 9"


class HistoryPool:
    """The hosts, the disks, the faults in force, and the history."""

    def __init__(self, lab: CephRbdLab, hosts: Sequence[GuestDom0], disks: Sequence[Disk], log: Path) -> None:
        self._lab = lab
        self._master = lab.hosts[0]
        self._hosts = hosts
        self._disks = disks
        self._log = log
        self._began = time.monotonic()
        self._step = 0
        self.trouble = Trouble(lab, hosts)
        self._open: list[Session] = []
        self._sessions = 0
        self._snapshots: list[list[Disk]] = [[] for _ in disks]
        self.history: list[dict[str, Any]] = []
        self.counts: Counter[str] = Counter()

    def run(self, steps: Sequence[Step]) -> None:
        """Execute the steps, then end the faults and use every disk on every host; fails at the first violation."""
        for disk in range(len(self._disks)):
            self._snapshot(Step("snapshot", disk=disk))
        for step in steps:
            self._step += 1
            self._note("step", **asdict(step))
            self._take(step)
            self._collect_all()
            self._judge()
        self._end()
        self._judge()

    def tail(self, lines: int = 60) -> str:
        """The last events of the history, long ones cut."""
        return "\n".join(json.dumps(event)[:400] for event in self.history[-lines:])

    # The history

    def _note(self, event: str, **fields: Any) -> None:
        entry = {"step": self._step, "at": round(time.monotonic() - self._began, 1), "event": event, **fields}
        self.history.append(entry)
        with self._log.open("a") as log:
            log.write(json.dumps(entry) + "\n")

    def _judge(self) -> None:
        found = violations(self.history)
        assert found == [], "\n".join(found)

    def _state(self) -> dict[str, Any]:
        """The state by which a refusal is judged."""
        return {"blocklist": self._blocklist(), "faults": [asdict(faults) for faults in self.trouble.faults]}

    def _blocklist(self) -> list[str]:
        return list(self._lab.ceph.admin("osd", "dump")["blocklist"])

    def _plain(self, text: str) -> str:
        """A text with the hosts' UUIDs replaced by their numbers."""
        for number, host in enumerate(self._hosts):
            text = text.replace(host.uuid, str(number))
        return text

    # Steps

    def _take(self, step: Step) -> None:
        self.counts[step.op] += 1
        trouble, host = self.trouble, step.host
        takers: dict[str, Callable[[], None]] = {
            "activate": lambda: self._activate(host, step.disk),
            "killed": lambda: self._activate(host, step.disk, point=step.how),
            "deactivate": lambda: self._deactivate(host, step.disk),
            "race": lambda: self._race(step.disk),
            "interrupt": lambda: self._interrupt(step),
            "take-over": lambda: self._take_over(step),
            "snapshot": lambda: self._snapshot(step),
            "killed-snapshot": lambda: self._snapshot(step),
            "revert": lambda: self._revert(step),
            "killed-revert": lambda: self._revert(step),
            "freeze": lambda: trouble.freeze(host, step.flag),
            "thaw": lambda: trouble.thaw(host),
            "cut": lambda: trouble.cut(host),
            "join": lambda: trouble.join(host),
            "cut-storage": lambda: trouble.cut_storage(host),
            "join-storage": lambda: trouble.join_storage(host),
            "declare": lambda: self._declare(host),
            "power-off": lambda: self._power_off(host),
            "power-on": lambda: trouble.power_on(host),
            "reboot": lambda: self._reboot(host),
            "clock": lambda: trouble.set_clock(host, step.amount),
            "wait": lambda: time.sleep(step.amount),
        }
        takers[step.op]()

    def _race(self, disk: int) -> None:
        """Both hosts activate a disk at once."""
        for host in range(len(self._hosts)):
            self._free(host, disk)
        with ThreadPoolExecutor() as both:
            sent = [both.submit(self._send, host, disk) for host in range(len(self._hosts))]
        for host, command in enumerate(sent):
            self._finish(host, disk, command.result(), during=True)

    def _interrupt(self, step: Step) -> None:
        """A host freezes while it activates a disk. The other one tries to get it, then the first resumes."""
        self._free(step.host, step.disk)
        with ThreadPoolExecutor() as beside:
            command = beside.submit(self._send, step.host, step.disk)
            time.sleep(step.amount)
            self.trouble.freeze(step.host, missed=True)
            try:
                if step.flag:
                    self._declare(step.host)
                self._activate(1 - step.host, step.disk, during=True)
            finally:
                self.trouble.thaw(step.host)
            self._finish(step.host, step.disk, command.result(), during=True)

    def _take_over(self, step: Step) -> None:
        """A host that writes becomes silent and is declared dead. The other one gets the disk, the first resumes."""
        host, disk, trouble = step.host, step.disk, self.trouble
        self._free(1 - host, disk)
        self._activate(host, disk)
        if step.how == "freeze":
            trouble.freeze(host, missed=True)
        else:
            trouble.cut(host)
        if step.how == "cut-both":
            trouble.cut_storage(host)
        self._declare(host)
        self._activate(1 - host, disk)
        if step.how == "freeze":
            trouble.thaw(host)
        else:
            trouble.join(host)
        if step.how == "cut-both":
            trouble.join_storage(host)
        time.sleep(2 * writer.READ_SECONDS)  # outstanding writes of the first host arrive, or fail

    # Activation

    def _session_of(self, host: int, disk: int) -> Session | None:
        found = [session for session in self._open if (session.host, session.disk) == (host, disk)]
        return found[0] if found else None

    def _free(self, host: int, disk: int) -> None:
        if self._session_of(host, disk) is not None:
            self._deactivate(host, disk)

    def _activate(self, host: int, disk: int, *, point: str = "", during: bool = False) -> None:
        session = self._session_of(host, disk)
        if session is not None:
            if session.writes and not point:
                self.counts["already active"] += 1
                return
            if not self.trouble.faults[host].works:
                return
            self._deactivate(host, disk)  # a VM that is to start again was shut down before
        self._finish(host, disk, self._send(host, disk, point), during=during, point=point)

    def _send(self, host: int, disk: int, point: str = "") -> tuple[str | None, float]:
        """Sends the command. Returns why it failed, or None, and its duration."""
        began = time.monotonic()
        text = None
        with fist_point(self._hosts[host], point) if point else nullcontext():
            try:
                self._disks[disk].command(self._hosts[host], "vdi_activate", "true")
            except ApiError as error:
                text = self._plain(f"{error} {error.__cause__ or ''}")
        return text, time.monotonic() - began

    def _finish(
        self, host: int, disk: int, done: tuple[str | None, float], *, during: bool = False, point: str = ""
    ) -> None:
        text, seconds = done
        about = {"host": host, "disk": disk, "seconds": round(seconds, 1), "during": during}
        if text is not None and point and _KILLED in text:
            self.counts["were killed"] += 1
            self._note("ran", op=f"killed at {point}", **about)
        elif text is not None:
            self.counts["activations refused"] += 1
            self._note("refused", op="activate", text=text, **about, **self._state())
        else:
            assert not point, f"{point}: the activation was not killed"
            self.counts["activations accepted"] += 1
            self._start_writer(host, disk, about)

    def _start_writer(self, host: int, disk: int, about: dict[str, Any]) -> None:
        self._sessions += 1
        vdi = self._disks[disk]
        session = Session(self._sessions, host, disk, self._hosts[host])
        session.start(vdi)
        owner = vdi.claimed_by()
        numbers = {each.uuid: number for number, each in enumerate(self._hosts)}
        self._open.append(session)
        self._note("activated", session=session.number, address=session.address, blocklist=self._blocklist(),
                   claimed_by=None if owner is None else numbers.get(owner, owner), **about)  # fmt: skip
        if not self.trouble.faults[host].no_storage:
            session.wait_for("acked")
        self._collect(session)

    def _deactivate(self, host: int, disk: int) -> None:
        session = self._session_of(host, disk)
        began = time.monotonic()
        try:
            if session is not None:
                session.stop()
                self._collect(session)
            self._disks[disk].command(self._hosts[host], "vdi_deactivate")
        except (ApiError, LabError) as error:
            self.counts["deactivations refused"] += 1
            text = self._plain(f"{error} {error.__cause__ or ''}")
            self._note("refused", op="deactivate", host=host, disk=disk, text=text,
                       seconds=time.monotonic() - began, **self._state())  # fmt: skip
            return
        self._note("ran", op="deactivate", host=host, disk=disk, seconds=round(time.monotonic() - began, 1))
        if session is not None:
            self._close(session, "deactivated")

    def _close(self, session: Session, why: str) -> None:
        self._open.remove(session)
        self._note("ended", session=session.number, why=why)

    # The writers' logs

    def _collect_all(self) -> None:
        for session in self._open:
            faults = self.trouble.faults[session.host]
            if not (faults.off or faults.frozen):
                self._collect(session)

    def _collect(self, session: Session) -> None:
        for line in session.new_lines():
            if "slots" in line:
                self.counts["readings"] += 1
                self._note("read", session=session.number, **line)
            elif "errno" in line:
                session.writes = False
                self.counts["writers cut off"] += line["errno"] is not None
                self._note("writer", session=session.number, blocklist=self._blocklist(), **line)

    # Commands of the master

    def _snapshot(self, step: Step) -> None:
        disk = self._disks[step.disk]
        kept = self._snapshots[step.disk]
        began = time.monotonic()
        try:
            with fist_point(self._master, step.how) if step.how else nullcontext():
                new = disk.snapshot()
        except XeError as error:
            killed = bool(step.how) and _KILLED in str(error)
            self._note_of_master(step, "snapshot", began, None if killed else str(error))
            if killed:
                disk.sr.scan()
            return
        # Only a snapshot of a disk in use pauses it, and can be killed there.
        assert step.how in ("", SNAPSHOT_POINTS[0]), f"{step.how}: the snapshot was not killed"
        self._note_of_master(step, "snapshot", began)
        content = new.export()
        blocks = [content[slot * writer.STRIDE :][: writer.BLOCK] for slot in range(writer.SLOTS)]
        self._note("snapshot", disk=step.disk, snapshot=new.uuid, slots=[writer.slot_of(block) for block in blocks])
        kept.append(new)
        if len(kept) > _SNAPSHOTS:
            kept.pop(0).destroy()

    def _revert(self, step: Step) -> None:
        disk, snapshot = self._disks[step.disk], self._snapshots[step.disk][-1]
        ref = self._lab.xapi.pool.db.by_uuid("VDI", disk.uuid)
        began = time.monotonic()
        text = None
        with fist_point(self._master, "vdi_revert") if step.op == "killed-revert" else nullcontext():
            try:
                snapshot.command(self._master, "vdi_revert", ref)
            except ApiError as error:
                text = f"{error} {error.__cause__ or ''}"
        # The driver has done its part when it can be killed.
        reverted = text is None or _KILLED in text
        self._note_of_master(step, "revert", began, None if reverted else text)
        if reverted:
            self._note("reverted", disk=step.disk, snapshot=snapshot.uuid, blocklist=self._blocklist())

    def _note_of_master(self, step: Step, op: str, began: float, text: str | None = None) -> None:
        about = {"op": op, "disk": step.disk, "how": step.how, "seconds": round(time.monotonic() - began, 1)}
        self.counts[f"{op}s {'done' if text is None else 'refused'}"] += 1
        if text is None:
            self._note("ran", **about)
        else:
            self._note("refused", text=self._plain(text), **about, **self._state())

    # Faults

    def _declare(self, host: int) -> None:
        self.trouble.declare(host)
        self._note("declared", host=host)

    def _power_off(self, host: int) -> None:
        self._collect_all()
        self.trouble.power_off(host)
        for session in [session for session in self._open if session.host == host]:
            self._close(session, "host off")

    def _reboot(self, host: int) -> None:
        self._power_off(host)
        self.trouble.power_on(host)

    # The end

    def _end(self) -> None:
        self.trouble.heal()
        for session in list(self._open):
            self._deactivate(session.host, session.disk)
        for disk in range(len(self._disks)):
            for host in range(len(self._hosts)):
                self._use(host, disk)

    def _use(self, host: int, disk: int) -> None:
        """Activates a disk within a bounded time, writes to it, and deactivates it."""
        began = time.monotonic()
        while True:
            text, _ = self._send(host, disk)
            seconds = round(time.monotonic() - began, 1)
            if text is None or seconds > END_SECONDS:
                break
            time.sleep(1)
        self._note("end", host=host, disk=disk, ok=text is None, seconds=seconds, text=text)
        if text is None:
            self._start_writer(host, disk, {"host": host, "disk": disk, "seconds": seconds})
            self._deactivate(host, disk)


@contextmanager
def history_pool(
    lab: CephRbdLab, hosts: Sequence[GuestDom0], disks: Sequence[Disk], log: Path
) -> Iterator[HistoryPool]:
    """A pool whose faults end in any case."""
    pool = HistoryPool(lab, hosts, disks, log)
    try:
        yield pool
    except BaseException:
        print(pool.tail())
        raise
    finally:
        print(dict(sorted(pool.counts.items())))
        pool.trouble.heal()
