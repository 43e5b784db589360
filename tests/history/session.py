"""A writer on a host of a history: from the activation of its disk to the deactivation, or the host's end."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import LabError
from lab.disk import Disk
from lab.dom0 import GuestDom0
from tests.history import writer

_DIRECTORY = "/run/history"
_WRITER = f"{_DIRECTORY}/writer.py"
# Seconds for a writer to start, to read its disk for the first time, and to end.
_SECONDS = 120


@dataclass
class Session:
    """The host and the disk by their numbers, and how much of the writer's log has been read."""

    number: int
    host: int
    disk: int
    dom0: GuestDom0
    address: str = ""
    writes: bool = True
    _seen: int = 0

    @property
    def _log(self) -> str:
        return f"{_DIRECTORY}/{self.number}"

    def start(self, vdi: Disk) -> None:
        """Start the writer, and read the address of the kernel's client."""
        sr = vdi.sr.uuid
        self.dom0.put(_WRITER, Path(writer.__file__).read_bytes())
        words = [str(self.number), sr, vdi.uuid, f"smblock.{sr}.{vdi.uuid}.", self._log]
        start = f"setsid python3 {_WRITER} {' '.join(words)} </dev/null >{self._log}.out 2>&1 &"
        self.dom0.exec(["sh", "-c", start]).check()
        try:
            self.wait_for("address")
        except LabError as error:
            raise LabError(f"{error}; {self.dom0.get(self._log + '.out').decode()}") from error
        self.address = json.loads(self.dom0.get(self._log).decode().splitlines()[0])["address"]

    def wait_for(self, word: str) -> None:
        """Wait for a line with that key in the writer's log."""
        look = f"for i in $(seq {_SECONDS * 5}); do grep -q '\"{word}\"' {self._log} && exit; sleep 0.2; done; exit 1"
        if self.dom0.exec(["sh", "-c", look], timeout=_SECONDS + 60).returncode != 0:
            raise LabError(f"session {self.number}: its writer has not logged {word} in {_SECONDS} s")

    def stop(self) -> None:
        """Let the writer end, unless it has ended already."""
        self.dom0.put(f"{self._log}.stop", b"")
        self.wait_for("errno")

    def new_lines(self) -> list[dict[str, Any]]:
        """The new lines of the writer's log."""
        new = self.dom0.exec(["tail", "-c", f"+{self._seen + 1}", self._log]).check()
        new = new[: new.rfind(b"\n") + 1]
        self._seen += len(new)
        return [json.loads(line) for line in new.splitlines()]
