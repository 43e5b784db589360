"""Shows the life of a disk on a real Ceph: written on one host, read on another, reverted, cloned.

    python -m demo

Starts a one-node Ceph and two dom0s in small virtual machines, installs the driver there, and runs the
`xe` commands of an administrator, each with its time. At the end everything is removed.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from lab.ceph import OneNodeCeph
from lab.session import FILE, Session, require, run_session
from lab.xapi.lab_pool import Tree

POOL = "vms"
USER = "xcp"
QUOTA = 4 << 30
DEVICE_CONFIG = ("device-config:pool=" + POOL, "device-config:ceph_user=" + USER)
PURGE_SECONDS = 180.0


class Demo(Session):
    """A cluster, and a pool of two hosts."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        super().__init__(directory, stack)
        self.cluster = OneNodeCeph(self.part("ceph"))
        sm, driver = self.install()
        with self.timed("a real one-node Ceph; pool vms with a quota of 4 GiB; a user with the driver's rights"):
            stack.enter_context(self.cluster)
            self.cluster.create_pool(POOL)
            self.cluster.set_quota(POOL, max_bytes=QUOTA)
            keyring = self.cluster.create_user(USER, POOL)
        with self.timed("two dom0s, each a virtual machine with a kernel of its own"):
            self.hosts = self.start(["host1", "host2"])
            self.open_pool(self.hosts, Tree(sm, driver, self.cluster.client_conf(), keyring))


def show(demo: Demo) -> None:
    """Run the demo, from the creation of the SR to its destruction."""
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
    require(exported == written, f"rbd export has {exported}, host1 wrote {written}")
    demo.xe("vdi-resize", f"uuid={vdi}", "disk-size=20GiB")

    vbd, device = demo.plug(two, vdi)
    demo.run(two, f"mount {device} /mnt")
    require(demo.checksum(two) == written, "host2 read other data than host1 wrote")
    copies(demo, vdi, vbd, written)
    jobs(demo, sr)
    wait_for_space(demo, sr)
    demo.unplug_sr(sr)
    demo.xe("sr-destroy", f"uuid={sr}")
    after = contents(demo.cluster)
    require(after == before, f"the pool contained {before}, and now contains {after}")
    print(f"$ rbd ls {POOL}; rbd trash ls --all {POOL}   # nothing, as before")

    total = time.monotonic() - demo.started
    print(
        f"\nA 10 GiB disk was created, written on host1, grown, read on host2 with the same checksum\n"
        f"({written[:16]}…, as in rbd export), snapshotted while plugged, overwritten, reverted and\n"
        f"cloned. The clone stayed readable after its disk and snapshot were destroyed. Two jobs of an\n"
        f"NBD client wrote to one export.\n"
        f"The pool is empty again. {total:.0f} s in all."
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
    require(demo.checksum(one) == written, "the reverted disk does not have the snapshot's data")
    demo.run(one, "umount /mnt")
    demo.unplug(vbd)

    clone = demo.xe("vdi-clone", f"uuid={snapshot}", "new-name-label=clone")
    demo.xe("vdi-list", "params=uuid,name-label,is-a-snapshot,virtual-size")
    vbd, device = demo.plug(two, clone)
    demo.run(two, f"mount {device} /mnt")
    for parent in (disk, snapshot):
        demo.xe("vdi-destroy", f"uuid={parent}")
    demo.run(two, "echo 3 > /proc/sys/vm/drop_caches")
    require(demo.checksum(two) == written, "the clone has lost the data that it shared with its parents")
    demo.run(two, "umount /mnt")
    demo.unplug(vbd)
    demo.xe("vdi-destroy", f"uuid={clone}")


def jobs(demo: Demo, sr: str) -> None:
    """Two jobs of an NBD client write to one export, one after the other."""
    one, _ = demo.hosts
    vdi = demo.xe("vdi-create", f"sr-uuid={sr}", "name-label=migrated", "virtual-size=16MiB")
    uri = demo.smblock(one, "export", vdi, "--name", "web/0").split()[1]
    for _ in range(2):
        demo.run(one, "head -c 16M /dev/urandom > /tmp/source && nbdcopy --flush /tmp/source " + uri)
    demo.run(one, f"nbdcopy {uri} /tmp/copy && cmp /tmp/source /tmp/copy")
    demo.smblock(one, "exports")
    demo.smblock(one, "unexport", "web/0")
    demo.xe("vdi-destroy", f"uuid={vdi}")


def contents(cluster: OneNodeCeph) -> tuple[str, str]:
    """The pool's images and its trash."""
    return cluster.rbd("ls", POOL), cluster.rbd("trash", "ls", "--all", POOL)


def sha256_in_export(demo: Demo) -> str:
    """The file's checksum in an export of the image, read without driver, kernel and mount."""
    image = demo.cluster.rbd("ls", POOL).strip()
    export = demo.directory / "export"
    demo.cluster.rbd("export", "--no-progress", f"{POOL}/{image}", str(export), timeout=180)
    content = subprocess.run(
        ["/sbin/debugfs", "-R", f"cat /{Path(FILE).name}", str(export)], check=True, capture_output=True, timeout=60
    ).stdout
    export.unlink()
    digest = hashlib.sha256(content).hexdigest()
    print(f"$ rbd export {POOL}/{image} export; debugfs -R 'cat /{Path(FILE).name}' export | sha256sum\n  {digest}  -")
    return digest


def wait_for_space(demo: Demo, sr: str) -> None:
    """Wait until ceph-mgr has freed all images. Scans find those that other images needed before."""
    end = time.monotonic() + PURGE_SECONDS
    with demo.timed("ceph-mgr frees the space in the background, while xapi scans the SR"):
        while any(contents(demo.cluster)):
            require(time.monotonic() < end, f"images are still there after {PURGE_SECONDS:.0f} s")
            demo.pool.xe("sr-scan", f"uuid={sr}")
            time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(run_session(lambda directory, stack: show(Demo(directory, stack))))
