"""What the demos and the shell share: a pool of hosts, and commands that are printed with their times."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lab import LabError
from lab.dom0 import Dom0, GuestDom0
from lab.sm_source import sm_source
from lab.tree import SM_DIR, stage_sm
from lab.wheel import REPOSITORY, built_wheel
from lab.xapi.lab_pool import LabPool, Tree, XeError

FILE = "/mnt/letter"


class DemoFailed(Exception):
    """What was shown is not what was promised."""


class Session:
    """A pool of hosts, after `open_pool`, and the commands that are run there."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self.stack = stack
        self.started = time.monotonic()
        self.pool: LabPool

    def part(self, name: str) -> Path:
        """A new directory."""
        part = self.directory / name
        part.mkdir()
        return part

    def install(self) -> tuple[Path, Path]:
        """SM's tree, and the root that install.sh makes."""
        installed = self.part("installed")
        wheel = built_wheel()
        with self.timed(f"./install.sh --root … --wheel {wheel.name}"):
            install = [str(REPOSITORY / "install.sh"), "--root", str(installed), "--wheel", str(wheel)]
            subprocess.run(install, check=True, capture_output=True)
            return stage_sm(sm_source(), self.part("sm")), installed

    def start(self, names: Sequence[str]) -> list[GuestDom0]:
        """Start hosts that have a kernel of their own."""
        hosts = [GuestDom0(name, self.part(name)) for name in names]
        for host in hosts:
            self.stack.callback(host.close)
        with ThreadPoolExecutor() as all_at_once:
            list(all_at_once.map(GuestDom0.start, hosts))
        return hosts

    def open_pool(self, hosts: Sequence[Dom0], tree: Tree) -> None:
        """Make one pool of the hosts."""
        self.pool = self.stack.enter_context(LabPool(hosts, tree, self.directory / "lab.json"))

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        print(f"# {what}", end="", flush=True)
        start = time.monotonic()
        yield
        print(f"   ({time.monotonic() - start:.1f} s)")

    def xe(self, *words: str) -> str:
        """Run an `xe` command; print it, its output and its duration."""
        start = time.monotonic()
        shown = self.pool.xe(*words)
        print(f"$ xe {' '.join(words)}   ({time.monotonic() - start:.1f} s)")
        if shown:
            print(textwrap.indent(shown, "  "))
        return shown

    def run(self, host: Dom0, command: str) -> str:
        """Run a shell command on a host; print it and its output."""
        output = host.exec(["sh", "-c", command], timeout=180).check().decode().strip()
        print(f"[{host.name}]# {command}")
        if output:
            print(textwrap.indent(output, "  "))
        return output

    def smblock(self, host: Dom0, *words: str) -> str:
        """Run a command of smblock on a host; print it and its output."""
        output = host.exec([f"{SM_DIR}/smblock-admin", *words], timeout=180).check().decode().strip()
        print(f"[{host.name}]# smblock {' '.join(words)}")
        print(textwrap.indent(output, "  "))
        return output

    def checksum(self, host: Dom0) -> str:
        """The file's checksum as a host reads it."""
        return self.run(host, f"sha256sum < {FILE}").split()[0]

    def plug(self, host: Dom0, vdi: str) -> tuple[str, str]:
        """Plug a disk into a host's control domain: the VBD and the device's path there."""
        vm = self.pool.xe("vm-list", "is-control-domain=true", f"resident-on={host.uuid}", "--minimal")
        vbd = self.xe("vbd-create", f"vm-uuid={vm}", f"vdi-uuid={vdi}", "device=autodetect")
        self.xe("vbd-plug", f"uuid={vbd}")
        with self.pool.xapi.session() as session:
            runtime = session.VBD.get_runtime_properties(session.VBD.get_by_uuid(vbd))
        return vbd, str(runtime["params"])

    def unplug(self, vbd: str) -> None:
        self.xe("vbd-unplug", f"uuid={vbd}")
        self.xe("vbd-destroy", f"uuid={vbd}")

    def unplug_sr(self, sr: str) -> None:
        """Unplug the SR everywhere."""
        for pbd in self.pool.xe("pbd-list", f"sr-uuid={sr}", "--minimal").split(","):
            self.xe("pbd-unplug", f"uuid={pbd}")


def require(true: bool, otherwise: str) -> None:
    if not true:
        raise DemoFailed(otherwise)


def run_session(demo: Callable[[Path, ExitStack], None], name: str = "demo") -> int:
    """Run a demo with a directory and a stack of its own. Returns the program's exit status."""
    try:
        with tempfile.TemporaryDirectory(prefix="smblock-demo-") as directory, ExitStack() as stack:
            demo(Path(directory), stack)
    except (DemoFailed, LabError, XeError, subprocess.CalledProcessError) as failure:
        print(f"\nThe {name} failed: {failure}", file=sys.stderr)
        return 1
    return 0
