"""A program writes to four disks of a VM on a real Ceph: no snapshot of the VM shows a write without every earlier one.

The program is a client of Ceph, and a simulator of tap-ctl pauses it for each disk. So this needs no kernel.
`test_snapshots_together.py` has real disks and a simulator of tapdisk.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab import wait_for
from lab.cephrbd import CephSr
from lab.dom0 import Dom0
from lab.sm_source import sm_source
from tests.pauses import pause_of
from tests.test_snapshots_of_a_vm import Vm, number_in, require_one_instant

DISKS = 4
TAP_CTL = "/usr/sbin/tap-ctl"
LOGGED = r"([0-9.]+) s until all were paused, ([0-9.]+) s for snapshots, ([0-9.]+) s until all ran"
# The disk with the minor number N is paused while the file N.paused exists. Who holds the lock of N.lock writes to it.
PAUSER = """#!/usr/bin/python3
import fcntl, os, sys, time
began = time.monotonic()
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
if command != "list":
    with open(directory + "/times", "a") as times:
        times.write("%s %s %f %f\\n" % (command, words["-m"], began, time.monotonic()))
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


@contextmanager
def pausable(sr: CephSr, directory: Path, host: Dom0, count: int) -> Iterator[Vm]:
    """A VM with disks that can be paused on a host."""
    lab, vm = sr.lab, Vm.create(sr, count)
    db = lab.xapi.pool.db
    refs = [db.by_uuid("VDI", disk.uuid) for disk in vm.disks]
    before = host.get(TAP_CTL)
    host.put(TAP_CTL, PAUSER.format(directory=directory, disks=count).encode(), mode=0o755)
    links = f"/run/blktap-control/nbd/{sr.uuid}"
    host.exec(["mkdir", "-p", links]).check()
    for minor, (disk, ref) in enumerate(zip(vm.disks, refs, strict=True)):
        host.exec(["ln", "-s", f"/run/blktap-control/nbd1.{minor}", f"{links}/{disk.uuid}"]).check()
        db.add_key("VDI", ref, "sm_config", f"host_{lab.ref(host)}", "RW")
    yield vm
    for ref in refs:
        db.remove_key("VDI", ref, "sm_config", f"host_{lab.ref(host)}")
    host.exec(["rm", "-r", links]).check()
    host.put(TAP_CTL, before, mode=0o755)
    vm.end()


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


def test_no_snapshot_of_a_vm_has_a_write_without_every_earlier_one(own_sr: CephSr, tmp_path: Path) -> None:
    with pausable(own_sr, tmp_path, own_sr.lab.hosts[1], DISKS) as vm:
        require_order(vm, tmp_path)


def require_order(vm: Vm, tmp_path: Path) -> None:
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


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 0], ids=["another host", "the host of the command"])
def test_the_driver_adds_less_to_a_pause_than_the_snapshots_take(own_sr: CephSr, tmp_path: Path, number: int) -> None:
    if sm_source() is not None:
        pytest.skip("a real SM logs by syslog, which the lab does not have")
    lab, host = own_sr.lab, own_sr.lab.hosts[number]
    with pausable(own_sr, tmp_path, host, 8) as vm:
        lab.ceph.set_monitor_pace("default")
        try:
            vm.snapshot()
        finally:
            lab.ceph.set_monitor_pace("fast")
    log = "".join(each.get("/run/sm/SMlog").decode() for each in (host, lab.hosts[0]))
    to_pause, snapshots, to_resume = map(float, re.findall(LOGGED, log)[-1])
    paused, resumed = (
        float(re.findall(rf"guard \S+: {what} in ([0-9.]+) s", log)[-1]) for what in ("paused", "resumed")
    )
    pause = pause_of((tmp_path / "times").read_text().splitlines())
    print(
        f"paused {pause}\nthe command: {to_pause:.2f} s until all were paused, of which tap-ctl {paused:.2f} s; "
        f"{snapshots:.2f} s for snapshots; {to_resume:.2f} s until all ran, of which tap-ctl {resumed:.2f} s"
    )
    assert pause.seconds - paused - resumed < 2 * snapshots
