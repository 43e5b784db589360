"""A program writes to four disks of a VM on a real Ceph: no snapshot of the VM shows a write without every earlier one.

The program is a client of Ceph, and a simulator of tap-ctl pauses it for each disk. So this needs no kernel.
`test_snapshots_together.py` has real disks and a simulator of tapdisk.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab import wait_for
from lab.cephrbd import CephSr
from tests.test_snapshots_of_a_vm import Vm, number_in, require_one_instant

DISKS = 4
TAP_CTL = "/usr/sbin/tap-ctl"
# The disk with the minor number N is paused while the file N.paused exists. Who holds the lock of N.lock writes to it.
PAUSER = """#!/usr/bin/python3
import fcntl, os, sys
command, words = sys.argv[1], dict(zip(sys.argv[2::2], sys.argv[3::2]))
directory = "{directory}"
def paused(minor):
    return os.path.join(directory, "%s.paused" % minor)
if command == "list":
    for minor in range({disks}):
        if words.get("-m", str(minor)) == str(minor):
            print("pid=1 minor=%d state=%x args=aio:/dev/null" % (minor, 0x2a if os.path.exists(paused(minor)) else 0))
elif command == "pause":
    with open(os.path.join(directory, words["-m"] + ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        open(paused(words["-m"]), "w").close()
elif command == "unpause":
    os.unlink(paused(words["-m"]))
"""
# Writes the numbers from 1, each to the next disk when the last write is done. Runs with the Python of Ceph's packages.
WRITER = """
import fcntl, itertools, os, sys, time, rados, rbd
directory, conf, pool, *names = sys.argv[1:]
with rados.Rados(conffile=conf, conf={"rbd_cache": "false"}) as cluster, cluster.open_ioctx(pool) as io:
    images = [rbd.Image(io, name) for name in names]
    for number in itertools.count(1):
        at = number % len(images)
        written = os.path.exists(os.path.join(directory, "end"))
        if written:
            break
        while not written:
            with open(os.path.join(directory, "%d.lock" % at), "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not os.path.exists(os.path.join(directory, "%d.paused" % at)):
                    images[at].write(number.to_bytes(8, "big"), 0)
                    written = True
            time.sleep(0 if written else 0.001)
    for image in images:  # else Ceph waits for a client that has died
        image.close()
"""


@pytest.fixture
def vm(own_sr: CephSr, tmp_path: Path) -> Iterator[Vm]:
    """A VM on the second host, with disks that can be paused there."""
    lab, host = own_sr.lab, own_sr.lab.hosts[1]
    vm = Vm.create(own_sr, DISKS)
    before = host.get(TAP_CTL)
    host.put(TAP_CTL, PAUSER.format(directory=tmp_path, disks=DISKS).encode(), mode=0o755)
    links = f"/run/blktap-control/nbd/{own_sr.uuid}"
    host.exec(["mkdir", "-p", links]).check()
    for minor, disk in enumerate(vm.disks):
        host.exec(["ln", "-s", f"/run/blktap-control/nbd1.{minor}", f"{links}/{disk.uuid}"]).check()
        lab.xapi.pool.db.add_key("VDI", disk_ref(vm, minor), "sm_config", f"host_{lab.ref(host)}", "RW")
    yield vm
    for minor in range(DISKS):
        lab.xapi.pool.db.remove_key("VDI", disk_ref(vm, minor), "sm_config", f"host_{lab.ref(host)}")
    host.exec(["rm", "-r", links]).check()
    host.put(TAP_CTL, before, mode=0o755)
    vm.end()


def disk_ref(vm: Vm, number: int) -> str:
    return vm.sr.lab.xapi.pool.db.by_uuid("VDI", vm.disks[number].uuid)


@contextmanager
def being_written(vm: Vm, directory: Path) -> Iterator[None]:
    pool = vm.sr.pool
    images = [disk.image.partition("/")[2] for disk in vm.disks]
    argv = ["/usr/bin/python3", "-c", WRITER, str(directory), str(pool.lab.ceph.conf), pool.name, *images]
    with subprocess.Popen(argv, stdout=sys.stderr) as writer:
        try:
            wait_for(lambda: all(number_in(disk) for disk in vm.disks), "the first numbers")
            yield
            assert writer.poll() is None, "the writer has failed"
        finally:
            (directory / "end").touch()
    assert writer.returncode == 0


def test_no_snapshot_of_a_vm_has_a_write_without_every_earlier_one(vm: Vm, tmp_path: Path) -> None:
    with being_written(vm, tmp_path):
        # Snapshots by hand, one after the other, show that the program is fast enough for this test.
        by_hand = [disk.snapshot() for disk in vm.disks]
        with pytest.raises(AssertionError):
            require_one_instant(by_hand)
        last = 0
        for _ in range(3):
            snapshots = vm.snapshot()
            require_one_instant(snapshots)
            assert number_in(snapshots[0]) > last, "the disks were not resumed"
            last = number_in(snapshots[0])
    assert not any(disk.is_paused() for disk in vm.disks)
    assert not list(tmp_path.glob("*.paused"))
