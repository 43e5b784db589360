"""The steps of a history, made from a seed alone: the same seed gives the same steps.

The plan tracks the faults in force, because some steps need a host that runs. It does not use the results of
steps.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

HOSTS = 2
DISKS = 2
CLOCK_SECONDS = 2 * 24 * 60 * 60
# The points at which a command of a host dies; the others are commands of the SR's master.
ACTIVATION_POINTS = ("vdi_activate", "vdi_activate_done")
SNAPSHOT_POINTS = ("vdi_snapshot_paused", "vdi_snapshot_taken", "vdi_snapshot")
# How a writing host becomes silent: it stops, XAPI cannot reach it, or it cannot reach the cluster, too.
SILENCES = ("freeze", "cut", "cut-both")


@dataclass(frozen=True)
class Step:
    """One step. `host` and `disk` are numbers; which of the others count depends on `op`.

    how      the fist point of a killed command. take-over: how the host becomes silent.
    flag     freeze: XAPI misses the host's heartbeats at once. interrupt: the host is declared dead meanwhile.
    amount   clock: seconds ahead. wait: seconds. interrupt: seconds until the host freezes.
    """

    op: str
    host: int = 0
    disk: int = 0
    how: str = ""
    flag: bool = False
    amount: float = 0.0


@dataclass
class Faults:
    """The current faults of a host."""

    off: bool = False
    frozen: bool = False
    missed: bool = False
    cut: bool = False
    no_storage: bool = False
    dead: bool = False

    @property
    def replies(self) -> bool:
        """Whether XAPI can have a command run there."""
        return not (self.off or self.frozen or self.cut)

    @property
    def works(self) -> bool:
        """Whether a command there can succeed."""
        return self.replies and not self.no_storage


class Planner:
    """Chooses one step after the other."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._hosts = [Faults() for _ in range(HOSTS)]
        # The host that should have each disk, by the plan.
        self._holders: list[int | None] = [None] * DISKS

    def step(self) -> Step:
        while True:
            ops = list(_WEIGHTS)
            (op,) = self._random.choices(ops, [_WEIGHTS[name] for name in ops])
            made = _MAKERS.get(op, Planner._event)(self, op)
            if made is not None:
                return made

    # Commands

    def _command(self, op: str) -> Step | None:
        host, disk = self._random.randrange(HOSTS), self._random.randrange(DISKS)
        if not self._hosts[host].replies:
            return None
        holder = self._holders[disk]
        if holder is not None and self._hosts[holder].works and self._random.random() < 0.6:
            return None  # it would be refused; other steps test that often enough
        how = self._random.choice(ACTIVATION_POINTS) if op == "killed" else ""
        if not how and (holder is None or self._hosts[holder].dead) and self._hosts[host].works:
            self._holders[disk] = host
        return Step(op, host, disk, how)

    def _deactivate(self, op: str) -> Step | None:
        disk = self._random.randrange(DISKS)
        host = self._holders[disk]
        if host is None or self._random.random() < 0.1:
            host = self._random.randrange(HOSTS)
        if not self._hosts[host].works:
            return None
        if host == self._holders[disk]:
            self._holders[disk] = None
        return Step(op, host, disk)

    def _race(self, op: str) -> Step | None:
        return Step(op, disk=self._random.randrange(DISKS)) if all(h.works for h in self._hosts) else None

    def _take_over(self, op: str) -> Step | None:
        if not all(host.works for host in self._hosts):
            return None
        host, disk = self._random.randrange(HOSTS), self._random.randrange(DISKS)
        self._holders[disk] = 1 - host
        return Step(op, host, disk, self._random.choice(SILENCES))

    def _interrupt(self, op: str) -> Step | None:
        if not all(host.works for host in self._hosts):
            return None
        host, declared = self._random.randrange(HOSTS), self._random.random() < 0.7
        delay = round(self._random.uniform(0.1, 4.0), 1)
        return Step(op, host, self._random.randrange(DISKS), flag=declared, amount=delay)

    def _by_master(self, op: str) -> Step | None:
        """A command of the master, which asks hosts: a host that hangs would delay it for minutes."""
        if any(host.frozen and not host.missed for host in self._hosts):
            return None
        how = self._random.choice(SNAPSHOT_POINTS) if op == "killed-snapshot" else ""
        if how and any(not host.works for host in self._hosts):
            return None
        return Step(op, disk=self._random.randrange(DISKS), how=how)

    # Faults and their end

    def _event(self, op: str) -> Step | None:
        number = self._random.randrange(HOSTS)
        host = self._hosts[number]
        if not _POSSIBLE[op](host):
            return None
        flag, amount = False, 0.0
        if op == "freeze":
            host.frozen, host.missed = True, self._random.random() < 0.8
            flag = host.missed
        elif op == "thaw":
            host.frozen = host.missed = host.dead = False
        elif op == "cut":
            host.cut = True
        elif op == "join":
            host.cut = host.dead = False
        elif op == "cut-storage":
            host.no_storage = True
        elif op == "join-storage":
            host.no_storage = False
        elif op == "declare":
            host.dead = True
        elif op == "power-off":
            self._hosts[number] = Faults(off=True)
        elif op in ("power-on", "reboot"):
            self._hosts[number] = Faults()
            self._holders = [None if holder == number else holder for holder in self._holders]
        elif op == "clock":
            amount = float(self._random.randint(-CLOCK_SECONDS, CLOCK_SECONDS))
        elif op == "wait":
            amount = float(self._random.randint(2, 10))
        return Step(op, number, flag=flag, amount=amount)


_WEIGHTS = {
    "activate": 26, "deactivate": 20, "killed": 7, "race": 10, "interrupt": 9, "take-over": 16, "snapshot": 4,
    "killed-snapshot": 4, "revert": 4, "killed-revert": 2, "freeze": 7, "thaw": 18, "cut": 5, "join": 16,
    "cut-storage": 4, "join-storage": 22, "declare": 14, "power-off": 2, "power-on": 30, "reboot": 2, "clock": 5,
    "wait": 3,
}  # fmt: skip

_MAKERS: dict[str, Callable[[Planner, str], Step | None]] = {
    "activate": Planner._command,
    "killed": Planner._command,
    "deactivate": Planner._deactivate,
    "race": Planner._race,
    "interrupt": Planner._interrupt,
    "take-over": Planner._take_over,
    "snapshot": Planner._by_master,
    "killed-snapshot": Planner._by_master,
    "revert": Planner._by_master,
    "killed-revert": Planner._by_master,
}

_POSSIBLE: dict[str, Callable[[Faults], bool]] = {
    "freeze": lambda host: not (host.off or host.frozen),
    "thaw": lambda host: host.frozen,
    "cut": lambda host: host.replies,
    "join": lambda host: host.cut and not host.frozen,
    "cut-storage": lambda host: not (host.off or host.frozen or host.no_storage),
    "join-storage": lambda host: host.no_storage and not host.frozen,
    # xapi refuses to declare a host dead that it reaches.
    "declare": lambda host: not host.replies and not host.dead,
    "power-off": lambda host: not host.off,
    "power-on": lambda host: host.off,
    "reboot": lambda host: host.replies,
    "clock": lambda host: not (host.off or host.frozen),
    "wait": lambda host: True,
}


def plan(seed: int, steps: int) -> list[Step]:
    """The first steps of a seed's history."""
    planner = Planner(seed)
    return [planner.step() for _ in range(steps)]
