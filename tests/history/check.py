"""The rules for a history, checked on its record.

A history is a list of events, each a dict with `event` and, as far as they apply, `host` and `disk` (numbers):

    activated   session, address, claimed_by (a number or None), blocklist; during: beside other steps
    refused     op, text, seconds, blocklist, faults (a dict for each host); during: its faults changed meanwhile
    ran         op, seconds: a command that was neither refused nor an activation; and one that was killed
    read        session, slots, acked: the session's writer has read its disk
    writer      session, acked, blocklist: its writer has ended; error and errno, or None
    ended       session: deactivated, or its host is off
    snapshot    snapshot, slots: the content of a new one
    reverted    snapshot, blocklist
    declared    the host was declared dead
    end         ok, seconds, text: an activation after the faults had ended
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.history.writer import SLOTS

Event = dict[str, Any]
Slot = tuple[int, int]
EMPTY: Slot = (0, 0)
# Seconds that one command may take on a busy emulated processor.
COMMAND_SECONDS = 300.0
END_SECONDS = 240.0

_HOST = r"host (?P<host>[0-9])\b"
_IN_USE = re.compile(rf"{_HOST} has claimed it for writing .*The host runs and uses the disk|"
                     r"is in use on host [^(]*\((?P<tagged>[0-9])\)")  # fmt: skip
_SILENT = re.compile(rf"{_HOST} has claimed it for writing .*cannot be reached|"
                     r"may be in use on host [^(]*\((?P<tagged>[0-9])\), which does not reply")  # fmt: skip
_UNASKED = re.compile(rf"asking {_HOST}")
_CUT_OFF = re.compile(r"its kernel client (?P<address>\S+) is on the cluster's blocklist")
_PAUSE = re.compile(r"did not (pause|unpause|resume) VDI")
_NO_REPLY = re.compile(r"HOST_OFFLINE|CANNOT_CONTACT_HOST")


@dataclass
class Session:
    """A writer that was accepted."""

    number: int
    host: int
    disk: int
    address: str
    ended: bool = False
    first: list[Slot] | None = None
    acked: int = 0

    def newest(self, slot: int, acked: int) -> int:
        """The number of its newest acknowledged block in a slot; 0 if there is none."""
        newest = acked - (acked - slot) % SLOTS
        return max(newest, 0)


@dataclass
class Content:
    """The content of a disk when a new writer first read it, and the sessions that may have written since."""

    known: list[Slot] = field(default_factory=lambda: [EMPTY] * SLOTS)
    writers: list[Session] = field(default_factory=list)

    def wrong(self, slots: Sequence[Slot]) -> Iterator[str]:
        for slot, value in enumerate(slots):
            floor, rank = self.known[slot], -1
            for number, writer in enumerate(self.writers):
                if newest := writer.newest(slot, writer.acked):
                    floor, rank = (writer.number, newest), number
            found = [number for number, writer in enumerate(self.writers) if writer.number == value[0]]
            if found and (found[0] > rank or (found[0] == rank and value[1] >= floor[1])):
                continue
            if value == floor:
                continue
            stale = bool(found) or value == self.known[slot]
            what = "an acknowledged block is lost" if stale else "a block of a former writer is there"
            yield f"slot {slot}: {what}: {value}, not {floor} or a later one"


class Checker:
    """Goes through a history once, after the acknowledged blocks of all writers were collected."""

    def __init__(self, history: Sequence[Event]) -> None:
        self._history = history
        self._sessions: dict[int, Session] = {}
        self._contents: dict[int, Content] = {}
        self._snapshots: dict[Any, list[Slot]] = {}
        # Hosts that were declared dead, and have run no command since.
        self._dead: set[int] = set()
        self._acked: dict[int, int] = {}
        for event in history:
            if "acked" in event:
                number = event["session"]
                self._acked[number] = max(self._acked.get(number, 0), event["acked"])

    def violations(self) -> Iterator[str]:
        rules: dict[str, Callable[[Event], Iterator[str]]] = {
            "activated": self._activated,
            "refused": self._refused,
            "ran": self._ran,
            "read": self._read,
            "writer": self._writer,
            "ended": self._ended,
            "snapshot": self._snapshot,
            "reverted": self._reverted,
            "declared": self._declared,
            "end": self._end,
        }
        for number, event in enumerate(self._history):
            rule = rules.get(event["event"])
            if rule is not None:
                for violation in rule(event):
                    yield f"event {number} ({event['event']}): {violation}"
            if "host" in event and event["event"] in ("activated", "refused", "ran"):
                self._dead.discard(event["host"])

    def _accepted(self, disk: int, blocklist: Sequence[str]) -> list[Session]:
        """The sessions of a disk whose writes the cluster applies."""
        mine = (session for session in self._sessions.values() if session.disk == disk and not session.ended)
        return [session for session in mine if session.address not in blocklist]

    def _activated(self, event: Event) -> Iterator[str]:
        number, host, disk = event["session"], event["host"], event["disk"]
        session = Session(number, host, disk, event["address"], acked=self._acked.get(number, 0))
        self._sessions[number] = session
        accepted = self._accepted(disk, event["blocklist"])
        if len(accepted) > 1:
            who = ", ".join(f"host {other.host} as session {other.number}" for other in accepted)
            yield f"disk {disk} has more than one writer: {who}"
        if not event.get("during") and event["claimed_by"] != host:
            yield f"host {host} writes to disk {disk}, which host {event['claimed_by']} has claimed"

    def _read(self, event: Event) -> Iterator[str]:
        session = self._sessions[event["session"]]
        slots = [(int(writer), int(number)) for writer, number in event["slots"]]
        if session.first is None:
            session.first = slots
            content = self._contents.setdefault(session.disk, Content())
            yield from (f"session {session.number}, disk {session.disk}, {wrong}" for wrong in content.wrong(slots))
            self._contents[session.disk] = Content(slots, [session])
            return
        for slot, value in enumerate(slots):
            own = session.newest(slot, event["acked"])
            expected = (session.number, own) if own else session.first[slot]
            if value != expected:
                what = "its own block is lost" if value[0] == session.number else "another's block became visible"
                yield f"session {session.number}, disk {session.disk}, slot {slot}: {what}: {value}, not {expected}"

    def _writer(self, event: Event) -> Iterator[str]:
        session = self._sessions[event["session"]]
        if event["error"] is None:
            return
        if event["errno"] is None:
            yield f"session {session.number}, disk {session.disk}: {event['error']}"
        elif session.address not in event["blocklist"]:
            yield f"session {session.number} failed ({event['error']}), and its client is not on the blocklist"

    def _ended(self, event: Event) -> Iterator[str]:
        self._sessions[event["session"]].ended = True
        yield from ()

    def _snapshot(self, event: Event) -> Iterator[str]:
        self._snapshots[event["snapshot"]] = [(int(writer), int(number)) for writer, number in event["slots"]]
        yield from ()

    def _reverted(self, event: Event) -> Iterator[str]:
        for session in self._accepted(event["disk"], event["blocklist"]):
            yield f"disk {event['disk']} was reverted under session {session.number} of host {session.host}"
        self._contents[event["disk"]] = Content(list(self._snapshots[event["snapshot"]]))

    def _declared(self, event: Event) -> Iterator[str]:
        self._dead.add(event["host"])
        yield from ()

    def _ran(self, event: Event) -> Iterator[str]:
        if event["seconds"] > COMMAND_SECONDS:
            yield f"{event['op']} took {event['seconds']:.0f} s"

    def _refused(self, event: Event) -> Iterator[str]:
        yield from self._ran(event)
        if not event.get("during") and not self._is_true(event):
            where = f"disk {event.get('disk')} on host {event.get('host')}"
            yield f"{event['op']} of {where} is refused without a true reason: {event['text']}"

    def _is_true(self, event: Event) -> bool:
        """Whether the reason of a refusal was true at that moment."""
        text, faults, own = event["text"], event["faults"], event.get("host")
        if own is not None and (_silent(faults[own]) or faults[own]["no_storage"]):
            return bool(_NO_REPLY.search(text)) or faults[own]["no_storage"]
        if event["op"] == "snapshot" or _PAUSE.search(text):  # it may need a reply of each host that has the disk open
            return any(_silent(host) or host["no_storage"] for host in faults)
        if found := _IN_USE.search(text):
            holder = int(found["host"] or found["tagged"])
            return self._has_open(holder, event["disk"]) and not _silent(faults[holder])
        if found := _SILENT.search(text):
            holder = int(found["host"] or found["tagged"])
            silent = _silent(faults[holder]) or faults[holder]["no_storage"]
            return silent and holder not in self._dead
        if found := _UNASKED.search(text):
            return bool(faults[int(found["host"])]["no_storage"])
        if found := _CUT_OFF.search(text):
            return own is not None and found["address"] in event["blocklist"] and self._has_open(own, event["disk"])
        return False  # such as a kernel that has mapped the image outside smblock: none has

    def _has_open(self, host: int, disk: int) -> bool:
        return any((s.host, s.disk, s.ended) == (host, disk, False) for s in self._sessions.values())

    def _end(self, event: Event) -> Iterator[str]:
        where = f"disk {event['disk']} on host {event['host']}"
        if not event["ok"]:
            yield f"{where} cannot be activated after the faults have ended: {event['text']}"
        elif event["seconds"] > END_SECONDS:
            yield f"{where} was activated only {event['seconds']:.0f} s after the faults had ended"


def _silent(host: dict[str, bool]) -> bool:
    """Whether XAPI cannot ask a host."""
    return host["off"] or host["frozen"] or host["missed"] or host["cut"]


def violations(history: Sequence[Event]) -> list[str]:
    """The violations of the rules in a history."""
    return list(Checker(history).violations())
