"""The main job, shown: a disk on a real Ceph is written on one host, read on another, reverted, cloned.

    python -m tests.demo

Starts a one-node Ceph and two dom0s in small virtual machines, installs the driver there, and types
the `xe` lines an administrator would, each with its time. Everything is gone afterwards.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.lab import LabError
from tests.lab.ceph import OneNodeCeph
from tests.lab.dom0 import Dom0, GuestDom0
from tests.lab.sm_source import SM_DIR, sm_source
from tests.lab.tree import stage_sm
from tests.lab.xapi.lab_pool import LabPool, Tree, XeError
from tests.wheel import built_wheel

ROOT = Path(__file__).resolve().parent.parent
POOL = "vms"
USER = "xcp"
QUOTA = 4 << 30
DEVICE_CONFIG = ("device-config:pool=" + POOL, "device-config:ceph_user=" + USER)
FILE = "/mnt/letter"
PURGE_SECONDS = 180.0


class DemoFailed(Exception):
    """What was shown is not what was promised."""


class Demo:
    """A cluster, a pool of two hosts, and somebody who types."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started = time.monotonic()
        self.cluster = OneNodeCeph(self._part("ceph"))
        self.hosts: list[Dom0] = [GuestDom0(name, self._part(name)) for name in ("host1", "host2")]
        self.pool: LabPool

    def _part(self, name: str) -> Path:
        part = self.folder / name
        part.mkdir()
        return part

    def bring_up(self, stack: ExitStack) -> None:
        """Start everything; it ends with `stack`."""
        installed = self._part("installed")
        wheel = built_wheel()
        with self.timed(f"./install.sh --root … --wheel {wheel.name}"):
            install = [str(ROOT / "install.sh"), "--root", str(installed), "--wheel", str(wheel)]
            subprocess.run(install, check=True, capture_output=True)
            sm = stage_sm(sm_source(), self._part("sm"))
        with self.timed("a real one-node Ceph; pool vms with a quota of 4 GiB; a user with the driver's rights"):
            stack.enter_context(self.cluster)
            self.cluster.create_pool(POOL)
            self.cluster.set_quota(POOL, max_bytes=QUOTA)
            keyring = self.cluster.create_user(USER, POOL)
        with self.timed("two dom0s, each a virtual machine with a kernel of its own"):
            for host in self.hosts:
                stack.callback(host.close)
            with ThreadPoolExecutor() as both:
                list(both.map(lambda host: host.start(), self.hosts))
            driver = installed / SM_DIR.lstrip("/")
            tree = Tree(sm, driver, self.cluster.client_conf(), keyring)
            self.pool = stack.enter_context(LabPool(self.hosts, tree, self.folder / "lab.json"))

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        print(f"# {what}", end="", flush=True)
        start = time.monotonic()
        yield
        print(f"   ({time.monotonic() - start:.1f} s)")

    def xe(self, *words: str) -> str:
        """Type an `xe` line, show what it prints, and how long it took."""
        start = time.monotonic()
        shown = self.pool.xe(*words)
        print(f"$ xe {' '.join(words)}   ({time.monotonic() - start:.1f} s)")
        if shown:
            print(textwrap.indent(shown, "  "))
        return shown

    def run(self, host: Dom0, command: str) -> str:
        """Run a shell command on a host."""
        output = host.exec(["sh", "-c", command], timeout=180).check().decode().strip()
        print(f"[{host.name}]# {command}")
        if output:
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


def show(demo: Demo) -> None:
    """The life of a disk, from the making of its SR on."""
    one, two = demo.hosts
    before = contents(demo.cluster)

    demo.xe("sr-probe", "type=cephrbd", "device-config:ceph_user=" + USER)
    sr = demo.xe("sr-create", "type=cephrbd", "shared=true", "name-label=ceph", *DEVICE_CONFIG)
    size = demo.xe("sr-param-get", f"uuid={sr}", "param-name=physical-size")
    require(int(size) == QUOTA, f"the SR's size is {size}, the pool's quota {QUOTA}")

    vdi = demo.xe("vdi-create", f"sr-uuid={sr}", "name-label=disk", "virtual-size=10GiB")
    vbd, device = demo.plug(one, vdi)
    demo.run(one, f"mkfs.ext4 -q {device} && mount {device} /mnt")
    demo.run(one, f"head -c 4000000 /dev/urandom > {FILE} && sync {FILE}")
    written = demo.checksum(one)
    demo.run(one, "umount /mnt")
    demo.unplug(vbd)

    exported = sha256_in_export(demo)
    require(exported == written, f"rbd export holds {exported}, host1 wrote {written}")
    demo.xe("vdi-resize", f"uuid={vdi}", "disk-size=20GiB")

    vbd, device = demo.plug(two, vdi)
    demo.run(two, f"mount {device} /mnt")
    require(demo.checksum(two) == written, "host2 has read something else than host1 wrote")
    copies(demo, vdi, vbd, written)
    wait_for_space(demo, sr)
    for pbd in demo.pool.xe("pbd-list", f"sr-uuid={sr}", "--minimal").split(","):
        demo.xe("pbd-unplug", f"uuid={pbd}")
    demo.xe("sr-destroy", f"uuid={sr}")
    after = contents(demo.cluster)
    require(after == before, f"the pool held {before}, and now {after}")
    print(f"$ rbd ls {POOL}; rbd trash ls --all {POOL}   # nothing, as before")

    total = time.monotonic() - demo.started
    print(
        f"\nA 10 GiB disk was made, written on host1, grown, read on host2 with the same checksum\n"
        f"({written[:16]}…, also found by rbd export), snapshotted there while it ran, overwritten,\n"
        f"reverted and cloned. The clone ran on when disk and snapshot were destroyed.\n"
        f"The pool is as it was. {total:.0f} s in all."
    )


def copies(demo: Demo, vdi: str, vbd: str, written: str) -> None:
    """Snapshot, revert and clone a disk that host2 has mounted, through `vbd`; destroy everything."""
    one, two = demo.hosts
    vm = demo.pool.xe("vm-create", "name-label=guest")
    demo.pool.xe("vbd-create", f"vm-uuid={vm}", f"vdi-uuid={vdi}", "device=autodetect")
    before = demo.xe("vm-snapshot", f"uuid={vm}", "new-name-label=before")
    demo.run(two, f"head -c 4000000 /dev/urandom > {FILE} && sync {FILE}")
    require(demo.checksum(two) != written, "the file was not overwritten")
    demo.run(two, "umount /mnt")
    demo.unplug(vbd)

    demo.xe("snapshot-revert", f"snapshot-uuid={before}")
    disk, snapshot = (demo.pool.xe("vbd-list", f"vm-uuid={of}", "params=vdi-uuid", "--minimal") for of in (vm, before))
    vbd, device = demo.plug(one, disk)
    demo.run(one, f"mount {device} /mnt")
    require(demo.checksum(one) == written, "the reverted disk does not hold what the snapshot does")
    demo.run(one, "umount /mnt")
    demo.unplug(vbd)

    clone = demo.xe("vdi-clone", f"uuid={snapshot}", "new-name-label=clone")
    demo.xe("vdi-list", "params=uuid,name-label,is-a-snapshot,virtual-size")
    vbd, device = demo.plug(two, clone)
    demo.run(two, f"mount {device} /mnt")
    for parent in (disk, snapshot):
        demo.xe("vdi-destroy", f"uuid={parent}")
    demo.run(two, "echo 3 > /proc/sys/vm/drop_caches")
    require(demo.checksum(two) == written, "the clone has lost what it shared with its parents")
    demo.run(two, "umount /mnt")
    demo.unplug(vbd)
    demo.xe("vdi-destroy", f"uuid={clone}")


def contents(cluster: OneNodeCeph) -> tuple[str, str]:
    """The pool's images and its trash."""
    return cluster.rbd("ls", POOL), cluster.rbd("trash", "ls", "--all", POOL)


def sha256_in_export(demo: Demo) -> str:
    """The file's checksum as an export of the image has it: read without driver, kernel and mount."""
    image = demo.cluster.rbd("ls", POOL).strip()
    export = demo.folder / "export"
    demo.cluster.rbd("export", "--no-progress", f"{POOL}/{image}", str(export), timeout=180)
    letter = subprocess.run(
        ["/sbin/debugfs", "-R", f"cat /{Path(FILE).name}", str(export)], check=True, capture_output=True, timeout=60
    ).stdout
    export.unlink()
    digest = hashlib.sha256(letter).hexdigest()
    print(f"$ rbd export {POOL}/{image} export; debugfs -R 'cat /{Path(FILE).name}' export | sha256sum\n  {digest}  -")
    return digest


def wait_for_space(demo: Demo, sr: str) -> None:
    """Deleting is instant; the space is freed afterwards, and a scan looks at what was kept for others."""
    end = time.monotonic() + PURGE_SECONDS
    with demo.timed("the cluster's manager frees the space in the background, while xapi scans the SR"):
        while any(contents(demo.cluster)):
            require(time.monotonic() < end, f"images are still there after {PURGE_SECONDS:.0f} s")
            demo.pool.xe("sr-scan", f"uuid={sr}")
            time.sleep(0.5)


def require(true: bool, otherwise: str) -> None:
    if not true:
        raise DemoFailed(otherwise)


def main() -> int:
    try:
        with tempfile.TemporaryDirectory(prefix="smblock-demo-") as folder, ExitStack() as stack:
            demo = Demo(Path(folder))
            demo.bring_up(stack)
            show(demo)
    except (DemoFailed, LabError, XeError, subprocess.CalledProcessError) as failure:
        print(f"\nThe demo failed: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
