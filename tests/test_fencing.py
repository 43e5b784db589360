"""A host is fenced while it writes: another host gets its disk, and the first never writes to it again.

On two kernels. The first host writes numbered blocks without a pause; it is frozen, declared dead, and
resumed when the other host has the disk.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from lab.cephrbd import CephRbdLab, CephSr, RbdPool
from lab.disk import MIB, Disk, read, write
from lab.dom0 import Dom0, GuestDom0
from tests.alarms import alarms, check_srs

HERE = b"here" * (MIB // 4)
# Writes one block after the other, each with the next number, and records how it ends.
WRITER = r"""
import mmap, os, sys, time
device, state, report = sys.argv[1:]
block = mmap.mmap(-1, 4096)
file = os.open(device, os.O_RDWR | os.O_DIRECT)
number = 0
try:
    while True:
        number += 1
        block[:16] = b"%016d" % number
        if state == "reads" and not os.path.exists(report + ".write"):
            os.preadv(file, [block], 0)
        else:
            os.pwritev(file, [block], 4096 * (number % 256))
        if number == 20:
            open(report + ".runs", "w").close()
except OSError as error:
    with open(report, "w") as out:
        out.write("errno %d at %d" % (error.errno, number))
"""
REPORT = "/tmp/fenced-writer"
# The latest error for a write of a frozen host's kernel after it resumes.
PATIENCE = 60.0


@pytest.fixture(scope="module")
def sr(guests_rbd_pool: RbdPool) -> CephSr:
    return guests_rbd_pool.create_sr("fencing")


@pytest.fixture
def writer(sr: CephSr, two: Dom0) -> Iterator[GuestDom0]:
    """The host that will be fenced. After the test it boots again, and plugs its SRs itself."""
    assert isinstance(two, GuestDom0)
    yield two
    two.kill()
    sr.lab.power_on(two)


def start_writer(disk: Disk, host: Dom0, state: str) -> None:
    host.put("/tmp/write-numbered.py", WRITER.encode())
    (device,) = disk.devices(host)
    host.exec(["sh", "-c", f"rm -f {REPORT} {REPORT}.*"]).check()
    start = f"setsid python3 /tmp/write-numbered.py {device} {state} {REPORT} </dev/null >{REPORT}.log 2>&1 &"
    host.exec(["sh", "-c", start]).check()
    runs = f"for i in $(seq 300); do [ -e {REPORT}.runs ] && exit; sleep 0.1; done; cat {REPORT}* >&2; exit 1"
    host.exec(["sh", "-c", runs]).check()


def cut_off_alerts(lab: CephRbdLab, host: Dom0) -> list[str]:
    return [alarm.text for alarm in alarms(lab, host.uuid) if alarm.name == "smblock_host_cut_off"]


def blocklist(lab: CephRbdLab) -> str:
    return str(lab.ceph.admin("osd", "blocklist", "ls"))


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "state",
    [
        pytest.param("holds-lock", marks=pytest.mark.slow),
        "lost-lock",  # Ceph itself does not cover this case
        pytest.param("reads", marks=pytest.mark.slow),
    ],
)
def test_a_host_that_was_declared_dead_never_writes_again(
    state: str, sr: CephSr, guests: CephRbdLab, one: Dom0, writer: GuestDom0
) -> None:
    disk, idle = Disk.create(sr), Disk.create(sr)
    began = time.monotonic()
    idle.unplug(idle.plug(one))
    usual = time.monotonic() - began
    vm, _ = disk.start_vm(writer)
    start_writer(disk, writer, state)
    if state == "lost-lock":
        disk.snapshot()
    writer.freeze()
    began = time.monotonic()
    guests.xe("host-declare-dead", f"uuid={writer.uuid}")  # xapi itself contacts the host, and waits
    declared = time.monotonic() - began
    began = time.monotonic()
    guests.xe("vm-start", f"uuid={vm}", f"on={one.name}")
    took = time.monotonic() - began
    print(f"{state}: declared in {declared:.1f} s, started in {took:.1f} s, plug and unplug at rest {usual:.1f} s")
    assert took < usual + 10, "it waited for the dead kernel's watch"
    (device,) = disk.devices(one)
    seen = read(one, device, MIB)
    write(one, device, HERE, MIB)
    writer.thaw()
    writer.exec(["touch", f"{REPORT}.write"]).check()
    wait = f"for i in $(seq {int(PATIENCE * 5)}); do [ -s {REPORT} ] && exec cat {REPORT}; sleep 0.2; done; exit 1"
    ended = writer.exec(["sh", "-c", wait], timeout=PATIENCE + 30).check().decode()
    assert ended.startswith("errno "), ended
    assert read(one, device, MIB) == seen, "a write of the dead host arrived"
    assert read(one, device, MIB, MIB) == HERE
    assert cut_off_alerts(guests, writer) == []
    for _ in range(2):
        check_srs(writer, sr)
    (alert,) = cut_off_alerts(guests, writer)
    for part in (writer.uuid, sr.uuid, disk.uuid, "(user)", *disk.devices(writer)):
        assert part in alert, alert
    guests.xe("vm-shutdown", f"uuid={vm}")


@pytest.mark.timeout(600)
def test_a_silent_host_keeps_its_disk_until_it_is_declared_dead(
    sr: CephSr, guests: CephRbdLab, one: Dom0, writer: GuestDom0
) -> None:
    disk = Disk.create(sr)
    disk.start_vm(writer)
    before = blocklist(guests)
    writer.freeze()
    guests.miss_heartbeats(writer)
    refusal = disk.refusal(one, "vdi_activate", "true")
    assert "host-declare-dead" in refusal, refusal
    assert disk.claimed_by() == writer.uuid
    assert blocklist(guests) == before
    writer.thaw()
    (device,) = disk.devices(writer)
    write(writer, device, HERE)
