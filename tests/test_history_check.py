"""The judge of histories: a good history passes, and for each rule a bad one fails."""

from __future__ import annotations

from typing import Any

import pytest

from tests.history import writer
from tests.history.check import END_SECONDS, violations
from tests.history.plan import CLOCK_SECONDS, plan
from tests.history.writer import SLOTS

Event = dict[str, Any]
A, B = "127.0.0.1:0/1", "127.0.0.1:0/2"
WELL = {"off": False, "frozen": False, "missed": False, "cut": False, "no_storage": False, "dead": False}
FROZEN = WELL | {"frozen": True}
IN_USE = "host 0 has claimed it for writing since then. The host runs and uses the disk: unplug it there"
SILENT = "host 0 has claimed it for writing since then. The host cannot be reached, and it was not declared dead"


def activated(session: int, host: int, address: str, blocklist: tuple[str, ...] = (), **fields: Any) -> Event:
    return {
        "event": "activated", "session": session, "host": host, "disk": 0, "address": address, "claimed_by": host,
        "blocklist": list(blocklist), **fields,
    }  # fmt: skip


def read(session: int, acked: int = 0, **slots: tuple[int, int]) -> Event:
    """The event of a session's read, with its number of written blocks; slots that are not given are empty."""
    content = [slots.get(f"s{slot}", (0, 0)) for slot in range(SLOTS)]
    return {"event": "read", "session": session, "acked": acked, "slots": content}


def stopped(session: int, acked: int, errno: int | None = None, blocklist: tuple[str, ...] = ()) -> Event:
    error = None if errno is None else f"OSError({errno})"
    return {"event": "writer", "session": session, "acked": acked, "error": error, "errno": errno,
            "blocklist": list(blocklist)}  # fmt: skip


def ended(session: int) -> Event:
    return {"event": "ended", "session": session, "why": "deactivated"}


def refused(text: str, faults: tuple[Event, Event] = (WELL, WELL), **fields: Any) -> Event:
    return {"event": "refused", "op": "activate", "host": 1, "disk": 0, "seconds": 1.0, "blocklist": [],
            "text": text, "faults": list(faults), **fields}  # fmt: skip


def took_over(*, blocklist: tuple[str, ...] = (A,), **found: tuple[int, int]) -> list[Event]:
    """The first host writes two blocks, freezes and is declared dead; the other one gets the disk, and reads it."""
    return [
        activated(1, 0, A),
        read(1),
        read(1, 2, s1=(1, 1), s2=(1, 2)),
        {"event": "declared", "host": 0},
        activated(2, 1, B, blocklist),
        read(2, 0, **found),
    ]


def snapshotted() -> list[Event]:
    """A disk whose snapshot has one block; two more were written, and the disk is not plugged."""
    slots = [(0, 0), (1, 1)] + [(0, 0)] * (SLOTS - 2)
    return [
        activated(1, 0, A),
        read(1),
        {"event": "snapshot", "disk": 0, "snapshot": "S", "slots": slots},
        stopped(1, 2),
    ]


REVERTED = {"event": "reverted", "disk": 0, "snapshot": "S", "blocklist": []}
TOOK_OVER = took_over(s1=(1, 1), s2=(1, 2))

GOOD = {
    "a disk changes hosts": [
        activated(1, 0, A), read(1), stopped(1, 1), ended(1),
        activated(2, 1, B), read(2, s1=(1, 1)), read(2, 33, s0=(2, 32), s1=(2, 33), **{
            f"s{slot}": (2, slot) for slot in range(2, SLOTS)}),
    ],
    "a write under way at the freeze arrived before the disk was read": took_over(
        s1=(1, 1), s2=(1, 2), s3=(1, 3)),
    "a dead host is cut off": [*TOOK_OVER, stopped(1, 2, 108, (A,)), read(2, 1, s1=(2, 1), s2=(1, 2))],
    "a refusal is true": [activated(1, 0, A), refused(IN_USE), refused(SILENT, (FROZEN, WELL))],
    "a snapshot that failed keeps a disk from a revert while its host is silent": [
        activated(1, 0, A),
        refused("tapdisk-pause did not unpause VDI", (FROZEN, WELL), op="revert", host=None)],
    "a disk is reverted": [*snapshotted(), ended(1), REVERTED, activated(2, 1, B), read(2, s1=(1, 1))],
    "a host reports that it was cut off": [
        *TOOK_OVER, refused(f"its kernel client {A} is on the cluster's blocklist", host=0, blocklist=[A])],
}  # fmt: skip

BAD = {
    "two hosts are accepted": ("more than one writer", [activated(1, 0, A), activated(2, 1, B, claimed_by=1)]),
    "a dead host is not cut off": ("more than one writer", took_over(blocklist=(), s1=(1, 1), s2=(1, 2))),
    "a writer has no claim": ("which host None has claimed", [activated(1, 0, A, claimed_by=None)]),
    "a write arrives after the next host has read": (
        "another's block became visible", [*TOOK_OVER, read(2, 0, s1=(1, 1), s2=(1, 2), s3=(1, 3))]),
    "a write arrives later still": (
        "a block of a former writer is there",
        [*TOOK_OVER, stopped(2, 0), ended(2), activated(3, 1, "C", (A,)), read(3, s1=(1, 1), s2=(1, 2), s3=(1, 3))]),
    "an acknowledged block is lost": ("an acknowledged block is lost", took_over(s1=(1, 1))),
    "a writer's own block is lost": ("its own block is lost", [
        activated(1, 0, A), read(1), read(1, 33, s1=(1, 1), **{f"s{slot}": (1, slot or 32) for slot in range(SLOTS)
                                                               if slot != 1})]),
    "a writer fails that was not cut off": (
        "not on the blocklist", [activated(1, 0, A), read(1), stopped(1, 0, 5)]),
    "a block is torn": ("torn", [
        activated(1, 0, A), stopped(1, 0) | {"error": "ValueError('a torn block')", "errno": None}]),
    "a host that uses nothing is blamed": ("without a true reason", [refused(IN_USE)]),
    "a host that replies is called silent": ("without a true reason", [activated(1, 0, A), refused(SILENT)]),
    "a host that was declared dead is called silent": ("without a true reason", [
        activated(1, 0, A), {"event": "declared", "host": 0}, refused(SILENT, (FROZEN, WELL))]),
    "a refusal gives no reason": ("without a true reason", [refused("Connection timed out")]),
    "a host that was not cut off is taken for a stranger": (
        "without a true reason", [
            activated(1, 0, A), {"event": "declared", "host": 0},
            refused(f"already mapped by another host's kernel ({A}), outside smblock", (FROZEN, WELL))]),
    "a deactivation fails": ("without a true reason", [activated(1, 1, A), refused("locked", op="deactivate")]),
    "a disk is reverted under its writer": ("was reverted under session 1", [*snapshotted(), REVERTED]),
    "a reverted disk holds what it held before": (
        "disk 0, slot 2: a block of a former writer is there",
        [*snapshotted(), ended(1), REVERTED, activated(2, 1, B), read(2, s1=(1, 1), s2=(1, 2))]),
    "a command hangs": ("took 500 s", [{"event": "ran", "op": "deactivate", "host": 0, "seconds": 500.0}]),
    "a disk is lost": ("cannot be activated", [
        {"event": "end", "host": 0, "disk": 0, "ok": False, "seconds": END_SECONDS, "text": IN_USE}]),
    "a disk comes back late": ("after the faults had ended", [
        {"event": "end", "host": 0, "disk": 0, "ok": True, "seconds": END_SECONDS + 1, "text": None}]),
}  # fmt: skip


@pytest.mark.parametrize("history", GOOD.values(), ids=GOOD)
def test_the_judge_passes_a_history_without_faults(history: list[Event]) -> None:
    assert violations(history) == []


@pytest.mark.parametrize(("complaint", "history"), BAD.values(), ids=BAD)
def test_the_judge_finds_the_fault_of_a_history(complaint: str, history: list[Event]) -> None:
    (violation,) = violations(history)
    assert complaint in violation


def test_a_seed_gives_the_same_steps_each_time() -> None:
    assert plan(7, 100) == plan(7, 200)[:100]
    assert plan(7, 100) != plan(8, 100)


def test_a_history_of_200_steps_has_every_kind_of_step() -> None:
    for seed in range(20):
        steps = plan(seed, 200)
        assert len({step.op for step in steps}) >= 19, seed
        assert all(abs(step.amount) <= CLOCK_SECONDS for step in steps)


def test_a_block_names_its_writer() -> None:
    assert writer.slot_of(bytes(writer.BLOCK)) == (0, 0)
    assert writer.slot_of(writer.block_of(3, 12)) == (3, 12)
    torn = writer.block_of(3, 12)[:512] + writer.block_of(4, 1)[512:]
    with pytest.raises(ValueError, match="torn"):
        writer.slot_of(torn)
