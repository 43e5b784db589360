"""What the keeper of a host's server does by itself: after a boot, after a kill, and for VMs and hosts that get a disk.

With disks that are files, as in test_exports.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import wait_for
from lab.dom0 import LocalDom0
from tests.exports_pool import MIB, ExportsPool, client, exports_pool, random_file, writes


@pytest.fixture(scope="module")
def pool(
    tmp_path_factory: pytest.TempPathFactory,
    driver_tree: Path,
    sm_tree: Path,
    new_local_dom0: Callable[[str], LocalDom0],
) -> Iterator[ExportsPool]:
    with (
        new_local_dom0("one") as one,
        new_local_dom0("two") as two,
        exports_pool([one, two], sm_tree, driver_tree, tmp_path_factory.mktemp("exports")) as pool,
    ):
        yield pool


@pytest.fixture
def vdi(pool: ExportsPool) -> Iterator[str]:
    """A disk whose exports are ended after the test."""
    with pool.new_vdi() as vdi:
        yield vdi


def test_a_host_serves_its_exports_again_after_a_boot(pool: ExportsPool, vdi: str, tmp_path: Path) -> None:
    (export,) = pool.export(vdi, "--name", "booted", host=1)
    data = random_file(tmp_path / "source", 8 * MIB)
    client("nbdcopy", tmp_path / "source", export["uri"])
    host = pool.hosts[1]
    host.kill()
    pool.power_on(host)
    pool.prepare(host)
    pool.start_server(host=1)
    pool.wait_for_server("booted", host=1)
    client("nbdcopy", export["uri"], tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data
    pool.unexport("booted")


def test_a_stale_record_leaves_the_device_of_another_disk_alone(pool: ExportsPool, vdi: str) -> None:
    """xapi has given the device of before the boot to another disk."""
    pool.export(vdi, "--name", "stale", host=1)
    (stale,) = pool.list("vbd", f"vdi-uuid={vdi}")
    host, db = pool.hosts[1], pool.xapi.pool.db
    host.kill()
    pool.power_on(host)
    pool.prepare(host)
    db.set("VBD", db.by_uuid("VBD", stale), "device", "nbd7")
    host.put("/var/run/nonpersistent/nbd/7", b"{}")
    pool.start_server(host=1)
    pool.wait_for_server("stale", host=1)
    client("nbdinfo", "--size", pool.uri("stale", host=1))
    assert pool.get("vbd", "currently-attached", stale) == "true"
    assert len(pool.list("vbd", f"vdi-uuid={vdi}")) == 2
    host.exec(["rm", "/var/run/nonpersistent/nbd/7"]).check()  # the other disk was unplugged
    pool.unexport("stale")
    assert pool.list("vbd", f"vdi-uuid={vdi}") == []


def test_a_disk_that_a_vm_uses_is_not_served_after_a_boot(pool: ExportsPool, vdi: str) -> None:
    """The VM was started while nothing was plugged. XAPI plugs its disk into the control domain."""
    vm = pool.vm(("0", vdi), name="starts")
    pool.export(vdi, "--name", "late")
    pool.kill_server()
    (vbd,) = [each for each in pool.list("vbd", f"vdi-uuid={vdi}") if each not in pool.list("vbd", f"vm-uuid={vm}")]
    pool.xe("vbd-unplug", f"uuid={vbd}")
    pool.hosts[0].exec(["rm", f"/run/smblock/export/exports/{vdi}.json"]).check()
    with pool.xapi.session() as session:
        session.VM.set_blocked_operations(session.VM.get_by_uuid(vm), {})  # by an administrator
    pool.xe("vm-start", f"uuid={vm}", "on=one")
    pool.start_server()
    with pool.xapi.session() as session:  # a look at the export begins with it
        wait_for(lambda: session.VM.get_blocked_operations(session.VM.get_by_uuid(vm)) != {}, "a look")
    time.sleep(2)
    assert pool.exports()["late"]["state"] == "not served"
    pool.xe("vm-shutdown", f"uuid={vm}", "force=true")
    pool.wait_for_server("late")
    pool.unexport("late")
    pool.xe("vm-destroy", f"uuid={vm}")


def test_a_running_vm_that_gets_an_exported_disk_takes_it_from_the_client(pool: ExportsPool, vdi: str) -> None:
    """XAPI plugs it without a question to SM, because the host has the disk active."""
    (export,) = pool.export(vdi, "--name", "hot")
    vm = pool.vm(name="runs")
    pool.xe("vm-start", f"uuid={vm}", "on=one")
    writer = writes(export["uri"])
    vbd = pool.xe("vbd-create", f"vm-uuid={vm}", f"vdi-uuid={vdi}", "device=0")
    pool.xe("vbd-plug", f"uuid={vbd}")
    wait_for(lambda: pool.exports()["hot"]["state"] == "not served", "the end of the service")
    with pytest.raises(AssertionError, match="nbd_pwrite"):
        writer.end()
    assert "this host has no export" in client("nbdinfo", export["uri"], check=False)
    pool.xe("vbd-unplug", f"uuid={vbd}")
    pool.wait_for_server("hot")
    pool.unexport("hot")
    pool.xe("vm-shutdown", f"uuid={vm}", "force=true")
    pool.xe("vm-destroy", f"uuid={vm}")


def test_a_host_unplugs_what_another_host_has_taken_meanwhile(pool: ExportsPool, vdi: str) -> None:
    pool.export(vdi, "--name", "taken")
    pool.kill_server()
    assert len(pool.list("vbd", f"vdi-uuid={vdi}")) == 1
    with pool.xapi.session() as session:
        vdi_ref = session.VDI.get_by_uuid(vdi)
        session.VDI.remove_from_other_config(vdi_ref, "smblock:export-host")
        session.VDI.add_to_other_config(vdi_ref, "smblock:export-host", pool.hosts[1].uuid)
    pool.start_server()
    wait_for(lambda: pool.list("vbd", f"vdi-uuid={vdi}") == [], "the disk to be unplugged")
    assert pool.exports()["taken"]["host"] == pool.hosts[1].uuid
    pool.unexport("taken")


def test_a_plug_that_hangs_holds_up_no_other_export(pool: ExportsPool, vdi: str) -> None:
    stuck, third = pool.vdi(MIB), pool.vdi(MIB)
    for name, each in (("a-stuck", stuck), ("third", third), ("z-hot", vdi)):
        pool.export(each, "--name", name)
    vm = pool.vm(name="runs")
    pool.xe("vm-start", f"uuid={vm}", "on=one")
    hang = pool.directory / pool.sr / f"{stuck}.img.hang"
    pool.kill_server()
    (vbd,) = pool.list("vbd", f"vdi-uuid={stuck}")
    pool.xe("vbd-unplug", f"uuid={vbd}")
    hang.touch()
    try:
        pool.start_server()
        pool.wait_for_server("z-hot")
        writer = writes(pool.uri("z-hot"))
        time.sleep(2)  # the keeper plugs a-stuck
        vbd = pool.xe("vbd-create", f"vm-uuid={vm}", f"vdi-uuid={vdi}", "device=0")
        pool.xe("vbd-plug", f"uuid={vbd}")
        began = time.monotonic()
        wait_for(lambda: pool.states()["z-hot"] == "not served", "the end of the service")
        assert time.monotonic() - began < 15
        with pytest.raises(AssertionError, match="nbd_pwrite"):
            writer.end()
        pool.unexport("third")
    finally:
        hang.unlink()
    pool.wait_for_server("a-stuck")
    pool.unexport("a-stuck")
    pool.unexport("z-hot")
    pool.xe("vm-shutdown", f"uuid={vm}", "force=true")
    pool.xe("vm-destroy", f"uuid={vm}")
    for each in (stuck, third):
        pool.xe("vdi-destroy", f"uuid={each}")


# A command of a host with systemd: it prints the calls of systemctl.
_WITH_SYSTEMD = """
import sys
sys.path[:0] = ["/opt/xensource/sm", "/opt/xensource/sm/core"]
from smblock import export_control, cli
export_control.HAS_SYSTEMD = True
export_control._systemctl = lambda *words: print("systemctl", *words)
sys.exit(cli.main(sys.argv[1:]))
"""


def test_the_server_runs_on_while_this_host_has_an_export(pool: ExportsPool, vdi: str) -> None:
    """One that it does not serve at the moment has no file, but has to be served after a boot."""
    other = pool.vdi(MIB)
    pool.export(vdi, "--name", "waits")
    pool.export(other, "--name", "ends")
    (vbd,) = pool.list("vbd", f"vdi-uuid={vdi}")
    pool.kill_server()
    pool.xe("vbd-unplug", f"uuid={vbd}")
    pool.hosts[0].exec(["rm", f"/run/smblock/export/exports/{vdi}.json"]).check()
    assert pool.states() == {"ends": "not served", "waits": "not served"}
    calls = [pool.hosts[0].sm(["/usr/bin/python3", "-c", _WITH_SYSTEMD, "unexport", name]).check().decode()
             for name in ("ends", "waits")]  # fmt: skip
    assert "systemctl" not in calls[0]
    assert "systemctl disable --now smblock-export.service" in calls[1]
    pool.xe("vdi-destroy", f"uuid={other}")


def test_a_reader_in_the_control_domain_takes_no_export_from_its_client(pool: ExportsPool, vdi: str) -> None:
    """A backup, or xapi's own NBD server."""
    domain = pool.hosts[0].control_domain_uuid
    pool.export(vdi, "--name", "read-too")
    vbd = pool.xe("vbd-create", f"vm-uuid={domain}", f"vdi-uuid={vdi}", "device=100", "mode=RO")
    pool.xe("vbd-plug", f"uuid={vbd}")
    pool.kill_server()
    pool.start_server()  # it looks at all exports
    wait_for(lambda: pool.states()["read-too"] == "served", "the server")
    time.sleep(2)
    client("nbdinfo", "--size", pool.uri("read-too"))
    pool.unexport("read-too")
    pool.xe("vbd-unplug", f"uuid={vbd}")
    pool.xe("vbd-destroy", f"uuid={vbd}")
    vbd = pool.xe("vbd-create", f"vm-uuid={domain}", f"vdi-uuid={vdi}", "device=100", "mode=RW")
    pool.xe("vbd-plug", f"uuid={vbd}")
    refused = pool.fails("export", vdi, "--name", "read-too")
    assert f"(if nothing there uses the disk: xe vbd-unplug uuid={vbd})" in refused
    pool.xe("vbd-unplug", f"uuid={vbd}")
    pool.xe("vbd-destroy", f"uuid={vbd}")


_IN_A_HURRY = """
import sys
sys.path[:0] = ["/opt/xensource/sm", "/opt/xensource/sm/core"]
from smblock import cli, export_pool
export_pool.PLUG_SECONDS = 2
sys.exit(cli.main(sys.argv[1:]))
"""


def test_an_export_whose_plug_takes_too_long_is_served_later(pool: ExportsPool, vdi: str) -> None:
    hang = pool.directory / pool.sr / f"{vdi}.img.hang"
    hang.touch()
    try:
        done = pool.hosts[0].sm(["/usr/bin/python3", "-c", _IN_A_HURRY, "export", vdi, "--name", "late"])
        assert done.returncode == 1
        assert f"XAPI has not plugged VDI {vdi} in 2 s" in done.stderr.decode()
        assert pool.states() == {"late": "not served"}
    finally:
        hang.unlink()
    pool.wait_for_server("late")
    client("nbdinfo", "--size", pool.uri("late"))
    pool.unexport("late")
