"""The daemons of a cluster of the lab: their keys, their start, and signals to them."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from pathlib import Path

from lab import LabError, keeper, run

_DEADLINE = 30.0

_CAPS = {
    "mgr.x": {"mon": "allow profile mgr", "osd": "allow *", "mds": "allow *"},
    "osd": {"mon": "allow profile osd", "mgr": "allow profile osd", "osd": "allow *"},
}


class Daemons:
    """The daemons of the cluster whose files are in `directory`, and whose configuration is `conf`."""

    def __init__(self, directory: Path, conf: Path) -> None:
        self._directory = directory
        self._conf = conf

    def make_monitors(self, fsid: str, addresses: Mapping[str, str], osds: int) -> None:
        """Make the monitors' first state, with the keys of all daemons. `addresses`: those of each monitor, by name."""
        # All keys go into the monitors' first keyring: it saves an `auth add` per daemon.
        every = {"mon": "allow *", "osd": "allow *", "mgr": "allow *"}
        users = {"mon.": {"mon": "allow *"}, "client.admin": every, "mgr.x": _CAPS["mgr.x"]}
        users.update({f"osd.{number}": _CAPS["osd"] for number in range(osds)})
        first = self._directory / "mon.keyring"
        for name, caps in users.items():
            own = self._directory / ("mon.a.keyring" if name == "mon." else f"{name}.keyring")
            words = [word for service, cap in caps.items() for word in ("--cap", service, cap)]
            run(
                ["ceph-authtool", "--create-keyring", own, "--gen-key", "--name", name, *words],
                timeout=_DEADLINE,
            )
            with first.open("ab") as keyring:
                keyring.write(own.read_bytes())
        monmap = self._directory / "monmap"
        words = [word for name, every_address in addresses.items() for word in ("--addv", name, every_address)]
        run(["monmaptool", "--create", "--fsid", fsid, *words, monmap], timeout=_DEADLINE)
        for name in addresses:
            (self._directory / "mon" / name).mkdir()
            (self._directory / f"mon.{name}.keyring").write_bytes((self._directory / "mon.a.keyring").read_bytes())
            self.start("ceph-mon", name, "--mkfs", "--monmap", str(monmap), "--keyring", str(first))

    def start(self, program: str, name: str, *args: str) -> None:
        """Run a daemon. It detaches itself when it accepts connections."""
        # In /, as with systemd: the OSD of Debian 13 looks for its classes in lib/x86_64-linux-gnu, a relative path.
        run([program, "--conf", self._conf, "--id", name, *args], timeout=_DEADLINE, cwd="/")

    def send(self, daemon: str, number: signal.Signals) -> None:
        """Send a signal to a daemon, `mon.a`. Returns when it has ended, if the signal is SIGKILL."""
        pid = int((self._directory / "run" / f"{daemon}.pid").read_text())
        if not keeper.kill(pid, str(self._conf), number):
            raise LabError(f"{daemon} of {self._directory}: process {pid} is not running")
        end = time.monotonic() + 5
        while number == signal.SIGKILL and pid in keeper.processes_naming(str(self._conf)):
            if time.monotonic() > end:
                raise LabError(f"{daemon} of {self._directory}: process {pid} outlived SIGKILL by 5 s")
            time.sleep(0.01)
