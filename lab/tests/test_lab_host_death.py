"""The lab's hosts die as hosts of a real pool do: hooks, power states and `live` follow xapi v25.33.2."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.dom0 import Dom0, LocalDom0
from lab.sm_source import sm_source
from lab.tree import install_driver, stage_sm
from lab.xapi import ApiError, Session, Settings
from lab.xapi.lab_pool import LabPool, Tree

DRIVER = Path(__file__).parent / "fixtures" / "LabFilesSR.py"
PRE, POST = "host-pre-declare-dead", "host-post-declare-dead"
PLUGIN = """#!/usr/bin/python3
import sys
sys.path.append('/opt/xensource/sm')
try:
    from sm.core import util
except ImportError:
    import util
import XenAPIPlugin
def session(session, args):
    return session._session
def pool(session, args):
    own = util.get_localAPI_session()
    try:
        return own.xenapi.pool.get_uuid(own.xenapi.pool.get_all()[0])
    finally:
        own.xenapi.session.logout()
def crash(session, args):
    import os
    os.kill(os.getpid(), 9)
XenAPIPlugin.dispatch({'session': session, 'pool': pool, 'crash': crash})
"""


class FilesPool(LabPool):
    """A pool of two hosts with a driver of files, a hook script of the tests, and one SR."""

    directory: Path
    sr: str

    @property
    def master(self) -> Dom0:
        return self.hosts[0]

    @property
    def slave(self) -> Dom0:
        return self.hosts[1]

    def vm_on(self, host: Dom0) -> tuple[str, str]:
        """A VM that runs on a host, and its disk."""
        vdi = self.xe("vdi-create", f"sr-uuid={self.sr}", "name-label=disk", "virtual-size=1MiB")
        vm = self.xe("vm-create", "name-label=guest")
        self.xe("vbd-create", f"vm-uuid={vm}", f"vdi-uuid={vdi}", "device=0")
        self.xe("vm-start", f"uuid={vm}", f"on={host.name}")
        return vm, vdi

    def is_live(self, host: Dom0) -> bool:
        return self.xapi.pool.is_live(self.ref(host))

    def script(self, hook: str, name: str, status: int, *, host: Dom0 | None = None) -> None:
        """Put a hook script on a host (default: the master); it records its runs and arguments."""
        text = f'#!/bin/sh\necho {hook}/{name} "$@" >>{self.directory}/runs\necho last words\nexit {status}\n'
        (host or self.master).put(f"/etc/xapi.d/{hook}/{name}", text.encode(), mode=0o755)

    def runs(self) -> list[str]:
        """The runs of the tests' scripts since the last call."""
        file = self.directory / "runs"
        noted = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return noted


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, new_local_dom0: Callable[[str], LocalDom0]) -> Iterator[FilesPool]:
    directory = tmp_path_factory.mktemp("death")
    tree = Tree(stage_sm(sm_source(), tmp_path_factory.mktemp("sm")), tmp_path_factory.mktemp("driver"))
    assert tree.driver is not None
    install_driver(DRIVER, tree.driver)
    plugin = tree.driver / "etc/xapi.d/plugins/lab-questions"
    plugin.parent.mkdir(parents=True)
    plugin.write_text(PLUGIN)
    plugin.chmod(0o755)
    with (
        new_local_dom0("one") as one,
        new_local_dom0("two") as two,
        FilesPool([one, two], tree, directory / "lab.json", Settings(plugins=("labfiles",))) as lab,
    ):
        lab.directory = directory
        lab.sr = lab.xe("sr-create", "type=labfiles", "shared=true", "name-label=files",
                        f"device-config:directory={directory}")  # fmt: skip
        yield lab


@pytest.fixture
def session(lab: FilesPool) -> Iterator[Session]:
    with lab.xapi.session() as session:
        yield session


@pytest.fixture
def dying(lab: FilesPool) -> Iterator[Dom0]:
    """Host two, which the test may kill, fence or forget. Hook scripts are removed after the test."""
    host = lab.slave
    yield host
    for hook in (PRE, POST):
        lab.master.exec(["sh", "-c", f"cd /etc/xapi.d/{hook} && ls | grep -v 10resetvdis | xargs rm -f"])
    lab.runs()
    if not host.is_running:
        if lab.list("host", f"uuid={host.uuid}"):
            lab.power_on(host)
        else:
            host.start()
            lab.join(host)


def test_the_lab_installs_what_install_sh_puts_below_xapi_d(driver_tree: Path, lab: FilesPool) -> None:
    """The SM directory of install.sh's root, and its files in /etc/xapi.d, are on every host."""
    assert (driver_tree / "opt/xensource/sm/CephRBDSR.py").is_file()
    for host in lab.hosts:
        assert host.exec(["test", "-x", "/etc/xapi.d/plugins/lab-questions"]).returncode == 0


def test_a_plugin_logs_in_through_its_hosts_own_socket(lab: FilesPool, session: Session) -> None:
    """sm v3.2.12 drivers/util.py get_localAPI_session: XenAPI.xapi_local() on any host of the pool."""
    (uuid,) = (record["uuid"] for record in session.pool.get_all_records().values())
    for host in lab.hosts:
        assert session.host.call_plugin(lab.ref(host), "lab-questions", "pool", {}) == uuid


def test_a_plugin_on_the_master_has_the_callers_session(lab: FilesPool, session: Session) -> None:
    """xapi_host.ml:1496 passes Context.get_session_id; message_forwarding.ml:84-98 logs in for a slave and out."""
    before = set(session.session.get_all())
    on_master = session.host.call_plugin(lab.ref(lab.master), "lab-questions", "session", {})
    on_slave = session.host.call_plugin(lab.ref(lab.slave), "lab-questions", "session", {})
    assert on_master in before
    assert on_slave not in before
    assert set(session.session.get_all()) == before


def test_a_plugin_that_is_killed_fails_by_its_signal(lab: FilesPool, session: Session) -> None:
    """xapi_plugins.ml:44-52: WSIGNALED becomes XENAPI_PLUGIN_FAILURE ["signal: …"; output; log]."""
    with pytest.raises(ApiError, match="XENAPI_PLUGIN_FAILURE: . signal: 9"):
        session.host.call_plugin(lab.ref(lab.slave), "lab-questions", "crash", {})


def test_a_plugin_call_to_a_host_without_power_is_an_error(lab: FilesPool, session: Session, dying: Dom0) -> None:
    """message_forwarding.ml:127-154: not live is HOST_OFFLINE; live without a connection CANNOT_CONTACT_HOST."""
    dying.kill()
    with pytest.raises(ApiError, match="CANNOT_CONTACT_HOST"):
        session.host.call_plugin(lab.ref(dying), "lab-questions", "pool", {})
    lab.miss_heartbeats(dying)
    with pytest.raises(ApiError, match="HOST_OFFLINE"):
        session.host.call_plugin(lab.ref(dying), "lab-questions", "pool", {})


def test_a_drivers_notes_about_a_host_are_kept_in_its_record(lab: FilesPool, session: Session) -> None:
    host = lab.ref(lab.slave)
    session.host.add_to_other_config(host, "noted", "yes")
    assert session.host.get_other_config(host)["noted"] == "yes"
    assert session.host.get_all_records()[host]["other_config"]["noted"] == "yes"
    session.host.remove_from_other_config(host, "noted")
    assert "noted" not in session.host.get_other_config(host)
    with pytest.raises(ApiError, match="UUID_INVALID"):
        session.host.get_by_uuid("c0ffee00-0000-0000-0000-000000000000")


def test_two_pools_have_uuids_of_their_own_and_introduce_one_sr(
    lab: FilesPool, new_local_dom0: Callable[[str], LocalDom0], tmp_path: Path
) -> None:
    """An SR's storage does not belong to a pool: another one introduces it by its uuid and plugs it."""
    with (
        new_local_dom0("three") as three,
        LabPool([three], lab._tree, tmp_path / "lab.json", Settings(plugins=("labfiles",))) as other,
    ):
        assert other.xe("pool-list", "--minimal") != lab.xe("pool-list", "--minimal")
        other.xe("sr-introduce", f"uuid={lab.sr}", "type=labfiles", "shared=true", "name-label=files")
        pbd = other.xe("pbd-create", f"sr-uuid={lab.sr}", f"host-uuid={three.uuid}",
                       f"device-config:directory={lab.directory}")  # fmt: skip
        other.xe("pbd-plug", f"uuid={pbd}")
        assert other.get("pbd", "currently-attached", pbd) == "true"


# host.declare_dead


def test_a_host_that_xapi_reaches_is_not_declared_dead(lab: FilesPool, dying: Dom0) -> None:
    """xapi_host.ml:1103-1120 precheck_destroy_declare_dead, is_host_alive: HOST_IS_LIVE."""
    lab.script(PRE, "10note", 0)
    for host in lab.hosts:
        for command in ("host-declare-dead", "host-forget"):
            assert "HOST_IS_LIVE" in lab.refused(command, f"uuid={host.uuid}")
    assert dying.is_running
    assert lab.runs() == []


def test_a_declaration_halts_vms_and_disables_the_host_between_the_hooks(lab: FilesPool, dying: Dom0) -> None:
    """xapi_host.ml:1154-1170 declare_dead: pre hook, VM.power_state_reset, enabled := false, post hook."""
    vm, vdi = lab.vm_on(dying)
    for hook in (PRE, POST):
        lab.script(hook, "20second", 0)
        lab.script(hook, "10first", 0)
        lab.script(hook, "10first", 0, host=dying)
    dying.kill()
    lab.xe("host-declare-dead", f"uuid={dying.uuid}")
    about = f"-hostuuid {dying.uuid} -reason user"
    assert lab.runs() == [f"{hook}/{name} {about}" for hook in (PRE, POST) for name in ("10first", "20second")]
    assert lab.get("vm", "power-state", vm) == "Halted"
    assert not lab.xapi.pool.db.get("host", lab.ref(dying), "enabled")
    assert lab.is_live(dying), "declare_dead leaves host_metrics.live alone"
    lab.xe("vm-start", f"uuid={vm}", f"on={lab.master.name}")
    lab.xe("vm-shutdown", f"uuid={vm}")
    lab.xe("vdi-destroy", f"uuid={vdi}")


def test_a_declaration_leaves_pbds_and_the_control_domains_disks(lab: FilesPool, dying: Dom0) -> None:
    """xapi_host.ml:1154-1170: get_resident_vms sets the control domain apart; no PBD is touched."""
    vdi = lab.xe("vdi-create", f"sr-uuid={lab.sr}", "name-label=disk", "virtual-size=1MiB")
    vbd = lab.xe("vbd-create", f"vm-uuid={dying.control_domain_uuid}", f"vdi-uuid={vdi}", "device=0")
    lab.xe("vbd-plug", f"uuid={vbd}")
    dying.kill()
    lab.xe("host-declare-dead", f"uuid={dying.uuid}")
    (pbd,) = lab.list("pbd", f"host-uuid={dying.uuid}")
    assert lab.get("pbd", "currently-attached", pbd) == "true"
    assert lab.get("vbd", "currently-attached", vbd) == "true"
    lab.power_on(dying)
    assert lab.get("vbd", "currently-attached", vbd) == "true", "nothing in xapi sets it back at a boot"
    lab.xe("vbd-unplug", f"uuid={vbd}")
    lab.xe("vbd-destroy", f"uuid={vbd}")
    lab.xe("vdi-destroy", f"uuid={vdi}")


def test_only_the_stock_hook_clears_the_tags_of_a_dead_host(lab: FilesPool, session: Session, dying: Dom0) -> None:
    """scripts/10resetvdis runs resetvdis.py HOST SR for each PBD of the host; xapi itself clears nothing."""
    vdi = session.VDI.get_by_uuid(lab.xe("vdi-create", f"sr-uuid={lab.sr}", "name-label=d", "virtual-size=1MiB"))
    tags = {f"host_{lab.ref(host)}": "RW" for host in lab.hosts}
    for key, value in tags.items():
        session.VDI.add_to_sm_config(vdi, key, value)
    stock = f"/etc/xapi.d/{POST}/10resetvdis"
    dying.kill()
    lab.master.exec(["chmod", "-x", stock]).check()
    assert "XAPI_HOOK_FAILED" in lab.refused("host-declare-dead", f"uuid={dying.uuid}")
    assert tags.items() <= session.VDI.get_sm_config(vdi).items()
    lab.master.exec(["chmod", "+x", stock]).check()
    lab.xe("host-declare-dead", f"uuid={dying.uuid}")
    kept = {key for key in session.VDI.get_sm_config(vdi) if key.startswith("host_")}
    assert kept == {f"host_{lab.ref(lab.master)}"}
    session.VDI.destroy(vdi)


def test_a_failing_pre_hook_aborts_a_declaration(lab: FilesPool, dying: Dom0) -> None:
    """xapi_hooks.ml:84-95: any other exit status raises XAPI_HOOK_FAILED [hook/script; reason; stdout; code]."""
    vm, _ = lab.vm_on(dying)
    lab.script(PRE, "10fail", 3)
    lab.script(PRE, "20never", 0)
    dying.kill()
    complaint = lab.refused("host-declare-dead", f"uuid={dying.uuid}")
    assert "XAPI_HOOK_FAILED" in complaint
    for word in (f"{PRE}/10fail", "user", "last words", "3"):
        assert word in complaint
    assert [run.split()[0] for run in lab.runs()] == [f"{PRE}/10fail"]
    assert lab.get("vm", "power-state", vm) == "Running"


def test_a_hook_that_exits_with_one_is_logged_and_passed(lab: FilesPool, dying: Dom0) -> None:
    """xapi_hooks.ml:50-52 exitcode_log_and_continue = 1."""
    lab.script(PRE, "10log", 1)
    lab.script(PRE, "20next", 0)
    dying.kill()
    lab.xe("host-declare-dead", f"uuid={dying.uuid}")
    assert [run.split()[0] for run in lab.runs()] == [f"{PRE}/10log", f"{PRE}/20next"]


def test_a_cut_off_host_runs_on_after_it_was_declared_dead(lab: FilesPool, dying: Dom0) -> None:
    """xapi_host.ml:996-1025 is_host_alive: a host that does not reply is dead, also if it runs."""
    with lab.cut_off(dying):
        assert "CANNOT_CONTACT_HOST" in lab.refused(
            "pbd-unplug", f"uuid={lab.list('pbd', f'host-uuid={dying.uuid}')[0]}"
        )
        lab.xe("host-declare-dead", f"uuid={dying.uuid}")
        assert dying.exec(["true"]).returncode == 0
        asked = ["python3", "-c", "import socket; socket.socket(socket.AF_UNIX).connect('/var/lib/xcp/xapi')"]
        assert dying.exec(asked).returncode != 0
    lab.xe("host-enable", f"uuid={dying.uuid}")


# The other deaths


def test_missed_heartbeats_end_live_without_any_hook(lab: FilesPool, dying: Dom0) -> None:
    """db_gc.ml:117-127: after host_assumed_dead_interval only Host_metrics.set_live false."""
    vm, _ = lab.vm_on(dying)
    for hook in (PRE, POST):
        lab.script(hook, "20note", 0)
    lab.miss_heartbeats(dying)
    assert lab.runs() == []
    assert not lab.is_live(dying)
    assert lab.get("vm", "power-state", vm) == "Running"
    assert "HOST_OFFLINE" in lab.refused("vm-shutdown", f"uuid={vm}")
    lab.xe("host-declare-dead", f"uuid={dying.uuid}")
    assert lab.get("vm", "power-state", vm) == "Halted"
    dying.kill()


def test_ha_fencing_runs_the_hooks_around_live_and_the_vms(lab: FilesPool, dying: Dom0) -> None:
    """xapi_ha_vm_failover.ml:1322-1349: pre hook, live := false, VMs Halted, post hook, reason fenced."""
    vm, _ = lab.vm_on(dying)
    for hook in (PRE, POST):
        lab.script(hook, "20note", 0)
    lab.fence(dying)
    assert lab.runs() == [f"{hook}/20note -hostuuid {dying.uuid} -reason fenced" for hook in (PRE, POST)]
    assert not lab.is_live(dying)
    assert lab.get("vm", "power-state", vm) == "Halted"
    assert lab.xapi.pool.db.get("host", lab.ref(dying), "enabled"), "HA does not disable the host"


def test_a_failing_pre_hook_does_not_stop_ha(lab: FilesPool, dying: Dom0) -> None:
    """xapi_ha_vm_failover.ml:1331 `with _ -> ()`: live stays, no post hook runs, the VMs are halted."""
    vm, _ = lab.vm_on(dying)
    lab.script(PRE, "10fail", 2)
    lab.script(POST, "20note", 0)
    lab.fence(dying)
    assert [run.split()[0] for run in lab.runs()] == [f"{PRE}/10fail"]
    assert lab.is_live(dying)
    assert lab.get("vm", "power-state", vm) == "Halted"


def test_a_clean_shutdown_unplugs_srs_and_runs_the_hooks(lab: FilesPool, dying: Dom0) -> None:
    """xapi_host.ml:869 unplug_all_pbds, then xapi_host_helpers.ml:252-275 with reason clean-shutdown."""
    for hook in (PRE, POST):
        lab.script(hook, "20note", 0)
    lab.shut_down(dying)
    assert lab.runs() == [f"{hook}/20note -hostuuid {dying.uuid} -reason clean-shutdown" for hook in (PRE, POST)]
    assert not lab.is_live(dying)
    (pbd,) = lab.list("pbd", f"host-uuid={dying.uuid}")
    assert lab.get("pbd", "currently-attached", pbd) == "false"


def test_a_forgotten_host_is_gone_after_both_hooks(lab: FilesPool, session: Session, dying: Dom0) -> None:
    """xapi_host.ml:1129-1152 destroy: refused with resident VMs; both hooks run while its record is there."""
    vm, _ = lab.vm_on(dying)
    for hook in (PRE, POST):
        lab.script(hook, "20note", 0)
    dying.kill()
    assert "HOST_HAS_RESIDENT_VMS" in lab.refused("host-forget", f"uuid={dying.uuid}")
    lab.xe("host-declare-dead", f"uuid={dying.uuid}")
    lab.runs()
    lab.xe("host-forget", f"uuid={dying.uuid}")
    assert lab.runs() == [f"{hook}/20note -hostuuid {dying.uuid} -reason dbdestroy" for hook in (PRE, POST)]
    with pytest.raises(ApiError, match="UUID_INVALID"):
        session.host.get_by_uuid(dying.uuid)
    assert lab.list("pbd", f"host-uuid={dying.uuid}") == []
    assert lab.get("vm", "power-state", vm) == "Halted"


def test_a_host_is_up_before_its_srs_are_plugged(lab: FilesPool, session: Session, dying: Dom0) -> None:
    """create_storage.ml:187 plugs the PBDs late in xapi's start: until then only plugins reach the host."""
    dying.kill()
    lab.power_on(dying, plug=False)
    (pbd,) = lab.list("pbd", f"host-uuid={dying.uuid}")
    assert lab.get("pbd", "currently-attached", pbd) == "false"
    assert session.host.call_plugin(lab.ref(dying), "lab-questions", "pool", {})
    lab.xe("pbd-plug", f"uuid={pbd}")


def test_a_returning_host_is_live_and_enabled(lab: FilesPool, dying: Dom0) -> None:
    """xapi_pool.ml:2462-2475 hello: the host's first heartbeat counts; it enables itself after its start."""
    dying.kill()
    lab.miss_heartbeats(dying)
    lab.xe("host-declare-dead", f"uuid={dying.uuid}")
    lab.power_on(dying)
    assert lab.is_live(dying)
    assert lab.xapi.pool.db.get("host", lab.ref(dying), "enabled")
