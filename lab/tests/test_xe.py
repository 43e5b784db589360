"""The lab's xapi and `xe` behave as the real ones in what a storage driver depends on.

The driver is one for tests, `lab/tests/fixtures/LabFilesSR.py`: its disks are sparse files in a
directory that both hosts of the pool share.
"""

from __future__ import annotations

import functools
import os
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.dom0 import Dom0, LocalDom0
from lab.tree import install_driver, stage_sm
from lab.xapi import ApiError, Session, Settings
from lab.xapi.lab_pool import LabPool, Tree, XeError

XE = Path(__file__).parents[1] / "xe"
DRIVER = Path(__file__).parent / "fixtures" / "LabFilesSR.py"
GIB = 1 << 30


class FilesPool(LabPool):
    """A pool of two hosts, and the directory its SRs are in."""

    directory: Path

    def refused(self, *words: str) -> str:
        """Run an `xe` command that fails. Returns its stderr."""
        with pytest.raises(XeError) as failure:
            self.xe(*words)
        return str(failure.value)

    def sr(self, *words: str) -> str:
        """Create an SR, shared by both hosts. Returns its uuid."""
        return self.xe("sr-create", "type=labfiles", "shared=true", "name-label=files",
                       f"device-config:directory={self.directory}", *words)  # fmt: skip

    @functools.cached_property
    def common_sr(self) -> str:
        """The SR of tests that need none of their own."""
        return self.sr()

    def vdi(self, sr: str | None = None) -> str:
        """Create a disk of 1 GiB. Returns its uuid."""
        return self.xe("vdi-create", f"sr-uuid={sr or self.common_sr}", "name-label=disk", "virtual-size=1GiB")

    def vm(self, vdi: str) -> str:
        """Create a halted VM with one disk. Returns its uuid."""
        vm = self.xe("vm-create", "name-label=guest")
        self.xe("vbd-create", f"vm-uuid={vm}", f"vdi-uuid={vdi}", "device=0")
        return vm

    def get(self, kind: str, name: str, uuid: str) -> str:
        """One parameter of an object."""
        return self.xe(f"{kind}-param-get", f"uuid={uuid}", f"param-name={name}")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, new_local_dom0: Callable[[str], LocalDom0]) -> Iterator[FilesPool]:
    directory = tmp_path_factory.mktemp("xapi")
    parts = {name: directory / name for name in ("sm", "driver", "store")}
    for part in parts.values():
        part.mkdir()
    stage_sm(None, parts["sm"])
    install_driver(DRIVER, parts["driver"])
    settings = Settings(plugins=("labfiles",), lock_timeout=60)
    tree = Tree(parts["sm"], parts["driver"])
    with (
        new_local_dom0("one") as one,
        new_local_dom0("two") as two,
        FilesPool([one, two], tree, directory / "lab.json", settings) as lab,
    ):
        lab.directory = parts["store"]
        yield lab


@pytest.fixture
def session(lab: FilesPool) -> Iterator[Session]:
    with lab.xapi.session() as session:
        yield session


@pytest.fixture
def lost_host(lab: FilesPool, session: Session) -> Iterator[Dom0]:
    """Host two, which the test may power off. It is started again after the test."""
    host = lab.hosts[1]
    yield host
    host.kill()
    lab.power_on(host)


def test_a_driver_is_listed_with_the_capabilities_of_xapis_list(lab: FilesPool) -> None:
    assert lab.xe("sm-list", "type=labfiles", "params=driver-filename", "--minimal") == ("/opt/xensource/sm/LabFilesSR")
    sm = lab.xe("sm-list", "type=labfiles", "--minimal")
    assert "VDI_SNAPSHOT: 1" in lab.get("sm", "features", sm)
    assert "NO_SUCH_CAPABILITY" not in lab.get("sm", "features", sm)


def test_a_shared_sr_is_created_once_and_plugged_on_the_master_first(lab: FilesPool) -> None:
    mark = len(lab.xapi.commands)
    sr = lab.sr()
    assert lab.commands_since(mark) == [("one", "sr_create"), ("one", "sr_attach"), ("two", "sr_attach")]
    plugged = lab.xe("pbd-list", f"sr-uuid={sr}", "currently-attached=true", "--minimal")
    assert len(plugged.split(",")) == 2
    assert lab.get("sr", "host", sr) == "<shared>"


def test_a_failed_create_leaves_no_sr_and_has_sms_code_and_reason(lab: FilesPool) -> None:
    before = lab.xe("sr-list", "--minimal")
    complaint = lab.refused("sr-create", "type=labfiles", "name-label=x", "shared=true")
    code, parameters = complaint.splitlines()[:2]
    assert code == "Error code: SR_BACKEND_FAILURE_115"
    assert parameters.startswith("Error parameters: , ")
    assert "directory" in parameters
    assert lab.xe("sr-list", "--minimal") == before


def test_an_unknown_type_is_refused(lab: FilesPool) -> None:
    assert "the driver was not recognised" in lab.refused("sr-create", "type=nosuch", "name-label=x")


def test_a_list_looks_as_xe_prints_it(lab: FilesPool) -> None:
    vdi = lab.vdi()
    listing = lab.xe("vdi-list", f"uuid={vdi}", "params=uuid,name-label,virtual-size,sm-config")
    assert listing.splitlines() == [
        f"uuid ( RO)            : {vdi}",
        "      name-label ( RW): disk",
        "    virtual-size ( RO): 1073741824",
        "       sm-config (MRO): ",
    ]


def test_a_probe_shows_what_is_on_the_storage(lab: FilesPool) -> None:
    sr = lab.common_sr
    found = lab.xe("sr-probe", "type=labfiles", f"device-config:directory={lab.directory}")
    assert "<UUID>" in found.replace("\n", "").replace("\t", "")
    assert sr in found


def test_a_scan_is_repeated_until_the_list_of_disks_is_stable(lab: FilesPool) -> None:
    sr = lab.sr()
    vdi = lab.vdi(sr)
    lab.xe("vdi-forget", f"uuid={vdi}")
    mark = len(lab.xapi.commands)
    lab.xe("sr-scan", f"uuid={sr}")
    assert lab.commands_since(mark) == [("one", "sr_scan"), ("one", "sr_update")] * 2
    assert lab.xe("vdi-list", f"sr-uuid={sr}", "--minimal") == vdi
    assert lab.get("sr", "virtual-allocation", sr) == str(GIB)


def test_a_snapshot_is_followed_by_an_update_and_has_its_origin(lab: FilesPool) -> None:
    vdi = lab.vdi()
    mark = len(lab.xapi.commands)
    snapshot = lab.xe("vdi-snapshot", f"uuid={vdi}")
    assert [name for _, name in lab.commands_since(mark)] == ["vdi_snapshot", "vdi_update"]
    assert lab.get("vdi", "snapshot-of", snapshot) == vdi
    assert lab.get("vdi", "is-a-snapshot", snapshot) == "true"
    assert lab.get("vdi", "name-label", snapshot) == "disk"
    assert not lab.get("vdi", "snapshot-time", snapshot).startswith("1970")
    clone = lab.xe("vdi-clone", f"uuid={snapshot}")
    assert lab.get("vdi", "is-a-snapshot", clone) == "false"


def test_an_operation_the_driver_does_not_advertise_never_reaches_it(lab: FilesPool, session: Session) -> None:
    vdi = session.VDI.get_by_uuid(lab.vdi())
    mark = len(lab.xapi.commands)
    with pytest.raises(ApiError, match="SR_OPERATION_NOT_SUPPORTED"):
        session.VDI.generate_config(session.host.get_all()[0], vdi)
    assert lab.commands_since(mark) == []


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("VDIInUse", "is in use by some other operation"),
        ("Unimplemented", "not implemented"),
        ("SRNoSpace", "Error code: SR_BACKEND_FAILURE_44"),
        ("VDIMissing", "could not be found on the storage substrate"),
    ],
)
def test_faults_become_the_errors_xapi_makes_of_them(lab: FilesPool, name: str, complaint: str) -> None:
    sr = lab.sr(f"device-config:fault={name}")
    said = lab.refused("vdi-create", f"sr-uuid={sr}", "name-label=x", "virtual-size=1GiB")
    assert complaint in said


def test_a_driver_that_prints_more_than_its_reply_has_failed(lab: FilesPool) -> None:
    sr = lab.sr("device-config:chatter=true")
    said = lab.refused("vdi-create", f"sr-uuid={sr}", "name-label=x", "virtual-size=1GiB")
    assert said.startswith("Error code: SR_BACKEND_FAILURE\n")


def test_a_vms_disk_is_plugged_on_its_host_and_moves_with_it(lab: FilesPool) -> None:
    vdi = lab.vdi()
    vm = lab.vm(vdi)
    mark = len(lab.xapi.commands)
    lab.xe("vm-start", f"uuid={vm}", "on=one")
    assert "is in use" in lab.refused("vdi-destroy", f"uuid={vdi}")
    assert "is in use" in lab.refused("vdi-resize", f"uuid={vdi}", "disk-size=2GiB")
    lab.xe("vm-migrate", f"uuid={vm}", f"host-uuid={lab.hosts[1].uuid}")
    lab.xe("vm-shutdown", f"uuid={vm}")
    assert lab.commands_since(mark) == [
        ("one", "vdi_epoch_begin"), ("one", "vdi_attach"),
        ("two", "vdi_attach"), ("one", "vdi_detach"),
        ("two", "vdi_detach"), ("two", "vdi_epoch_end"),
    ]  # fmt: skip
    lab.xe("vdi-resize", f"uuid={vdi}", "disk-size=2GiB")
    assert lab.get("vdi", "virtual-size", vdi) == str(2 * GIB)


def test_one_disk_is_not_written_by_two_vms(lab: FilesPool) -> None:
    vdi = lab.vdi()
    first, second = lab.vm(vdi), lab.vm(vdi)
    lab.xe("vm-start", f"uuid={first}", "on=one")
    assert "is in use" in lab.refused("vm-start", f"uuid={second}", "on=two")
    lab.xe("vm-shutdown", f"uuid={first}")
    lab.xe("vm-start", f"uuid={second}", "on=two")
    lab.xe("vm-shutdown", f"uuid={second}")


def test_a_revert_destroys_then_clones_and_repoints_the_other_snapshots(lab: FilesPool, session: Session) -> None:
    vdi = lab.vdi()
    vm = lab.vm(vdi)
    snapshot = lab.xe("vm-snapshot", f"uuid={vm}", "new-name-label=before")
    other = lab.xe("vdi-snapshot", f"uuid={vdi}")
    mark = len(lab.xapi.commands)
    lab.xe("snapshot-revert", f"snapshot-uuid={snapshot}")
    assert [name for _, name in lab.commands_since(mark)] == ["vdi_delete", "vdi_clone", "vdi_update"]
    disk = lab.xe("vbd-list", f"vm-uuid={vm}", "params=vdi-uuid", "--minimal")
    assert disk != vdi
    assert lab.get("vdi", "snapshot-of", other) == disk


def test_an_sr_moves_to_another_pool_by_forget_and_introduce(lab: FilesPool) -> None:
    sr = lab.sr()
    vdi = lab.vdi(sr)
    assert "connected to a host via a PBD" in lab.refused("sr-forget", f"uuid={sr}")
    for pbd in lab.xe("pbd-list", f"sr-uuid={sr}", "--minimal").split(","):
        lab.xe("pbd-unplug", f"uuid={pbd}")
    lab.xe("sr-forget", f"uuid={sr}")
    assert lab.xe("vdi-list", f"uuid={vdi}", "--minimal") == ""
    lab.xe("sr-introduce", f"uuid={sr}", "type=labfiles", "name-label=back", "shared=true")
    for host in lab.hosts:
        pbd = lab.xe("pbd-create", f"host-uuid={host.uuid}", f"sr-uuid={sr}",
                      f"device-config:directory={lab.directory}")  # fmt: skip
        lab.xe("pbd-plug", f"uuid={pbd}")
    assert lab.xe("vdi-list", f"sr-uuid={sr}", "--minimal") == vdi


def test_only_an_empty_sr_is_destroyed_and_then_its_storage_is_gone(lab: FilesPool) -> None:
    sr = lab.sr()
    vdi = lab.vdi(sr)
    pbds = lab.xe("pbd-list", f"sr-uuid={sr}", "--minimal").split(",")
    for pbd in pbds:
        lab.xe("pbd-unplug", f"uuid={pbd}")
    assert "not empty" in lab.refused("sr-destroy", f"uuid={sr}")
    for pbd in pbds:
        lab.xe("pbd-plug", f"uuid={pbd}")
    lab.xe("vdi-destroy", f"uuid={vdi}")
    for pbd in pbds:
        lab.xe("pbd-unplug", f"uuid={pbd}")
    lab.xe("sr-destroy", f"uuid={sr}")
    assert not (lab.directory / sr).exists()
    assert lab.xe("sr-list", f"uuid={sr}", "--minimal") == ""


def test_names_are_kept_by_xapi_and_passed_to_the_driver(lab: FilesPool) -> None:
    vdi = lab.vdi()
    mark = len(lab.xapi.commands)
    lab.xe("vdi-param-set", f"uuid={vdi}", "name-label=renamed", "other-config:colour=blue")
    assert [name for _, name in lab.commands_since(mark)] == ["vdi_update"]
    assert "renamed" in (lab.directory / lab.common_sr / f"{vdi}.json").read_text()
    assert lab.xe("vdi-param-get", f"uuid={vdi}", "param-name=other-config", "param-key=colour") == "blue"


def test_the_database_refuses_what_xapis_refuses(lab: FilesPool, session: Session) -> None:
    vdi = session.VDI.get_by_uuid(lab.vdi())
    sr = session.VDI.get_SR(vdi)
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


def test_queries_are_understood_as_sm_writes_them(lab: FilesPool, session: Session) -> None:
    sr = session.SR.get_by_uuid(lab.common_sr)
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


def test_concurrent_creations_in_one_sr_run_one_after_the_other(lab: FilesPool) -> None:
    sr = lab.sr()

    def create() -> None:
        with lab.xapi.session() as own:
            own.VDI.create({"SR": own.SR.get_by_uuid(sr), "virtual_size": str(GIB)})

    askers = [threading.Thread(target=create) for _ in range(4)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert len(lab.xe("vdi-list", f"sr-uuid={sr}", "--minimal").split(",")) == 4


def test_a_host_declared_dead_loses_its_vms_and_its_tags_on_disks(
    lab: FilesPool, session: Session, lost_host: Dom0
) -> None:
    vdi = lab.vdi()
    vm = lab.vm(vdi)
    lab.xe("vm-start", f"uuid={vm}", "on=two")
    host = session.host.get_by_uuid(lost_host.uuid)
    session.VDI.add_to_sm_config(session.VDI.get_by_uuid(vdi), f"host_{host}", "RW")
    lost_host.kill()
    lab.xe("host-declare-dead", f"uuid={lost_host.uuid}")
    assert lab.get("host", "host-metrics-live", lost_host.uuid) == "true", "only heartbeats set it"
    assert lab.get("vm", "power-state", vm) == "Halted"
    assert f"host_{host}" not in lab.get("vdi", "sm-config", vdi)
    lab.xe("vm-start", f"uuid={vm}", "on=one")
    lab.xe("vm-shutdown", f"uuid={vm}")


def test_a_host_that_boots_again_has_its_srs_plugged_and_no_vm(lab: FilesPool, lost_host: Dom0) -> None:
    vdi = lab.vdi()
    vm = lab.vm(vdi)
    lab.xe("vm-start", f"uuid={vm}", "on=two")
    lost_host.kill()
    assert "CANNOT_CONTACT_HOST" in lab.refused("vm-shutdown", f"uuid={vm}")
    lab.power_on(lost_host)
    assert lab.get("host", "host-metrics-live", lost_host.uuid) == "true"
    assert lab.get("vm", "power-state", vm) == "Halted"
    lab.xe("vm-start", f"uuid={vm}", "on=two")
    lab.xe("vm-shutdown", f"uuid={vm}")


def test_a_plugin_runs_on_the_host_asked_for_and_its_errors_come_back(lab: FilesPool, session: Session) -> None:
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
    lab.hosts[0].put("/etc/xapi.d/plugins/lab-whoami", plugin.encode(), mode=0o755)
    host = session.host.get_by_uuid(lab.hosts[0].uuid)
    assert session.host.call_plugin(host, "lab-whoami", "whoami", {"greeting": "hello"}) == "hello one"
    with pytest.raises(ApiError, match="VDI_IN_USE"):
        session.host.call_plugin(host, "lab-whoami", "fail", {})
    with pytest.raises(ApiError, match="XENAPI_MISSING_PLUGIN"):
        session.host.call_plugin(host, "no-such-plugin", "whoami", {})


def test_xe_is_a_program_that_finds_the_lab_by_its_file(lab: FilesPool) -> None:
    env = os.environ | {"SMBLOCK_LAB": str(lab.lab_file)}
    done = subprocess.run([XE, "host-list", "--minimal"], env=env, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert lab.hosts[0].uuid in done.stdout


def test_without_a_lab_xe_names_the_missing_variable() -> None:
    env = {key: value for key, value in os.environ.items() if key != "SMBLOCK_LAB"}
    done = subprocess.run([XE, "sr-list"], env=env, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "SMBLOCK_LAB" in done.stderr
