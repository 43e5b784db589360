"""Shows a Crucible volume: written on one host while one of its copies dies, and read on another.

    python -m demo.crucible

Starts the three downstairs of a volume and two dom0s in small virtual machines, installs the driver
there, and runs the `xe` commands of an administrator, each with its time. Crucible's programs are
simulators, unless CRUCIBLE_BIN names a directory of other ones. At the end everything is removed.
"""

from __future__ import annotations

import os
import sys
import textwrap
import time
from contextlib import ExitStack
from pathlib import Path

from lab.crucible import VOLUMES, CrucibleLab, CrucibleStorage, Volume, crucible_bin, declaration
from lab.session import FILE, Session, require, run_session
from lab.xapi.lab_pool import Tree

SIZE = 64 << 20


class Demo(Session):
    """A volume, and a pool of two hosts."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        super().__init__(directory, stack)
        binaries = self.find_programs()
        with self.timed("three downstairs, each with a copy of one volume"):
            storage = stack.enter_context(CrucibleStorage(self.part("crucible"), binaries))
            self.volume = storage.create_volume("disk", SIZE)
        sm, driver = self.install()
        with self.timed("two dom0s, each a virtual machine with a kernel of its own"):
            self.hosts = self.start(["host1", "host2"])
            self.open_pool(self.hosts, Tree(sm, driver))
            CrucibleLab(self.pool, storage).declare(self.volume)

    def find_programs(self) -> Path:
        """The directory of Crucible's programs. Prints which they are before a build that takes minutes."""
        named = os.environ.get("CRUCIBLE_BIN")
        if named:
            print(f"# Programs: those in CRUCIBLE_BIN={named}")
            return crucible_bin()
        print("# Programs: simulators of Crucible's downstairs and NBD server, from lab/crucible-sim.")
        print("# CRUCIBLE_BIN=DIRECTORY runs those of a directory instead.")
        with self.timed("cargo build --workspace --bins (the first build takes minutes)"):
            return crucible_bin()

    def kill_copy(self, index: int) -> None:
        """Kill one downstairs."""
        self.volume.stop(index)
        print(f"# kill -9 of the downstairs at {self.volume.targets[index]}")

    def restart_copy(self, index: int) -> None:
        """Start a downstairs again, with its data."""
        self.volume.start(index)
        print(f"# the downstairs at {self.volume.targets[index]} is started again")

    def refused(self, *words: str) -> str:
        """Run an `xe` command that fails; print it and its error."""
        complaint = self.pool.refused(*words)
        print(f"$ xe {' '.join(words)}")
        print(textwrap.indent(complaint.strip(), "  "))
        return complaint


def show(demo: Demo) -> None:
    """Run the demo, from the creation of the SR until it is forgotten."""
    one, two = demo.hosts
    volume: Volume = demo.volume
    print(f"[each host]# cat {VOLUMES}")
    print(textwrap.indent(declaration([volume]).strip(), "  "))
    sr = demo.xe("sr-create", "type=crucible", "shared=true", "name-label=crucible", f"device-config:volumes={VOLUMES}")
    found = demo.xe("vdi-list", f"sr-uuid={sr}", "params=uuid,name-label,virtual-size")
    require(volume.uuid in found and str(SIZE) in found, "the static volume is not the SR's disk")

    vbd, device = demo.plug(one, volume.uuid)
    demo.run(one, f"mkfs.ext4 -q {device} && mount {device} /mnt")
    demo.run(one, f"head -c 1000000 /dev/urandom > {FILE} && sync {FILE}")
    demo.kill_copy(1)
    demo.run(one, f"head -c 1000000 /dev/urandom >> {FILE} && sync {FILE}")
    written = demo.checksum(one)
    demo.run(one, "umount /mnt")
    demo.unplug(vbd)

    # A server that starts waits for all three, without a limit: the driver looks first, and names the one that is down.
    vbd = demo.pool.xe(
        "vbd-create", f"vm-uuid={two.control_domain_uuid}", f"vdi-uuid={volume.uuid}", "device=autodetect"
    )
    complaint = demo.refused("vbd-plug", f"uuid={vbd}")
    require(volume.targets[1] in complaint, "the error does not name the target that is down")
    demo.pool.xe("vbd-destroy", f"uuid={vbd}")
    demo.restart_copy(1)

    vbd, device = demo.plug(two, volume.uuid)
    demo.run(two, f"mount {device} /mnt")
    require(demo.checksum(two) == written, "host2 read other data than host1 wrote")
    demo.run(two, "umount /mnt")
    demo.unplug(vbd)
    demo.unplug_sr(sr)
    demo.xe("sr-forget", f"uuid={sr}")

    total = time.monotonic() - demo.started
    print(
        f"\nA volume was written on host1, also while one of its three copies was dead, and read on host2 with\n"
        f"the same checksum ({written[:16]}…) after that copy was started again. {total:.0f} s in all."
    )


if __name__ == "__main__":
    sys.exit(run_session(lambda directory, stack: show(Demo(directory, stack))))
