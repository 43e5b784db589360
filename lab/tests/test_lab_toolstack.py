"""xe-toolstack-restart in the lab: what xapi v25.33.2 loses, and what continues."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import wait_for
from lab.dom0 import Dom0, LocalDom0
from lab.sm_source import sm_source
from lab.tree import install_driver, stage_sm
from lab.xapi import ApiError, Settings
from lab.xapi.errors import ToolstackGone
from lab.xapi.lab_pool import LabPool, Tree

DRIVER = Path(__file__).parent / "fixtures" / "LabBlockSR.py"


class Activation:
    """A vdi_activate on a host that stays in the driver's attach until `release`."""

    def __init__(self, lab: LabPool, host: Dom0, directory: Path) -> None:
        self.lab, self.host = lab, host
        self._hold = directory / "hold"
        self._hold.touch()
        self.sr = lab.xe("sr-create", "type=labblock", "shared=true", "name-label=block",
                         f"device-config:directory={directory}", "device-config:device=/dev/null",
                         f"device-config:hold={self._hold}")  # fmt: skip
        self.vdi = lab.xe("vdi-create", f"sr-uuid={self.sr}", "name-label=disk", "virtual-size=1MiB")
        self.failure: BaseException | None = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        wait_for((directory / "calls").exists, "the driver's attach")

    def _run(self) -> None:
        pool = self.lab.xapi.pool
        sr, vdi = pool.db.by_uuid("SR", self.sr), pool.db.by_uuid("VDI", self.vdi)
        try:
            with pool.exclusive(("VDI", vdi)):
                pool.sm(self.lab.ref(self.host), "vdi_activate", sr=sr, vdi=vdi, args=["true"])
        except (ApiError, ToolstackGone) as error:
            self.failure = error

    def release(self) -> None:
        self._hold.unlink()
        self.lab.xapi.pool.join_orphans(30)

    @property
    def marks(self) -> set[str]:
        """SM's tags of the activation in the disk's record."""
        noted = self.lab.get("vdi", "sm-config", self.vdi)
        return {key for key in (f"host_{self.lab.ref(self.host)}", "activating") if key in noted}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, new_local_dom0: Callable[[str], LocalDom0]) -> Iterator[LabPool]:
    directory = tmp_path_factory.mktemp("toolstack")
    driver = tmp_path_factory.mktemp("driver")
    install_driver(DRIVER, driver)
    tree = Tree(stage_sm(sm_source(), tmp_path_factory.mktemp("sm")), driver)
    settings = Settings(plugins=("labblock",), lock_timeout=5)
    with (
        new_local_dom0("one") as one,
        new_local_dom0("two") as two,
        LabPool([one, two], tree, directory / "lab.json", settings) as lab,
    ):
        yield lab


def test_a_restarted_master_loses_locks_and_sessions_but_no_command(lab: LabPool, tmp_path: Path) -> None:
    """datamodel.ml:239-241: a session is PersistNothing; a VDI's current_operations are xapi's own memory.

    The command keeps running: it is forkexecd's child.  Its next call of the XenAPI fails, so SM removes no tag.
    """
    activation = Activation(lab, lab.hosts[0], tmp_path)
    old = lab.xapi.session()
    lab.xapi.restart_toolstack(lab.ref(lab.hosts[0]))
    activation.thread.join(10)
    assert isinstance(activation.failure, ToolstackGone)
    with pytest.raises(ApiError, match="SESSION_INVALID"):
        old.host.get_all()
    assert len(activation.marks) == 2
    lab.xe("vdi-update", f"uuid={activation.vdi}")  # xapi has lost the record that the disk is in use
    activation.release()
    assert len(activation.marks) == 2, "without a session SM cannot remove them"


def test_a_restarted_slave_loses_its_call_and_its_command_keeps_its_session(lab: LabPool, tmp_path: Path) -> None:
    """message_forwarding.ml:148-154 CANNOT_CONTACT_HOST; the session is a row of the master's."""
    activation = Activation(lab, lab.hosts[1], tmp_path)
    lab.xapi.restart_toolstack(lab.ref(lab.hosts[1]))
    activation.thread.join(10)
    assert isinstance(activation.failure, ApiError)
    assert activation.failure.code == "CANNOT_CONTACT_HOST"
    assert len(activation.marks) == 2
    activation.release()
    assert activation.marks == set(), "SM removed the tags, because this host has no tapdisk"


def test_a_call_of_the_xenapi_gets_no_reply_from_a_restarted_master(lab: LabPool, tmp_path: Path) -> None:
    """The client of a call that was under way gets no result: its connection and its session end."""
    activation = Activation(lab, lab.hosts[0], tmp_path)
    came: list[object] = []

    def plug() -> None:
        session = lab.xapi.session()
        vm = session.host.get_control_domain(lab.ref(lab.hosts[1]))
        vbd = session.VBD.create({"VM": vm, "VDI": session.VDI.get_by_uuid(other), "mode": "RO"})
        try:
            session.VBD.plug(vbd)
        except (ApiError, OSError) as error:
            came.append(error)

    other = lab.xe("vdi-create", f"sr-uuid={activation.sr}", "name-label=other", "virtual-size=1MiB")
    client = threading.Thread(target=plug)
    client.start()
    wait_for(lambda: "activating" in lab.get("vdi", "sm-config", other), "the second activation")
    lab.xapi.restart_toolstack(lab.ref(lab.hosts[0]))
    client.join(10)
    assert len(came) == 1
    assert "SESSION_INVALID" in str(came[0]) or isinstance(came[0], OSError)
    vdi = lab.xapi.pool.db.by_uuid("VDI", other)
    assert lab.xapi.pool.db.find("VBD", VDI=vdi, currently_attached=True) == []
    activation.thread.join(10)
    activation.release()


def test_a_client_logs_in_again_after_the_masters_restart(lab: LabPool) -> None:
    """XenAPI.py (xapi-project/xen-api) xenapi_request: SESSION_INVALID, a login, and the call again."""
    host = lab.hosts[1]
    script = (
        "import sys, time; sys.path.append('/opt/xensource/sm')\n"
        "try:\n    from sm.core import util\nexcept ImportError:\n    import util\n"
        "session = util.get_localAPI_session()\n"
        "print('in', file=open(sys.argv[1], 'w')); time.sleep(1.5)\n"
        "print(session.xenapi.host.get_by_uuid(util.get_this_host()))\n"
    )
    flag = lab.lab_file.with_name("logged-in")
    came: list[str] = []
    asking = threading.Thread(
        target=lambda: came.append(host.exec(["/usr/bin/python3", "-c", script, str(flag)]).check().decode().strip())
    )
    asking.start()
    wait_for(flag.exists, "the login")
    lab.xapi.restart_toolstack(lab.ref(lab.hosts[0]))
    asking.join(20)
    assert came == [lab.ref(host)]
