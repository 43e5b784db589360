"""For how long disks were paused, by the times that a simulator of tap-ctl has noted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Pause:
    """The pause of the disks of one snapshot, in seconds.

    seconds   from the start of the first `tap-ctl pause` to the end of the last `tap-ctl unpause`
    tap_ctl   the part of it in which one of these commands ran: it is tapdisk's, or its simulator's
    """

    seconds: float
    tap_ctl: float

    @property
    def driver(self) -> float:
        """The part of SM, XAPI, Ceph and the driver."""
        return self.seconds - self.tap_ctl

    def __str__(self) -> str:
        return f"{self.seconds:.2f} s, of which tap-ctl {self.tap_ctl:.2f} s, the rest {self.driver:.2f} s"


def pause_of(lines: Sequence[str]) -> Pause:
    """The pause of lines "COMMAND MINOR BEGAN ENDED" of one snapshot."""
    times = sorted((float(began), float(ended)) for _, _, began, ended in map(str.split, lines))
    assert {line.split()[0] for line in lines} == {"pause", "unpause"}, lines
    running, until = 0.0, times[0][0]
    for began, ended in times:
        running += max(0.0, ended - max(began, until))
        until = max(until, ended)
    return Pause(until - times[0][0], running)
