"""The lab's xapi and `xe` keep the promises of the real ones that a storage driver lives by.

The driver here is one for tests, `tests/fixtures/LabFilesSR.py`: its disks are sparse files in a
folder that both hosts of the pool see.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab.dom0 import Dom0, LocalDom0
from tests.lab.tree import layout, stage_sm
from tests.lab.xapi import ApiError, Session, Settings, Xapi
from tests.lab.xapi.cli.main import run

XE = Path(__file__).parent / "lab" / "xe"
DRIVER = Path(__file__).parent / "fixtures" / "LabFilesSR.py"
GIB = 1 << 30


@dataclass
class Lab:
    """A pool of two hosts, and the folder its SRs are in."""

    xapi: Xapi
    hosts: list[Dom0]
    folder: Path
    lab_file: Path
    sm_tree: Path
    driver_tree: Path

    def bring_up(self, host: Dom0) -> None:
        """Lay out a host that has just started."""
        layout(host, sm_tree=self.sm_tree, driver_tree=self.driver_tree, ceph_conf=None,
               keyring=None, xapi=self.xapi.endpoint)  # fmt: skip

    def start(self, host: Dom0) -> None:
        """Start a host of the pool that is powered off."""
        host.start()
        self.bring_up(host)
        with self.xapi.session() as session:
            tasks = self.xapi.host_started(session.host.get_by_uuid(host.uuid))
            assert {session.task.get_status(task) for task in tasks} <= {"success"}

    def xe(self, *words: str, fails: bool = False) -> str:
        """Type an `xe` command; its stdout, or what it complained of on stderr if it `fails`."""
        done = run(words, str(self.lab_file))
        assert (done.status != 0) == fails, done.stderr + done.stdout
        return (done.stderr if fails else done.stdout).rstrip("\n")

    def sr(self, *words: str) -> str:
        """A new SR, shared by both hosts; its uuid."""
        return self.xe("sr-create", "type=labfiles", "shared=true", "name-label=files",
                       f"device-config:folder={self.folder}", *words)  # fmt: skip

    def vdi(self, sr: str, size: str = "1GiB") -> str:
        """A new disk; its uuid."""
        return self.xe("vdi-create", f"sr-uuid={sr}", "name-label=disk", f"virtual-size={size}")

    def vm(self, vdi: str) -> str:
        """A new halted VM with one disk; its uuid."""
        vm = self.xe("vm-create", "name-label=guest")
        self.xe("vbd-create", f"vm-uuid={vm}", f"vdi-uuid={vdi}", "device=0")
        return vm

    def get(self, kind: str, name: str, uuid: str) -> str:
        """One parameter of an object."""
        return self.xe(f"{kind}-param-get", f"uuid={uuid}", f"param-name={name}")

    def commands_since(self, mark: int) -> list[tuple[str, str]]:
        """Which SM commands ran where after the first `mark` of them."""
        return [(command.host, command.name) for command in self.xapi.commands[mark:]]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("xapi")
    parts = {name: folder / name for name in ("sm", "driver", "store", "one", "two")}
    for part in parts.values():
        part.mkdir()
    stage_sm(None, parts["sm"])
    shutil.copy(DRIVER, parts["driver"])
    (parts["driver"] / DRIVER.name).chmod(0o755)
    (parts["driver"] / DRIVER.stem).symlink_to(DRIVER.name)
    with (
        Xapi(settings=Settings(plugins=("labfiles",), lock_timeout=60)) as xapi,
        LocalDom0("one", parts["one"]) as one,
        LocalDom0("two", parts["two"]) as two,
    ):
        lab = Lab(xapi, [one, two], parts["store"], folder / "lab.json", parts["sm"], parts["driver"])
        for host in lab.hosts:
            lab.bring_up(host)
            xapi.add_host(host)
        xapi.write_lab_file(lab.lab_file)
        yield lab


@pytest.fixture
def session(pool: Lab) -> Iterator[Session]:
    with pool.xapi.session() as session:
        yield session


@pytest.fixture
def lost_host(pool: Lab, session: Session) -> Iterator[Dom0]:
    """Host two, which the test may power off: it is up again afterwards."""
    host = pool.hosts[1]
    yield host
    host.kill()
    pool.start(host)


def test_a_driver_is_listed_with_the_capabilities_xapi_knows(pool: Lab) -> None:
    assert pool.xe("sm-list", "type=labfiles", "params=driver-filename", "--minimal") == (
        "/opt/xensource/sm/LabFilesSR"
    )
    sm = pool.xe("sm-list", "type=labfiles", "--minimal")
    assert "VDI_SNAPSHOT: 1" in pool.get("sm", "features", sm)
    assert "NO_SUCH_CAPABILITY" not in pool.get("sm", "features", sm)


def test_a_shared_sr_is_created_once_and_plugged_on_every_host_the_master_first(pool: Lab) -> None:
    mark = len(pool.xapi.commands)
    sr = pool.sr()
    assert pool.commands_since(mark) == [("one", "sr_create"), ("one", "sr_attach"), ("two", "sr_attach")]
    plugged = pool.xe("pbd-list", f"sr-uuid={sr}", "currently-attached=true", "--minimal")
    assert len(plugged.split(",")) == 2
    assert pool.get("sr", "host", sr) == "<shared>"


def test_a_failed_create_leaves_no_sr_and_tells_sms_code_and_reason(pool: Lab) -> None:
    before = pool.xe("sr-list", "--minimal")
    complaint = pool.xe("sr-create", "type=labfiles", "name-label=x", "shared=true", fails=True)
    code, parameters = complaint.splitlines()[:2]
    assert code == "Error code: SR_BACKEND_FAILURE_115"
    assert parameters.startswith("Error parameters: , ")
    assert "folder" in parameters
    assert pool.xe("sr-list", "--minimal") == before


def test_an_unknown_type_is_refused(pool: Lab) -> None:
    assert "the driver was not recognised" in pool.xe("sr-create", "type=nosuch", "name-label=x", fails=True)


def test_a_list_looks_as_xe_prints_it(pool: Lab) -> None:
    sr = pool.sr()
    vdi = pool.vdi(sr)
    listing = pool.xe("vdi-list", f"uuid={vdi}", "params=uuid,name-label,virtual-size,sm-config")
    assert listing.splitlines() == [
        f"uuid ( RO)            : {vdi}",
        "      name-label ( RW): disk",
        "    virtual-size ( RO): 1073741824",
        "       sm-config (MRO): ",
    ]


def test_a_probe_shows_what_is_on_the_storage(pool: Lab) -> None:
    sr = pool.sr()
    found = pool.xe("sr-probe", "type=labfiles", f"device-config:folder={pool.folder}")
    assert "<UUID>" in found.replace("\n", "").replace("\t", "")
    assert sr in found


def test_a_scan_runs_again_until_the_disks_stand_still(pool: Lab) -> None:
    sr = pool.sr()
    vdi = pool.vdi(sr)
    pool.xe("vdi-forget", f"uuid={vdi}")
    mark = len(pool.xapi.commands)
    pool.xe("sr-scan", f"uuid={sr}")
    assert pool.commands_since(mark) == [("one", "sr_scan"), ("one", "sr_update")] * 2
    assert pool.xe("vdi-list", f"sr-uuid={sr}", "--minimal") == vdi
    assert pool.get("sr", "virtual-allocation", sr) == str(GIB)


def test_a_snapshot_is_followed_by_an_update_and_knows_its_origin(pool: Lab) -> None:
    vdi = pool.vdi(pool.sr())
    mark = len(pool.xapi.commands)
    snapshot = pool.xe("vdi-snapshot", f"uuid={vdi}")
    assert [name for _, name in pool.commands_since(mark)] == ["vdi_snapshot", "vdi_update"]
    assert pool.get("vdi", "snapshot-of", snapshot) == vdi
    assert pool.get("vdi", "is-a-snapshot", snapshot) == "true"
    assert pool.get("vdi", "name-label", snapshot) == "disk"
    assert not pool.get("vdi", "snapshot-time", snapshot).startswith("1970")
    clone = pool.xe("vdi-clone", f"uuid={snapshot}")
    assert pool.get("vdi", "is-a-snapshot", clone) == "false"


def test_an_operation_the_driver_does_not_advertise_never_reaches_it(pool: Lab, session: Session) -> None:
    vdi = session.VDI.get_by_uuid(pool.vdi(pool.sr()))
    mark = len(pool.xapi.commands)
    with pytest.raises(ApiError, match="SR_OPERATION_NOT_SUPPORTED"):
        session.VDI.generate_config(session.host.get_all()[0], vdi)
    assert pool.commands_since(mark) == []


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("VDIInUse", "is in use by some other operation"),
        ("Unimplemented", "not implemented"),
        ("SRNoSpace", "Error code: SR_BACKEND_FAILURE_44"),
        ("VDIMissing", "could not be found on the storage substrate"),
    ],
)
def test_faults_become_the_errors_xapi_makes_of_them(pool: Lab, name: str, complaint: str) -> None:
    sr = pool.sr(f"device-config:fault={name}")
    said = pool.xe("vdi-create", f"sr-uuid={sr}", "name-label=x", "virtual-size=1GiB", fails=True)
    assert complaint in said


def test_a_driver_that_prints_more_than_its_answer_has_failed(pool: Lab) -> None:
    sr = pool.sr("device-config:chatter=true")
    said = pool.xe("vdi-create", f"sr-uuid={sr}", "name-label=x", "virtual-size=1GiB", fails=True)
    assert said.startswith("Error code: SR_BACKEND_FAILURE\n")


def test_a_vm_holds_its_disk_where_it_runs_and_takes_it_along(pool: Lab) -> None:
    vdi = pool.vdi(pool.sr())
    vm = pool.vm(vdi)
    mark = len(pool.xapi.commands)
    pool.xe("vm-start", f"uuid={vm}", "on=one")
    assert "is in use" in pool.xe("vdi-destroy", f"uuid={vdi}", fails=True)
    assert "is in use" in pool.xe("vdi-resize", f"uuid={vdi}", "disk-size=2GiB", fails=True)
    pool.xe("vm-migrate", f"uuid={vm}", f"host-uuid={pool.hosts[1].uuid}")
    pool.xe("vm-shutdown", f"uuid={vm}")
    assert pool.commands_since(mark) == [
        ("one", "vdi_epoch_begin"), ("one", "vdi_attach"),
        ("two", "vdi_attach"), ("one", "vdi_detach"),
        ("two", "vdi_detach"), ("two", "vdi_epoch_end"),
    ]  # fmt: skip
    pool.xe("vdi-resize", f"uuid={vdi}", "disk-size=2GiB")
    assert pool.get("vdi", "virtual-size", vdi) == str(2 * GIB)


def test_one_disk_is_not_written_by_two_vms(pool: Lab) -> None:
    vdi = pool.vdi(pool.sr())
    first, second = pool.vm(vdi), pool.vm(vdi)
    pool.xe("vm-start", f"uuid={first}", "on=one")
    assert "is in use" in pool.xe("vm-start", f"uuid={second}", "on=two", fails=True)
    pool.xe("vm-shutdown", f"uuid={first}")
    pool.xe("vm-start", f"uuid={second}", "on=two")
    pool.xe("vm-shutdown", f"uuid={second}")


def test_a_revert_destroys_then_clones_and_repoints_the_other_snapshots(pool: Lab, session: Session) -> None:
    vdi = pool.vdi(pool.sr())
    vm = pool.vm(vdi)
    snapshot = pool.xe("vm-snapshot", f"uuid={vm}", "new-name-label=before")
    other = pool.xe("vdi-snapshot", f"uuid={vdi}")
    mark = len(pool.xapi.commands)
    pool.xe("snapshot-revert", f"snapshot-uuid={snapshot}")
    assert [name for _, name in pool.commands_since(mark)] == ["vdi_delete", "vdi_clone", "vdi_update"]
    disk = pool.xe("vbd-list", f"vm-uuid={vm}", "params=vdi-uuid", "--minimal")
    assert disk != vdi
    assert pool.get("vdi", "snapshot-of", other) == disk


def test_an_sr_moves_to_another_pool_by_forget_and_introduce(pool: Lab) -> None:
    sr = pool.sr()
    vdi = pool.vdi(sr)
    assert "connected to a host via a PBD" in pool.xe("sr-forget", f"uuid={sr}", fails=True)
    for pbd in pool.xe("pbd-list", f"sr-uuid={sr}", "--minimal").split(","):
        pool.xe("pbd-unplug", f"uuid={pbd}")
    pool.xe("sr-forget", f"uuid={sr}")
    assert pool.xe("vdi-list", f"uuid={vdi}", "--minimal") == ""
    pool.xe("sr-introduce", f"uuid={sr}", "type=labfiles", "name-label=back", "shared=true")
    for host in pool.hosts:
        pbd = pool.xe("pbd-create", f"host-uuid={host.uuid}", f"sr-uuid={sr}",
                      f"device-config:folder={pool.folder}")  # fmt: skip
        pool.xe("pbd-plug", f"uuid={pbd}")
    assert pool.xe("vdi-list", f"sr-uuid={sr}", "--minimal") == vdi


def test_only_an_empty_sr_is_destroyed_and_then_its_storage_is_gone(pool: Lab) -> None:
    sr = pool.sr()
    vdi = pool.vdi(sr)
    pbds = pool.xe("pbd-list", f"sr-uuid={sr}", "--minimal").split(",")
    for pbd in pbds:
        pool.xe("pbd-unplug", f"uuid={pbd}")
    assert "not empty" in pool.xe("sr-destroy", f"uuid={sr}", fails=True)
    for pbd in pbds:
        pool.xe("pbd-plug", f"uuid={pbd}")
    pool.xe("vdi-destroy", f"uuid={vdi}")
    for pbd in pbds:
        pool.xe("pbd-unplug", f"uuid={pbd}")
    pool.xe("sr-destroy", f"uuid={sr}")
    assert not (pool.folder / sr).exists()
    assert pool.xe("sr-list", f"uuid={sr}", "--minimal") == ""


def test_names_are_kept_by_xapi_and_told_to_the_driver(pool: Lab) -> None:
    sr = pool.sr()
    vdi = pool.vdi(sr)
    mark = len(pool.xapi.commands)
    pool.xe("vdi-param-set", f"uuid={vdi}", "name-label=renamed", "other-config:colour=blue")
    assert [name for _, name in pool.commands_since(mark)] == ["vdi_update"]
    assert "renamed" in (pool.folder / sr / f"{vdi}.json").read_text()
    assert pool.xe("vdi-param-get", f"uuid={vdi}", "param-name=other-config", "param-key=colour") == "blue"


def test_the_database_refuses_what_xapis_refuses(pool: Lab, session: Session) -> None:
    sr = session.SR.get_by_uuid(pool.sr())
    vdi = session.VDI.get_by_uuid(pool.vdi(session.SR.get_uuid(sr)))
    location = session.VDI.get_location(vdi)
    session.VDI.add_to_sm_config(vdi, "host_x", "RW")
    with pytest.raises(ApiError, match="MAP_DUPLICATE_KEY"):
        session.VDI.add_to_sm_config(vdi, "host_x", "RW")
    twice: tuple[Any, ...] = ("", "", sr, "user", False, False, {}, location, {}, {}, True, "1", "1")
    with pytest.raises(ApiError, match="LOCATION_NOT_UNIQUE"):
        session.VDI.db_introduce(str(uuid.uuid4()), *twice)
    with pytest.raises(ApiError, match="HANDLE_INVALID"):
        session.VDI.get_uuid("OpaqueRef:gone")
    with pytest.raises(ApiError, match="UUID_INVALID"):
        session.VDI.get_by_uuid("gone")
    assert session.VDI.get_virtual_size(vdi) == str(GIB)


def test_queries_are_understood_as_sm_writes_them(pool: Lab, session: Session) -> None:
    sr = session.SR.get_by_uuid(pool.sr())
    host = session.host.get_all()[1]
    for query in (
        f'field "SR" = "{sr}" and field "host" = "{host}"',
        f'field "SR" = "{sr}" andfield "host" = "{host}"',
        f'(field "SR" = "{sr}") and not (field "host" != "{host}") and field "currently_attached" = "true"',
    ):
        (pbd,) = session.PBD.get_all_records_where(query).values()
        assert (pbd["SR"], pbd["host"]) == (sr, host)
    with pytest.raises(ApiError, match="INVALID_VALUE"):
        session.PBD.get_all_records_where('field "SR" is "x"')


def test_disks_of_one_sr_are_made_one_after_the_other_however_many_ask(pool: Lab) -> None:
    sr = pool.sr()

    def create() -> None:
        with pool.xapi.session() as own:
            own.VDI.create({"SR": own.SR.get_by_uuid(sr), "virtual_size": str(GIB)})

    askers = [threading.Thread(target=create) for _ in range(4)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert len(pool.xe("vdi-list", f"sr-uuid={sr}", "--minimal").split(",")) == 4


def test_a_dead_host_loses_its_vms_and_its_marks_on_disks(pool: Lab, session: Session, lost_host: Dom0) -> None:
    vdi = pool.vdi(pool.sr())
    vm = pool.vm(vdi)
    pool.xe("vm-start", f"uuid={vm}", "on=two")
    host = session.host.get_by_uuid(lost_host.uuid)
    session.VDI.add_to_sm_config(session.VDI.get_by_uuid(vdi), f"host_{host}", "RW")
    lost_host.kill()
    pool.xe("host-declare-dead", f"uuid={lost_host.uuid}")
    assert pool.get("host", "host-metrics-live", lost_host.uuid) == "false"
    assert pool.get("vm", "power-state", vm) == "Halted"
    assert f"host_{host}" not in pool.get("vdi", "sm-config", vdi)
    pool.xe("vm-start", f"uuid={vm}", "on=one")
    pool.xe("vm-shutdown", f"uuid={vm}")


def test_a_host_that_comes_back_has_its_srs_plugged_and_no_vm(pool: Lab, lost_host: Dom0) -> None:
    vdi = pool.vdi(pool.sr())
    vm = pool.vm(vdi)
    pool.xe("vm-start", f"uuid={vm}", "on=two")
    lost_host.kill()
    assert "CANNOT_CONTACT_HOST" in pool.xe("vm-shutdown", f"uuid={vm}", fails=True)
    pool.start(lost_host)
    assert pool.get("host", "host-metrics-live", lost_host.uuid) == "true"
    assert pool.get("vm", "power-state", vm) == "Halted"
    pool.xe("vm-start", f"uuid={vm}", "on=two")
    pool.xe("vm-shutdown", f"uuid={vm}")


def test_a_plugin_runs_on_the_host_asked_for_and_its_errors_come_back(pool: Lab, session: Session) -> None:
    plugin = (
        "#!/usr/bin/python3\n"
        "import sys\n"
        "sys.path.append('/opt/xensource/sm')\n"
        "import XenAPI, XenAPIPlugin, util\n"
        "def whoami(session, args):\n"
        "    return args['greeting'] + ' ' + session.xenapi.host.get_name_label(\n"
        "        session.xenapi.host.get_by_uuid(util.get_this_host()))\n"
        "def fail(session, args):\n"
        "    raise XenAPI.Failure(['VDI_IN_USE', 'a', 'b'])\n"
        "XenAPIPlugin.dispatch({'whoami': whoami, 'fail': fail})\n"
    )
    pool.hosts[0].put("/etc/xapi.d/plugins/lab-whoami", plugin.encode(), mode=0o755)
    host = session.host.get_by_uuid(pool.hosts[0].uuid)
    assert session.host.call_plugin(host, "lab-whoami", "whoami", {"greeting": "hello"}) == "hello one"
    with pytest.raises(ApiError, match="VDI_IN_USE"):
        session.host.call_plugin(host, "lab-whoami", "fail", {})
    with pytest.raises(ApiError, match="XENAPI_MISSING_PLUGIN"):
        session.host.call_plugin(host, "no-such-plugin", "whoami", {})


def test_xe_is_a_program_that_finds_the_lab_by_its_file(pool: Lab) -> None:
    env = os.environ | {"SMBLOCK_LAB": str(pool.lab_file)}
    done = subprocess.run([XE, "host-list", "--minimal"], env=env, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert pool.hosts[0].uuid in done.stdout


def test_without_a_lab_xe_says_what_it_misses() -> None:
    env = {key: value for key, value in os.environ.items() if key != "SMBLOCK_LAB"}
    done = subprocess.run([XE, "sr-list"], env=env, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "SMBLOCK_LAB" in done.stderr
