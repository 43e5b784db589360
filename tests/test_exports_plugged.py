"""Exports of disks on Ceph, on hosts with a kernel: the page for users, snapshots, and devices that die."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab import wait_for
from lab.cephrbd import CephSr, RbdPool
from lab.crucible import CrucibleLab
from lab.disk import MIB, Disk
from lab.dom0 import Dom0
from lab.sm_source import tapdisk_bin
from lab.tree import SM_DIR
from lab.wheel import REPOSITORY
from lab.xapi.lab_pool import LabPool
from tests.pages.follower import Follower

PAGES = REPOSITORY / "docs" / "user"
# Numbers its writes; each block has the number of its round. Prints the number of the last round.
_ROUNDS = """
import nbd, os, sys
h = nbd.NBD()
h.connect_uri(sys.argv[1])
n, enough = 0, False
while not enough:
    enough = os.path.exists(sys.argv[2])  # one round begins after it
    n += 1
    for block in range(4):
        h.pwrite(n.to_bytes(4096, "big"), block << 22)
os.unlink(sys.argv[2])
print(n)
"""
_WRITE = "import nbd, sys; h = nbd.NBD(); h.connect_uri(sys.argv[1]); h.pwrite(bytes(4096), 0)"


@pytest.fixture(scope="module")
def sr(guests_rbd_pool: RbdPool, one: Dom0, two: Dom0) -> Iterator[CephSr]:
    yield guests_rbd_pool.create_sr("exports")
    for host in (one, two):  # other tests have these hosts too
        host.exec(["pkill", "-f", "smblock-export-server"])


@pytest.fixture
def disk(sr: CephSr) -> Iterator[Disk]:
    """A disk whose exports are ended after the test."""
    disk = Disk.create(sr)
    yield disk
    for export in json.loads(sr.lab.admin("exports", "--json", host=1).check()):
        sr.lab.admin("unexport", export["name"], "--force", host=1)
    sr.destroy_vdi(disk.uuid)


def export(disk: Disk, name: str, host: int = 1) -> str:
    """Exports a disk on a host. Returns the URI there."""
    (listed,) = json.loads(disk.sr.lab.admin("export", "--json", disk.uuid, "--name", name, host=host).check())
    return str(listed["uri"])


def nbd(host: Dom0, program: str, *words: str) -> bytes:
    """Runs a Python program with libnbd on a host."""
    return host.exec(["/usr/bin/python3", "-c", program, *words], timeout=120).check()


class Place:
    """The machines of the page: hosts with kernels. The client is on the first one, as behind an SSH tunnel."""

    def __init__(self, lab: LabPool, hosts: dict[str, Dom0]) -> None:
        self._lab = lab
        self._hosts = {**hosts, "client": hosts["host1"]}
        for host in hosts.values():
            host.exec(["mkdir", "-p", "/tmp/client"]).check()

    def run(self, place: str, command: str) -> tuple[int, str]:
        if command.startswith("xe "):
            return 0, self._lab.xe(*shlex.split(command)[1:]) + "\n"
        directory = "/tmp/client" if place == "client" else "/"
        script = f'smblock() {{ {SM_DIR}/smblock-admin "$@"; }}\nexec 2>&1\ncd {directory}\n{command}'
        done = self._hosts[place].exec(["bash", "-c", script], timeout=120)
        return done.returncode, done.stdout.decode(errors="replace")

    def write(self, place: str, path: str, text: str) -> None:
        self._hosts[place].put(path, text.encode())

    def act(self, action: str) -> None:
        raise AssertionError(action)


@pytest.mark.slow  # test_exports.py has each command, on hosts without kernels
def test_page_for_users_is_followed_to_the_letter(sr: CephSr, one: Dom0, two: Dom0) -> None:
    vm = sr.lab.xe("vm-create", "name-label=web")
    disks = [sr.create_vdi(size=str(16 * MIB), name=name) for name in ("web-root", "web-data")]
    for device, vdi in enumerate(disks):
        sr.lab.xe("vbd-create", f"vm-uuid={vm}", f"vdi-uuid={vdi}", f"device={device}")
    place = Place(sr.lab, {"host1": one, "host2": two})
    Follower(PAGES, place, "").follow("exports")  # type: ignore[arg-type]
    sr.lab.xe("vm-start", f"uuid={vm}", f"on={one.name}")
    sr.lab.xe("vm-shutdown", f"uuid={vm}", "force=true")


@pytest.mark.slow  # test_snapshot_order.py shows it without a kernel
def test_a_snapshot_of_an_export_is_one_moment_of_its_writes(disk: Disk, one: Dom0) -> None:
    uri = export(disk, "moment")
    with ThreadPoolExecutor() as beside:
        writer = beside.submit(nbd, one, _ROUNDS, uri, "/tmp/enough-rounds")
        wait_for(lambda: disk.export()[:4096] != bytes(4096), "the first write")
        snapshot = disk.snapshot()
        one.put("/tmp/enough-rounds", b"")
        rounds = int(writer.result())
    data = snapshot.export()
    blocks = [int.from_bytes(data[at : at + 4096], "big") for at in range(0, 16 * MIB, 4 * MIB)]
    # One round wrote them in this order, each after the reply to the one before.
    assert blocks == sorted(blocks, reverse=True)
    assert blocks[0] - blocks[-1] <= 1
    assert 0 < blocks[0] < rounds
    snapshot.destroy()


def test_a_device_that_dies_is_eio_and_not_silence(disk: Disk, one: Dom0) -> None:
    if tapdisk_bin():
        pytest.skip("only the device of the simulator can be made to fail, and repaired")
    uri = export(disk, "dead")
    nbd(one, _WRITE, uri)
    # blktap fails the requests of a tapdisk that has ended; the simulator's device gets a table that does.
    (path,) = [line for line in one.exec(["cat", f"/run/smblock/export/exports/{disk.uuid}.json"]).check().split(b'"')
               if line.startswith(b"/dev/")]  # fmt: skip
    minor = one.exec(["stat", "-L", "-c", "%T", path.decode()]).check().decode().strip()
    name = f"tapimage{int(minor, 16)}"
    table = one.exec(["dmsetup", "table", name]).check().decode()
    sectors = table.split()[1]
    swap = "dmsetup suspend --nolockfs {0} && dmsetup load {0} --table '{1}' && dmsetup resume {0}"
    one.exec(["sh", "-c", swap.format(name, f"0 {sectors} error")]).check()
    began = time.monotonic()
    done = one.exec(["/usr/bin/python3", "-c", _WRITE, uri], timeout=60)
    assert b"Input/output error" in done.stderr, done.stderr
    assert time.monotonic() - began < 30
    one.exec(["sh", "-c", swap.format(name, table.strip())]).check()
    nbd(one, _WRITE, uri)


@pytest.mark.slow  # a host dies, and boots again
def test_a_name_is_found_on_another_host_after_its_own_has_died(disk: Disk, one: Dom0, two: Dom0) -> None:
    lab = disk.sr.lab
    uri = export(disk, "moved", host=2)
    nbd(two, "import nbd, sys; h = nbd.NBD(); h.connect_uri(sys.argv[1]); h.pwrite(b'a' * 4096, 0, 1)", uri)
    two.kill()
    lab.miss_heartbeats(two)
    refused = lab.admin("export", disk.uuid, "--name", "moved", host=1)
    assert refused.returncode == 1
    assert f"xe host-declare-dead uuid={two.uuid}" in refused.stderr.decode()
    lab.xe("host-declare-dead", f"uuid={two.uuid}")
    uri = export(disk, "moved", host=1)
    read = "import nbd, sys; h = nbd.NBD(); h.connect_uri(sys.argv[1]); print(h.pread(4096, 0) == b'a' * 4096)"
    assert nbd(one, read, uri) == b"True\n"
    assert lab.get("vdi", "sharable", disk.uuid) == "false"
    lab.power_on(two)
    assert len(lab.list("vbd", f"vdi-uuid={disk.uuid}")) == 2, "XAPI has the disk as plugged on the dead host"
    # systemd starts it.
    two.exec(["sh", "-c", f"setsid {SM_DIR}/smblock-export-server </dev/null >/dev/null 2>&1 &"]).check()
    wait_for(lambda: len(lab.list("vbd", f"vdi-uuid={disk.uuid}")) == 1, "the end of the dead host's VBD", 60)
    assert nbd(one, read, uri) == b"True\n"


@pytest.mark.slow
def test_a_crucible_volume_is_exported_and_keeps_what_clients_wrote(crucible_guests: CrucibleLab, one: Dom0) -> None:
    volume = crucible_guests.storage.create_volume("exported")
    crucible_guests.declare(volume)
    sr = crucible_guests.create_sr()
    write = "import nbd, sys; h = nbd.NBD(); h.connect_uri(sys.argv[1]); h.pwrite(b'a' * 4096, 0); h.flush()"
    read = "import nbd, sys; h = nbd.NBD(); h.connect_uri(sys.argv[1]); print(h.pread(4096, 0) == b'a' * 4096)"
    try:
        for program, printed in ((write, b""), (read, b"True\n")):
            done = sr.lab.admin("export", "--json", volume.uuid, "--name", "crucible", host=1)
            (listed,) = json.loads(done.check())
            assert nbd(one, program, listed["uri"]) == printed
            sr.lab.admin("unexport", "crucible", host=1).check()
    finally:
        sr.forget()
