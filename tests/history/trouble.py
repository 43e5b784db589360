"""The faults of the hosts of a history, and their end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack

from lab.cephrbd import CephRbdLab
from lab.dom0 import GuestDom0
from tests.history.plan import Faults


class Trouble:
    """The faults in force on each host, by its number."""

    def __init__(self, lab: CephRbdLab, hosts: Sequence[GuestDom0]) -> None:
        self._lab = lab
        self._hosts = hosts
        self._cuts = [ExitStack() for _ in hosts]
        self.faults = [Faults() for _ in hosts]

    def freeze(self, host: int, missed: bool) -> None:
        """Freeze the host. `missed`: its heartbeats have been missing for long, too."""
        self._hosts[host].freeze()
        if missed:
            self._lab.miss_heartbeats(self._hosts[host])
        self.faults[host].frozen, self.faults[host].missed = True, missed

    def thaw(self, host: int) -> None:
        self._hosts[host].thaw()
        self.faults[host].frozen = False
        self._returned(host)

    def cut(self, host: int) -> None:
        """Cut the management network: the host and XAPI cannot reach each other."""
        self._cuts[host].enter_context(self._lab.cut_off(self._hosts[host]))
        self.faults[host].cut = True

    def join(self, host: int) -> None:
        self._cuts[host].close()
        self.faults[host].cut = False
        self._returned(host)

    def cut_storage(self, host: int) -> None:
        """Cut the storage network: the host cannot reach the cluster."""
        self._route(host, "add")
        self.faults[host].no_storage = True

    def join_storage(self, host: int) -> None:
        self._route(host, "del")
        self.faults[host].no_storage = False

    def declare(self, host: int) -> None:
        self._lab.xe("host-declare-dead", f"uuid={self._hosts[host].uuid}")
        self.faults[host].dead = True

    def power_off(self, host: int) -> None:
        self._hosts[host].kill()
        self._cuts[host].close()
        self.faults[host] = Faults(off=True)

    def power_on(self, host: int) -> None:
        self._lab.power_on(self._hosts[host])
        self.faults[host] = Faults()

    def set_clock(self, host: int, ahead: float) -> None:
        self._hosts[host].exec(["date", "-s", f"@{int(time.time() + ahead)}"]).check()

    def heal(self) -> None:
        """End every fault."""
        for number, host in enumerate(self._hosts):
            if not host.is_running:
                self.power_on(number)
                continue
            self.thaw(number)
            if self.faults[number].cut:
                self.join(number)
            if self.faults[number].no_storage:
                self.join_storage(number)
            self.set_clock(number, 0)

    def _returned(self, host: int) -> None:
        """XAPI gets heartbeats of the host again."""
        if not self.faults[host].cut:
            self._lab.xapi.liveness.returned(self._lab.ref(self._hosts[host]))
            self.faults[host].missed = self.faults[host].dead = False

    def _route(self, host: int, change: str) -> None:
        """Change a route in the table that is read first, which has those of the lab's servers."""
        argv = ["ip", "route", change, "blackhole", f"{self._lab.ceph.address}/32", "table", "local"]
        self._hosts[host].exec(argv).check()
