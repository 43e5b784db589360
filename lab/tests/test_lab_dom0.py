"""Tests of the lab's hosts."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import LabError, keeper, tree
from lab.ceph import OneNodeCeph
from lab.dom0 import LocalDom0
from lab.ports import AddressLease

WHO_AM_I = b"""#!/usr/bin/python3
import os, sys
print(sys.argv[1:], os.path.realpath(sys.path[0]))
sys.stderr.write("and that is that")
sys.exit(7)
"""


@pytest.fixture
def host(new_local_dom0: Callable[[str], LocalDom0]) -> Iterator[LocalDom0]:
    with new_local_dom0("host1") as started:
        yield started


def test_a_local_dom0_has_a_tree_of_its_own_and_changes_no_other(host: LocalDom0) -> None:
    ours = (
        "/dev/sm/link", "/etc/xensource-inventory", "/opt/xensource/sm/util.py", "/run/sm/state",
        "/usr/sbin/tap-ctl", "/var/lib/xcp/state", "/var/lock/sm/lock",
    )  # fmt: skip
    for path in ours:
        assert not os.path.lexists(path), f"{path}: this machine is a dom0"
        host.put(path, b"of the lab")
    for path in ours:
        assert host.get(path) == b"of the lab"
        assert not os.path.lexists(path)


def test_two_local_hosts_are_isolated(new_local_dom0: Callable[[str], LocalDom0]) -> None:
    with new_local_dom0("host1") as one, new_local_dom0("host2") as other:
        one.put("/var/lib/xcp/state", b"one")
        assert other.exec(["test", "-e", "/var/lib/xcp/state"]).returncode == 1
        assert other.exec(["hostname"]).check() == b"host2\n"
        assert b"host1" not in other.exec(["ps", "axww"]).check()
        assert len({one.uuid, one.control_domain_uuid, other.uuid, other.control_domain_uuid}) == 4
        assert one.address != other.address
        assert one.boot_id != other.boot_id


def test_a_command_gets_input_and_environment_and_returns_output(host: LocalDom0) -> None:
    everything = bytes(range(256)) * 4096
    assert host.exec(["cat"], input=everything).check() == everything
    done = host.exec(["sh", "-c", 'echo "$GREETING"; echo no >&2; exit 3'], env={"GREETING": "hello"})
    assert (done.returncode, done.stdout, done.stderr) == (3, b"hello\n", b"no\n")
    assert host.exec(["sh", "-c", "kill -9 $$"]).returncode == -signal.SIGKILL


def test_a_command_that_takes_too_long_is_killed_and_reported(host: LocalDom0) -> None:
    with pytest.raises(LabError, match="not done in 0.5 s; so far: started"):
        host.exec(["sh", "-c", "echo started; exec sleep 600"], timeout=0.5)
    assert host.exec(["pgrep", "-x", "sleep"]).returncode == 1


def test_a_daemon_left_behind_does_not_delay_its_parents_reply(host: LocalDom0) -> None:
    started = time.monotonic()
    daemon = host.exec(["sh", "-c", "sleep 600 & echo $!"]).check().decode().strip()
    assert time.monotonic() - started < 5
    host.exec(["/bin/kill", "-0", daemon]).check()


def test_commands_run_side_by_side(host: LocalDom0) -> None:
    started = time.monotonic()
    threads = [threading.Thread(target=host.exec, args=(["sleep", "1"],)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - started < 4


def test_a_driver_runs_with_its_arguments_in_its_own_directory(host: LocalDom0) -> None:
    host.put("/opt/xensource/sm/Who.py", WHO_AM_I, mode=0o755)
    host.exec(["ln", "-s", "Who.py", "/opt/xensource/sm/WhoSR"]).check()
    done = host.sm(["/opt/xensource/sm/WhoSR", "<methodCall/>"])
    assert done.returncode == 7
    assert done.stdout == b"['<methodCall/>'] /opt/xensource/sm\n"
    assert done.stderr == b"and that is that"


def test_a_driver_with_modules_in_memory_gives_the_same_reply(host: LocalDom0, tmp_path: Path) -> None:
    tree.layout(host, sm_tree=tree.stage_sm(None, tmp_path), driver_tree=None, ceph_conf=None, keyring=None)
    driver = (
        b"#!/usr/bin/python3\nimport os, sys\nmemory = 'xmlrpc.client' in sys.modules\n"
        b"print(sys.argv[1:], sys.path[0], memory, flush=True)\nos.system('echo child')\n"
        b"sys.stderr.write('bye')\nsys.exit(7)\n"
    )
    host.put("/opt/xensource/sm/WhoSR", driver, mode=0o755)
    for _ in range(2):
        done = host.sm(["/opt/xensource/sm/WhoSR", "<methodCall/>"])
        assert done.returncode == 7
        assert done.stdout == b"['<methodCall/>'] /opt/xensource/sm True\nchild\n"
        assert done.stderr == b"bye"
    host.put("/opt/xensource/sm/BadSR", b"#!/usr/bin/python3\nraise RuntimeError('no good')\n", mode=0o755)
    failed = host.sm(["/opt/xensource/sm/BadSR"])
    assert failed.returncode == 1
    assert failed.stderr.endswith(b"RuntimeError: no good\n")


def test_kill_crashes_a_host_and_its_next_start_is_a_new_boot(host: LocalDom0, tmp_path: Path) -> None:
    last_words = tmp_path / "last-words"
    host.exec(["sh", "-c", f"(trap 'touch {last_words}' TERM HUP EXIT; while :; do sleep 1; done) &"]).check()
    host.put("/run/sm/state", b"before")
    before = host.boot_id
    host.kill()
    with pytest.raises(LabError):
        host.exec(["true"])
    assert not last_words.exists()
    host.start()
    assert host.boot_id != before
    assert host.exec(["test", "-e", "/run/sm/state"]).returncode == 1
    assert host.exec(["pgrep", "-x", "sleep"]).returncode == 1


def test_a_host_leaves_nothing_behind(tmp_path: Path) -> None:
    with LocalDom0("host1", tmp_path / "host") as host:
        token = str(tmp_path / "host" / "host")
        assert keeper.processes_naming(token)
        host.exec(["sh", "-c", "setsid sleep 600 &"]).check()
    assert keeper.processes_naming(token) == []
    assert list(tmp_path.iterdir()) == []


def test_a_hosts_unix_socket_leads_to_a_server_of_the_lab(host: LocalDom0) -> None:
    with AddressLease() as lease, socket.create_server((lease.address, 8080)) as server:
        host.forward("/var/lib/xcp/xapi", lease.address, 8080)
        replies: list[bytes] = []

        def client() -> None:
            script = (
                "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/var/lib/xcp/xapi');"
                "s.sendall(b'ping'); s.shutdown(socket.SHUT_WR); print(s.recv(100).decode())"
            )
            replies.append(host.exec(["/usr/bin/python3", "-c", script], timeout=10).check())

        asking = threading.Thread(target=client)
        asking.start()
        server.settimeout(10)
        connection, _ = server.accept()
        with connection:
            assert connection.makefile("rb").read() == b"ping"
            connection.sendall(b"pong")
        asking.join()
        assert replies == [b"pong\n"]


def test_a_host_has_its_inventory_and_its_clusters_files(
    host: LocalDom0, ceph: OneNodeCeph, pool: str, tmp_path: Path
) -> None:
    keyring = ceph.create_user("host", pool)
    tree.layout(
        host,
        sm_tree=tree.stage_sm(None, tmp_path),
        driver_tree=None,
        ceph_conf=ceph.client_conf(),
        keyring=keyring,
    )
    assert f"INSTALLATION_UUID='{host.uuid}'" in host.get("/etc/xensource-inventory").decode()
    host.exec(["rbd", "--id", "host", "create", "--size", "1G", f"{pool}/disk"]).check()
    assert ceph.rbd("ls", pool).split() == ["disk"]


@pytest.mark.skipif("SM_SOURCE" not in os.environ, reason="SM_SOURCE names no checkout of sm")
def test_the_real_sm_runs_a_command_on_a_host(host: LocalDom0, tmp_path: Path) -> None:
    sm_tree = tree.stage_sm(Path(os.environ["SM_SOURCE"]), tmp_path)
    tree.layout(host, sm_tree=sm_tree, driver_tree=None, ceph_conf=None, keyring=None)
    asked = {"command": "sr_get_driver_info", "args": [], "device_config": {}}
    call = xmlrpc.client.dumps((asked,), "sr_get_driver_info")
    reply = host.sm([f"{tree.SM_DIR}/DummySR", call]).check()
    assert b"<name>driver_version</name>" in reply
