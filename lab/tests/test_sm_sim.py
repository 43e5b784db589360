"""SM's behaviour towards a driver: of the simulator, and of the checkout that SM_SOURCE names.

Both must pass the same tests, so that a driver finds the same behaviour in the lab and on a host.
"""

from __future__ import annotations

import os
import threading
import uuid
import xmlrpc.client
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.dom0 import LocalDom0
from lab.sm_source import SM_DIR, stage_sm
from lab.tree import install_driver, layout
from lab.xapi import ApiError, Session, Settings, Xapi

FIXTURES = Path(__file__).with_name("fixtures")
DRIVER = f"{SM_DIR}/LabBlockSR"
MIB = 1 << 20

SOURCES = [pytest.param(None, id="simulator")]
if "SM_SOURCE" in os.environ:
    SOURCES.append(pytest.param(Path(os.environ["SM_SOURCE"]), id="real"))


class Host:
    """One host with its xapi, and the fixture driver installed as a driver is."""

    def __init__(self, dom0: LocalDom0, xapi: Xapi, directory: Path) -> None:
        self.dom0, self.xapi, self.directory = dom0, xapi, directory
        self.session: Session = xapi.session()
        self.ref: str = self.session.host.get_all()[0]

    def run(self, *argv: str, driver: str = DRIVER) -> tuple[Any, ...]:
        """A driver's reply to its arguments, or the fault that it prints."""
        done = self.dom0.sm([driver, *argv])
        assert done.returncode == 0, done.stderr
        return xmlrpc.client.loads(done.stdout.decode())[0]

    def command(self, name: str, driver: str = DRIVER, **params: Any) -> tuple[Any, ...]:
        struct = {"command": name, "args": [], "device_config": {"directory": str(self.directory)}, **params}
        return self.run(xmlrpc.client.dumps((struct,), name), driver=driver)

    def create_sr(self, **device_config: str) -> str:
        config = {"directory": str(self.directory), "device": "/dev/null", "vditype": "phy", **device_config}
        return str(self.session.SR.create(self.ref, config, "0", "sr", "", "labblock", "", False, {}))

    def create_vdi(self, sr: str, size: int = 8 * MIB) -> str:
        record = {"SR": sr, "name_label": "disk", "virtual_size": str(size), "type": "user"}
        return str(self.session.VDI.create(record))

    def plug_again(self, sr: str) -> None:
        (pbd,) = self.session.SR.get_PBDs(sr)
        self.session.PBD.unplug(pbd)
        self.session.PBD.plug(pbd)

    @property
    def calls(self) -> list[str]:
        """SM's calls of the data path."""
        return (self.directory / "calls").read_text().split()

    @contextmanager
    def holding_lock(self, namespace: str, name: str) -> Iterator[None]:
        """A process on the host holds SM's lock of that name inside the `with` block."""
        flag = self.directory.with_name(f"{self.directory.name}.locked")
        flag.touch()
        taken = flag.with_suffix(".taken")
        script = (
            "import fcntl, os, time\n"
            f"os.makedirs('/var/lock/sm/{namespace}', exist_ok=True)\n"
            f"held = open('/var/lock/sm/{namespace}/{name}', 'w')\n"
            f"fcntl.lockf(held, fcntl.LOCK_EX); open('{taken}', 'w').close()\n"
            f"while os.path.exists('{flag}'): time.sleep(0.05)\n"
        )
        holder = threading.Thread(target=lambda: self.dom0.exec(["python3", "-c", script]).check())
        holder.start()
        while not taken.exists():
            assert holder.is_alive(), "the lock is held by another process"
        try:
            yield
        finally:
            flag.unlink()
            holder.join()


@pytest.fixture(scope="module", params=SOURCES)
def pool_of_one(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    tree = stage_sm(request.param, tmp_path_factory.mktemp("sm"))
    driver = tmp_path_factory.mktemp("driver")
    install_driver(FIXTURES / "LabBlockSR.py", driver)
    with (
        Xapi(settings=Settings(plugins=["labblock"])) as xapi,
        LocalDom0("host1", tmp_path_factory.mktemp("host1")) as dom0,
    ):
        layout(dom0, sm_tree=tree, driver_tree=driver, ceph_conf=None, keyring=None, xapi=xapi.endpoint)
        xapi.add_host(dom0)
        yield Host(dom0, xapi, tmp_path_factory.mktemp("sr"))


@pytest.fixture
def host(pool_of_one: Host, tmp_path_factory: pytest.TempPathFactory) -> Host:
    """The host, with a directory of the test's own to make SRs in."""
    return Host(pool_of_one.dom0, pool_of_one.xapi, tmp_path_factory.mktemp("sr"))


def fault(ask: Callable[[], object]) -> tuple[int, str]:
    with pytest.raises(xmlrpc.client.Fault) as raised:
        ask()
    return raised.value.faultCode, raised.value.faultString


def test_vdi_activate_is_added_for_a_driver_with_atomic_pause(host: Host) -> None:
    source = (FIXTURES / "LabBlockSR.py").read_text().replace(', "VDI_ACTIVATE", "VDI_DEACTIVATE"', "")
    host.dom0.put(f"{SM_DIR}/LabPausedSR", source.encode(), mode=0o755)
    (info,) = host.command("sr_get_driver_info", driver=f"{SM_DIR}/LabPausedSR")
    assert {"ATOMIC_PAUSE", "VDI_ACTIVATE", "VDI_DEACTIVATE"} <= set(info["capabilities"])
    assert {"key": "directory", "description": "where sizes are kept"} in info["configuration"]


def test_anything_but_one_argument_is_a_bad_request(host: Host) -> None:
    assert fault(lambda: host.run())[0] == 143
    assert fault(lambda: host.run("one", "two"))[0] == 143
    assert fault(lambda: host.run("<not xml"))[0] == 143


def test_an_unknown_command_is_a_bad_request(host: Host) -> None:
    assert fault(lambda: host.command("vdi_reticulate", sr_uuid=str(uuid.uuid4())))[0] == 143


@pytest.mark.parametrize(
    ("how", "code", "text"),
    [
        ("SRNoSpace", 44, "There is insufficient space [opterr=as asked]"),
        ("sm", 78, "VDI Creation failed [opterr=the device has failed]"),
        ("command", 78, "VDI Creation failed [opterr=Command command failed (stderr): Input/output error]"),
        ("python", 1200, "not a number"),
        ("NoSuchName", 1, "Error reporting error, unknown key NoSuchName"),
    ],
)
def test_each_kind_of_error_reaches_xapi_under_its_number(host: Host, how: str, code: int, text: str) -> None:
    sr = host.create_sr(fail="vdi_create", how=how)
    with pytest.raises(ApiError) as raised:
        host.create_vdi(sr)
    assert raised.value.code == f"SR_BACKEND_FAILURE_{code}"
    assert text in raised.value.description


def test_a_vdi_whose_names_xml_cannot_hold_is_refused(host: Host) -> None:
    sr = host.create_sr()
    vdi = host.create_vdi(sr)
    host.xapi.pool.db.set("VDI", vdi, "name_label", "disk\x82")
    with pytest.raises(ApiError, match="SR_BACKEND_FAILURE_447"):
        host.session.VDI.update(vdi)


def test_a_scan_introduces_forgets_and_updates_vdis(host: Host) -> None:
    sr = host.create_sr()
    gone, changed = host.create_vdi(sr), host.create_vdi(sr)
    of_changed = host.session.VDI.get_uuid(changed)
    new = str(uuid.uuid4())
    (host.directory / host.session.VDI.get_uuid(gone)).unlink()
    (host.directory / of_changed).write_text(str(16 * MIB))
    (host.directory / new).write_text(str(4 * MIB))

    host.session.SR.scan(sr)

    sizes = {row["uuid"]: int(row["virtual_size"]) for row in host.session.VDI.get_all_records().values()
             if row["SR"] == sr}  # fmt: skip
    assert sizes == {of_changed: 16 * MIB, new: 4 * MIB}


def test_a_scan_keeps_what_others_wrote_into_sm_config(host: Host) -> None:
    sr = host.create_sr()
    vdi = host.create_vdi(sr)
    host.session.VDI.add_to_sm_config(vdi, "read-caching-enabled-on-x", "false")
    (host.directory / host.session.VDI.get_uuid(vdi)).write_text(str(16 * MIB))
    host.session.SR.scan(sr)
    assert host.session.VDI.get_virtual_size(vdi) == str(16 * MIB)
    assert host.session.VDI.get_sm_config(vdi)["read-caching-enabled-on-x"] == "false"


def test_a_first_scan_that_fails_leaves_the_sr_plugged_and_a_message(host: Host) -> None:
    sr = host.create_sr(fail="sr_scan", how="sm")
    (pbd,) = host.session.SR.get_PBDs(sr)
    assert host.session.PBD.get_currently_attached(pbd)
    messages = [row for row in host.session.message.get_all_records().values()
                if row["obj_uuid"] == host.session.SR.get_uuid(sr)]  # fmt: skip
    assert [row["name"] for row in messages] == ["POST_ATTACH_SCAN_FAILED"]
    assert "the device has failed" in messages[0]["body"]


def test_plugging_an_sr_clears_the_open_and_paused_tags_of_its_host(host: Host) -> None:
    sr = host.create_sr()
    vdi = host.create_vdi(sr)
    for key, value in ((f"host_{host.ref}", "RW"), ("host_OpaqueRef:other", "RO"), ("paused", "true")):
        host.session.VDI.add_to_sm_config(vdi, key, value)
    host.plug_again(sr)
    left = host.session.VDI.get_sm_config(vdi)
    assert "host_OpaqueRef:other" in left
    assert not {f"host_{host.ref}", "paused"} & set(left)


def test_an_exclusive_command_waits_for_the_lock_of_its_sr(host: Host) -> None:
    sr = host.create_sr()
    replies: list[str] = []
    waiting = threading.Thread(target=lambda: replies.append(host.create_vdi(sr)))
    with host.holding_lock(host.session.SR.get_uuid(sr), "sr"):
        waiting.start()
        waiting.join(1.5)
        assert waiting.is_alive(), "it did not wait"
    waiting.join(30)
    assert len(replies) == 1


def test_a_command_that_is_not_exclusive_does_not_wait(host: Host) -> None:
    sr = host.create_sr()
    vdi = host.create_vdi(sr)
    with host.holding_lock(host.session.SR.get_uuid(sr), "sr"):
        host.session.VDI.resize(vdi, str(16 * MIB))
    assert host.session.VDI.get_virtual_size(vdi) == str(16 * MIB)


def test_a_disk_that_is_open_elsewhere_is_not_activated(host: Host) -> None:
    """The plugin that checks whether it still is open has SM's own drivers only."""
    sr = host.create_sr(vditype="aio")
    vdi = host.create_vdi(sr)
    host.session.VDI.add_to_sm_config(vdi, f"host_{host.ref}", "RW")
    (domain,) = [ref for ref, row in host.session.VM.get_all_records().items() if row["is_control_domain"]]
    vbd = host.session.VBD.create({"VM": domain, "VDI": vdi, "mode": "RW"})
    with pytest.raises(ApiError, match="SR_BACKEND_FAILURE_46") as raised:
        host.session.VBD.plug(vbd)
    assert "SRUnknownType" in str(raised.value) or "Unknown repository type" in str(raised.value)
    assert host.session.VDI.get_sm_config(vdi)[f"host_{host.ref}"] == "RW"


# What SM does around an activation: the lock and the tags of the disk.  Quotes are of sm v3.2.12 with XCP-ng's
# patches for 8.3.


def asked(ask: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """Start a call in a thread. The list gets one item: its result or its exception."""
    came: list[object] = []

    def run() -> None:
        try:
            came.append(ask())
        except ApiError as error:
            came.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, came


def paths(host: Host, vdi: str) -> tuple[str, str]:
    """The uuids of the SR and of the disk, by which SM names its links and locks."""
    record = host.session.VDI.get_record(vdi)
    return host.session.SR.get_uuid(record["SR"]), record["uuid"]


def pause_plugin(host: Host, vdi: str, action: str, **more: str) -> str:
    sr_uuid, vdi_uuid = paths(host, vdi)
    args = {"sr_uuid": sr_uuid, "vdi_uuid": vdi_uuid, **more}
    with host.xapi.session() as own:
        return str(own.host.call_plugin(host.ref, "tapdisk-pause", action, args))


def activate(host: Host, vdi: str, writable: bool = True) -> object:
    """vdi_activate, without xapi's own checks."""
    record = host.xapi.pool.db.record("VDI", vdi)
    return host.xapi.pool.sm(host.ref, "vdi_activate", sr=record["SR"], vdi=vdi, args=[str(writable).lower()])


@pytest.fixture
def with_phy(pool_of_one: Host) -> None:
    """Skip if SM cannot activate disks without tapdisk.

    SM 4 has no links for them.  The one with QCOW2 asks cowutil.getCowUtil, which has no type "phy" before
    vditype.py has PHY.
    """
    dom0 = pool_of_one.dom0
    if dom0.exec(["test", "-d", "/opt/xensource/site-packages/sm"]).returncode == 0:
        pytest.skip("this SM has no links for disks without tapdisk")
    asks = dom0.exec(["grep", "-q", "_check_journal_coalesce_chain", f"{SM_DIR}/blktap2.py"]).returncode == 0
    if asks and dom0.exec(["grep", "-q", "PHY", f"{SM_DIR}/vditype.py"]).returncode != 0:
        pytest.skip("this SM activates no disk of type phy")


def test_a_pause_waits_for_the_lock_of_its_disk(host: Host) -> None:
    """tapdisk-pause:44-68 `locking`: Lock("vdi", uuid), without a limit unless failfast."""
    vdi = host.create_vdi(host.create_sr())
    with host.holding_lock(paths(host, vdi)[1], "vdi"):
        waiting, came = asked(lambda: pause_plugin(host, vdi, "pause"))
        waiting.join(1.5)
        assert waiting.is_alive(), "it did not wait"
        with pytest.raises(ApiError, match="VDI already locked"):
            pause_plugin(host, vdi, "pause", failfast="True")
    waiting.join(30)
    assert came == ["True"]


@pytest.mark.usefixtures("with_phy")
def test_an_activation_holds_the_disks_lock_during_attach(host: Host, tmp_path: Path) -> None:
    """blktap2.py:1749 `@locking` of _activate_locked: an unpause from inside would be a deadlock."""
    hold = tmp_path / "hold"
    hold.touch()
    vdi = host.create_vdi(host.create_sr(hold=str(hold)))
    activation, activated = asked(lambda: activate(host, vdi))
    while not (host.directory / "calls").exists():
        assert activation.is_alive(), activated
    unpause, unpaused = asked(lambda: pause_plugin(host, vdi, "unpause"))
    unpause.join(1.5)
    assert unpause.is_alive(), "it did not wait"
    hold.unlink()
    for thread in (activation, unpause):
        thread.join(30)
    assert activated == [None]
    # the pause found the backend of the disk, which has no tapdisk
    assert unpaused == ["False"]
    host.xapi.pool.sm(host.ref, "vdi_deactivate", sr=host.session.VDI.get_SR(vdi), vdi=vdi)


def test_an_activation_for_writing_fails_while_another_one_is_noted(host: Host) -> None:
    """blktap2.py:1526-1533 _add_tag: MAP_DUPLICATE_KEY of 'activating' ends a writer, a reader tries again."""
    vdi = host.create_vdi(host.create_sr(vditype="aio"))
    host.session.VDI.add_to_sm_config(vdi, "activating", "True")
    with pytest.raises(ApiError, match="MAP_DUPLICATE_KEY"):
        activate(host, vdi)
    assert host.session.VDI.get_sm_config(vdi)["activating"] == "True", "the tag stays for its owner"
    reader, came = asked(lambda: activate(host, vdi, writable=False))
    reader.join(2.5)
    assert reader.is_alive(), came
    host.session.VDI.remove_from_sm_config(vdi, "activating")
    reader.join(30)
    assert len(came) == 1  # a local host has no tapdisk
    assert not {"activating", f"host_{host.ref}"} & set(host.session.VDI.get_sm_config(vdi))


@pytest.mark.parametrize("key", ["paused", "relinking"])
def test_an_activation_waits_until_the_disk_is_released(host: Host, key: str) -> None:
    """blktap2.py:1520-1525 _add_tag returns False, and ATTACH_DETACH_RETRY_SECS is 120."""
    vdi = host.create_vdi(host.create_sr(vditype="aio"))
    host.session.VDI.add_to_sm_config(vdi, key, "true")
    waiting, came = asked(lambda: activate(host, vdi))
    waiting.join(2.5)
    if key == "relinking" and not waiting.is_alive():
        assert "not all arguments converted" in str(came), "SM fails to log the key that it found"
    else:
        assert waiting.is_alive(), came
    host.session.VDI.remove_from_sm_config(vdi, key)
    waiting.join(30)
    assert not {"activating", f"host_{host.ref}"} & set(host.session.VDI.get_sm_config(vdi))


@pytest.mark.usefixtures("with_phy")
def test_a_failed_activation_keeps_the_link_and_does_not_detach(host: Host) -> None:
    """blktap2.py:1815-1844: `except` removes the tag alone; PhyLink.mklink:1262 asserts the same target later."""
    sr = host.create_sr(fail="vdi_activate", how="sm")
    vdi = host.create_vdi(sr)
    link = "/dev/sm/phy/{}/{}".format(*paths(host, vdi))
    with pytest.raises(ApiError, match="the device has failed"):
        activate(host, vdi)
    assert host.calls == ["attach", "activate"]
    assert host.dom0.exec(["readlink", link]).check().decode().strip() == "/dev/null"
    (pbd,) = host.session.SR.get_PBDs(sr)
    host.xapi.pool.db.replace_key("PBD", pbd, "device_config", "device", "/dev/zero")
    with pytest.raises(ApiError, match=f"'{link}' not equal to '/dev/zero'"):
        activate(host, vdi)
