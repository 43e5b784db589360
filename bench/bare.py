"""The limit of each operation: a program that makes the driver's calls of librados and librbd, and does nothing else.

Its source is in `limit`, the calls of each operation are in `steps.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.sides import DEADLINE, Access, Driver
from bench.steps import Image, Snapshot, Steps
from lab import LabError, run
from lab.wheel import REPOSITORY

SOURCES = Path(__file__).with_name("limit")
_BUILT = REPOSITORY / "target" / "bench" / "limit"
# Seconds for each of several processes to read its steps.
_START_SECONDS = 0.05


@dataclass(frozen=True)
class Run:
    """A run of the program.  Times in seconds; `began` by this machine's monotonic clock.

    seconds      from opening librados to the closed connection; the next four are parts of it
    libraries    opening librados and librbd
    connecting   until the pool is open
    calls        the steps
    closing      the connection
    again        the part of `calls` after the step `again`
    made         how often each function was called
    """

    began: float
    seconds: float
    libraries: float
    connecting: float
    calls: float
    again: float
    closing: float
    made: dict[str, int]


def build() -> Path:
    """Build the program, if its sources are newer. Returns its path."""
    sources = sorted(SOURCES.glob("*.[ch]"))
    newest = max(source.stat().st_mtime for source in sources)
    if not (_BUILT.exists() and _BUILT.stat().st_mtime > newest):
        _BUILT.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_BUILT.parent) as directory:
            program = Path(directory) / "limit"
            files = [str(source) for source in sources if source.suffix == ".c"]
            run(["cc", "-O2", "-pthread", "-o", str(program), *files, "-ldl"], timeout=120)
            program.rename(_BUILT)
    return _BUILT


@dataclass(frozen=True)
class Bare:
    """The program in a pool, with disks that `driver` makes in an SR of their own.

    record     a VDI's record in the catalogue of that SR
    named      the image of that name
    """

    program: Path
    access: Access
    driver: Driver
    record: Callable[[str], dict[str, Any]]
    named: Callable[[str], Image]

    @property
    def steps(self) -> Steps:
        return self.steps_in(self.driver.sr)

    def steps_in(self, sr: str) -> Steps:
        """The steps of operations in an SR."""
        return Steps(sr, self.access.pool, self.access.data_pool or self.access.pool)

    def image(self, vdi: str) -> Image:
        """The image of a VDI."""
        image = self.record(vdi)["volume"]["image"]
        return Image(image["name"], image["id"])

    def snapshot(self, vdi: str) -> Snapshot:
        """The snapshot that is a VDI."""
        snapshot = self.record(vdi)["volume"]["snapshot"]
        return Snapshot(self.image(vdi), snapshot["name"], snapshot["id"])

    def base(self, vdi: str) -> Snapshot:
        """The snapshot from which a disk is cloned."""
        base = self.record(vdi)["base"]
        return Snapshot(self.image(vdi), base["name"], base["id"])

    def run(self, steps: Sequence[str], start_at: float = 0.0) -> Run:
        """Make the calls of the steps. `start_at`: a time of the monotonic clock."""
        access = self.access
        argv = [self.program, access.conf, access.user, access.keyring, access.pool, start_at]
        # As for the driver: no options by variables.
        environment = {"PATH": os.defpath}
        text = "\n".join([*steps, ""])
        done = subprocess.run(
            [str(word) for word in argv],
            env=environment, input=text, capture_output=True, text=True, timeout=DEADLINE, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise LabError(f"the program with the limit failed ({done.returncode}): {done.stderr}; its steps: {steps}")
        return Run(**json.loads(done.stdout))

    def run_at_once(self, several: Sequence[Sequence[str]]) -> float:
        """Seconds from the start of the first of several programs to the end of the last."""
        moment = time.monotonic() + _START_SECONDS * len(several)
        with ThreadPoolExecutor(len(several)) as threads:
            runs = list(threads.map(lambda steps: self.run(steps, moment), several))
        return max(each.began + each.seconds for each in runs) - min(each.began for each in runs)
