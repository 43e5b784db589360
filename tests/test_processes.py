"""The processes and connections of each SM command, counted by strace on the host.

No `rbd`, no `ceph`, one connection to the cluster at most, and on stdout nothing but the reply.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lab.ceph import MONITOR_PORT, OneNodeCeph
from lab.cephrbd import CephRbdLab, RbdPool, wait_for
from lab.disk import Disk
from lab.dom0 import Completed, LocalDom0, lab_python

# Without `rbd task`, a deletion starts a reclaim worker, which is another process.
pytestmark = pytest.mark.needs_tasks

# A call that is interrupted by another thread's has two lines in the trace: "unfinished", then "resumed".
_EXECVE = re.compile(r'execve\("([^"]+)"')
_SOCKET = re.compile(r"(?:socket\(| socket resumed>).* = (\d+)$")
_CONNECT = re.compile(r'connect\((\d+), .*sin_port=htons\((\d+)\), sin_addr=inet_addr\("([^"]+)"\)')
_OPENAT = re.compile(r'openat\([^,]+, "([^"]+)"(?!.* = -1 )')
_COMMAND = re.compile(r"<methodName>(\w+)</methodName>")

# Programs that a real SM starts: for a UUID, and for a timer.
_OF_SM = {"uuidgen", "cat", "systemctl"}


@dataclass
class Trace:
    """The system calls of one SM command.

    executed   programs
    peers      TCP connections by the peer's port: all of the cluster's daemons have one address
    opened     files
    """

    command: str
    stdout: bytes
    executed: list[str]
    peers: Counter[int]
    opened: list[str]


class TracedDom0(LocalDom0):
    """A host whose SM commands run under strace."""

    def __init__(self, name: str, directory: Path) -> None:
        super().__init__(name, directory)
        self.traces: list[Trace] = []

    def sm(self, argv: Sequence[str], timeout: float = 120, *, env: Mapping[str, str] | None = None) -> Completed:
        log = "/run/sm/trace"
        strace = ["strace", "-f", "-qq", "-e", "trace=execve,socket,connect,openat", "-s", "4096", "-o", log]
        done = self.exec([*strace, lab_python(), *argv], env=env, timeout=timeout)
        named = _COMMAND.search(argv[-1])
        lines = self.get(log).decode(errors="replace").splitlines()
        self.traces.append(
            Trace(
                command=named.group(1) if named else "",
                stdout=done.stdout,
                executed=[found.group(1) for line in lines if (found := _EXECVE.search(line))],
                peers=_peers(lines),
                opened=[found.group(1) for line in lines if (found := _OPENAT.search(line))],
            )
        )
        return done


def _peers(lines: Sequence[str]) -> Counter[int]:
    """Connections by port.  Ceph calls connect() again on a socket, to check whether it is connected."""
    sockets = itertools.count()
    current: dict[str, int] = {}
    connected: set[tuple[int, int]] = set()
    for line in lines:
        if found := _SOCKET.search(line):
            current[found.group(1)] = next(sockets)
        elif found := _CONNECT.search(line):
            connected.add((current[found.group(1)], int(found.group(2))))
    return Counter(port for _, port in connected)


@pytest.fixture(scope="module")
def traces(
    ceph: OneNodeCeph, driver_tree: Path, sm_tree: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Trace]]:
    """The whole life of an SR and a disk on a traced host, and the replies of a host without kernel RBD."""
    directory = tmp_path_factory.mktemp("traced")
    (directory / "host").mkdir()
    with (
        TracedDom0("traced", directory / "host") as host,
        CephRbdLab([host], sm_tree, driver_tree, ceph, directory / "lab.json") as lab,
    ):
        pool = RbdPool(lab, "traced", "traced")
        ceph.create_pool(pool.name)
        lab.distribute_keyring(ceph.create_user(pool.user, pool.name))
        _live(pool)
        yield host.traces
        pool.delete()


def _live(pool: RbdPool) -> None:
    lab = pool.lab
    wait_for(lab.ceph.takes_tasks, "ceph-mgr to accept tasks")
    lab.xe("sr-probe", "type=cephrbd", f"device-config:ceph_user={pool.user}")
    sr = pool.create_sr()
    lab.xe("sr-probe", "type=cephrbd", *pool.device_config)
    vdi = sr.create_vdi()
    lab.xe("vdi-resize", f"uuid={vdi}", "disk-size=2GiB")
    lab.xe("vdi-param-set", f"uuid={vdi}", "name-label=renamed")
    _attach(sr.lab, vdi)
    _copy(Disk(sr, vdi))
    sr.scan()
    sr.command(lab.hosts[0], "sr_content_type")
    sr.forget()
    sr = pool.introduce_sr(sr.uuid)
    lab.xe("vdi-forget", f"uuid={vdi}")
    lab.xe("vdi-introduce", f"uuid={vdi}", f"sr-uuid={sr.uuid}", "type=user", f"location={vdi}", "name-label=back")
    sr.destroy_vdi(vdi)
    sr.destroy()


def _copy(disk: Disk) -> None:
    """Snapshot, clone and revert, and the disk's VM starts."""
    lab = disk.sr.lab
    snapshot = disk.snapshot()
    clone = snapshot.clone()
    snapshot.command(lab.hosts[0], "vdi_revert", lab.xapi.pool.db.by_uuid("VDI", clone.uuid))
    clone.command(lab.hosts[0], "vdi_epoch_begin")
    clone.command(lab.hosts[0], "vdi_epoch_end")
    clone.destroy()
    snapshot.destroy()


def _attach(lab: CephRbdLab, vdi: str) -> None:
    """Attach a disk on a host whose kernel has no RBD: that fails, but may start no `rbd` either."""
    domain = lab.list("vm", "is-control-domain=true")[0]
    vbd = lab.xe("vbd-create", f"vm-uuid={domain}", f"vdi-uuid={vdi}", "device=0")
    lab.refused("vbd-plug", f"uuid={vbd}")
    lab.xe("vbd-destroy", f"uuid={vbd}")


def test_every_command_of_an_sr_and_of_a_disk_was_traced(traces: list[Trace]) -> None:
    assert {trace.command for trace in traces} >= {
        "sr_get_driver_info", "sr_probe", "sr_create", "sr_attach", "sr_scan", "sr_update", "sr_detach", "sr_delete",
        "sr_content_type",
        "vdi_create", "vdi_resize", "vdi_update", "vdi_introduce", "vdi_attach", "vdi_delete",
        "vdi_snapshot", "vdi_clone", "vdi_revert", "vdi_epoch_begin", "vdi_epoch_end",
    }  # fmt: skip
    assert all(any(path.endswith("/smblock/_core.abi3.so") for path in trace.opened) for trace in traces)


def test_no_command_starts_another_process(traces: list[Trace]) -> None:
    """Except `modprobe`, on a host whose kernel has no RBD yet."""
    started = {(trace.command, *(Path(path).name for path in trace.executed)) for trace in traces}
    started = {tuple(word for word in words if word not in _OF_SM) for words in started}
    interpreter = Path(lab_python()).name
    allowed = {(trace.command, interpreter) for trace in traces if trace.command != "vdi_activate"}
    assert started == allowed | {("vdi_activate", interpreter, "modprobe")}


def test_no_command_connects_to_the_cluster_more_than_once(traces: list[Trace]) -> None:
    for trace in traces:
        # For each session librados makes two connections to a monitor: the first only fetches the monitors'
        # own configuration. To an OSD and to the manager a session has one each.
        daemons = {port: count for port, count in trace.peers.items() if port != MONITOR_PORT}
        assert trace.peers[MONITOR_PORT] in (0, 2), trace.command
        assert set(daemons.values()) <= {1}, (trace.command, daemons)
    scan = next(trace for trace in traces if trace.command == "sr_scan")
    assert sum(scan.peers.values()) >= 3  # monitor and OSD: the trace has connections


def test_what_needs_no_cluster_connects_to_none(traces: list[Trace]) -> None:
    silent = {trace.command for trace in traces if not trace.peers}
    assert silent == {
        "sr_get_driver_info", "sr_content_type", "sr_detach", "vdi_attach", "vdi_detach", "vdi_epoch_end",
    }  # fmt: skip


def test_a_command_prints_one_reply_and_nothing_else(traces: list[Trace]) -> None:
    for trace in traces:
        reply = ElementTree.fromstring(trace.stdout.strip())
        assert reply.tag == "methodResponse", trace.command


def test_a_command_opens_only_the_ceph_libraries_that_it_needs(traces: list[Trace]) -> None:
    """Opening a library takes longer than most commands' calls of it."""

    def libraries(command: str) -> set[str]:
        opened = (path for trace in traces if trace.command == command for path in trace.opened)
        return {name for path in opened for name in ("librados", "librbd") if Path(path).name.startswith(name)}

    assert libraries("sr_get_driver_info") == set()
    assert libraries("vdi_attach") == set()
    assert libraries("sr_update") == {"librados"}
    assert libraries("vdi_update") == {"librados"}
    assert libraries("sr_scan") == {"librados", "librbd"}
