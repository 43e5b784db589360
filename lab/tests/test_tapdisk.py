"""tapdisk on a real kernel, with SM's blktap2: the simulator's and a checkout's.

tapdisk is the lab's simulator; with TAPDISK_BIN=DIRECTORY and an SM_SOURCE of SM 4 it is the real tapdisk 4.

A guest's disk is an RBD image mapped by that kernel. The tests read the image itself to find what was
written.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.ceph import OneNodeCeph
from lab.dom0 import GuestDom0, LocalDom0
from lab.sm_source import runs_real_tapdisk, stage_sm
from lab.tree import install_driver, layout
from lab.xapi import ApiError, Session, Settings, Xapi

# Slow: the disks of `test_plug.py` use this tapdisk, too.
pytestmark = pytest.mark.slow

FIXTURES = Path(__file__).with_name("fixtures")
DIRECTORY = "/tmp/sr"
MIB = 1 << 20

FOR_REAL = "give TAPDISK_BIN, and an SM 4 as SM_SOURCE"

SOURCES = [pytest.param(None, id="simulator")]
if "SM_SOURCE" in os.environ:
    SOURCES.append(pytest.param(Path(os.environ["SM_SOURCE"]), id="real"))


class Host:
    """A guest host with a disk in its kernel, and an SR whose VDIs are that disk."""

    def __init__(self, dom0: GuestDom0, xapi: Xapi, ceph: OneNodeCeph, pool: str, *, is_real: bool) -> None:
        self.dom0, self.xapi, self.ceph, self.pool = dom0, xapi, ceph, pool
        self.is_real = is_real  # tapdisk, that is
        self.session: Session = xapi.session()
        self.ref: str = self.session.host.get_all()[0]
        self.domain: str = self.session.host.get_control_domain(self.ref)
        self.image = f"{pool}/disk"
        ceph.rbd("create", "--size", "64M", self.image)
        order = f"{ceph.mon_host} name=admin,secret={ceph.key('admin')} {pool} disk -"
        dom0.exec(["tee", "/sys/bus/rbd/add_single_major"], input=order.encode()).check()
        self.disk = "/dev/rbd0"

    def create_vdi(self, **device_config: str) -> str:
        config = {"directory": DIRECTORY, "device": self.disk, **device_config}
        self.shell(f"rm -rf {DIRECTORY}; mkdir {DIRECTORY}")
        sr = self.session.SR.create(self.ref, config, "0", "sr", "", "labblock", "", False, {})
        record = {"SR": sr, "name_label": "disk", "virtual_size": str(64 * MIB), "type": "user"}
        return str(self.session.VDI.create(record))

    @contextmanager
    def plugged(self, vdi: str, mode: str = "RW") -> Iterator[str]:
        """The disk is active on the host inside the `with` block. Returns the path of tapdisk's device."""
        vbd = self.session.VBD.create({"VM": self.domain, "VDI": vdi, "mode": mode})
        self.session.VBD.plug(vbd)
        try:
            (found,) = self.tapdisks
            yield f"/dev/xen/blktap-2/tapdev{found['minor']}"
        finally:
            self.session.VBD.unplug(vbd)
            self.session.VBD.destroy(vbd)

    def has_image_open(self) -> bool:
        """Whether the one tapdisk of the host has its disk open."""
        (tapdisk,) = self.tapdisks
        if self.is_real:
            return self.disk in self.shell(f"readlink /proc/{tapdisk['pid']}/fd/* || true").split()
        return self.shell(f"ls /sys/block/{Path(self.disk).name}/holders") != ""

    def shell(self, script: str) -> str:
        return self.dom0.exec(["sh", "-c", script]).check().decode()

    @property
    def tapdisks(self) -> list[dict[str, str]]:
        """The rows of `tap-ctl list` that have a process."""
        return [row for row in self.minors if "pid" in row]

    @property
    def minors(self) -> list[dict[str, str]]:
        """The rows of `tap-ctl list`: one for each minor that is allocated."""
        rows = self.dom0.exec(["tap-ctl", "list"]).check().decode().splitlines()
        return [dict(re.findall(r"(\w+)=(\S+)", row)) for row in rows]

    @property
    def calls(self) -> list[str]:
        """SM's calls of the driver's data path."""
        return self.dom0.get(f"{DIRECTORY}/calls").decode().split()

    def plugin(self, action: str, vdi: str) -> str:
        record: dict[str, Any] = self.session.VDI.get_record(vdi)
        args = {"sr_uuid": self.session.SR.get_uuid(record["SR"]), "vdi_uuid": record["uuid"]}
        return str(self.session.host.call_plugin(self.ref, "tapdisk-pause", action, args))

    def image_starts_with(self, text: str) -> bool:
        """Whether the image does, read from the cluster."""
        return self.ceph.rbd("export", "--no-progress", self.image, "-").startswith(text)

    def wait_for(self, condition: Callable[[], bool], seconds: float = 30) -> bool:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                return False
            time.sleep(0.1)
        return True


def write(text: str, device: str) -> str:
    """The shell command for one direct write at the start of a device."""
    return f"printf %-512s {text} | dd of={device} bs=512 count=1 oflag=direct iflag=fullblock conv=notrunc 2>&1"


@pytest.fixture(scope="module", params=SOURCES)
def host(request: pytest.FixtureRequest, ceph: OneNodeCeph, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    tree = stage_sm(request.param, tmp_path_factory.mktemp("sm"))
    driver = tmp_path_factory.mktemp("driver")
    install_driver(FIXTURES / "LabBlockSR.py", driver)
    pool = "tapdisk" if request.param is None else "tapdisk-real"
    ceph.create_pool(pool)
    with (
        Xapi(settings=Settings(plugins=["labblock"])) as xapi,
        GuestDom0("host1", tmp_path_factory.mktemp("host1")) as dom0,
    ):
        layout(dom0, sm_tree=tree, driver_tree=driver, ceph_conf=None, keyring=None, xapi=xapi.endpoint)
        xapi.add_host(dom0)
        yield Host(dom0, xapi, ceph, pool, is_real=runs_real_tapdisk(request.param))
    ceph.admin("osd", "pool", "delete", pool, pool, "--yes-i-really-really-mean-it")


def test_an_active_disk_writes_to_its_image_and_leaves_nothing_behind(host: Host) -> None:
    vdi = host.create_vdi()
    tag = f"host_{host.ref}"
    with host.plugged(vdi) as device:
        assert host.session.VDI.get_sm_config(vdi)[tag] == "RW"
        assert host.shell(f"blockdev --getsize64 {device}").strip() == str(64 * MIB)
        host.shell(write("hello", device))
        assert host.image_starts_with("hello")
        (tapdisk,) = host.tapdisks
        assert tapdisk["args"] == f"aio:{host.disk}"
        assert host.calls == ["attach", "activate"]
    assert host.calls == ["attach", "activate", "deactivate", "detach"]
    assert host.tapdisks == []
    assert tag not in host.session.VDI.get_sm_config(vdi)
    assert host.shell("find /dev/sm /run/blktap-control /dev/xen/blktap-2 -not -type d") == ""
    assert host.dom0.exec(["kill", "-0", tapdisk["pid"]]).returncode == 1


def test_a_paused_disk_delays_writes_until_it_resumes(host: Host) -> None:
    vdi = host.create_vdi()
    with host.plugged(vdi) as device:
        host.shell(write("before", device))
        assert host.plugin("pause", vdi) == "True"
        host.shell(f"rm -f /tmp/done; ({write('after', device)} >/tmp/out; touch /tmp/done) >/dev/null 2>&1 &")
        assert not host.wait_for(lambda: host.shell("ls /tmp").split().count("done") > 0, 3)
        assert host.image_starts_with("before")
        assert host.plugin("unpause", vdi) == "True"
        assert host.wait_for(lambda: host.shell("ls /tmp").split().count("done") > 0)
        assert host.image_starts_with("after")


def test_a_snapshot_pauses_and_resumes_the_active_disk(host: Host) -> None:
    vdi = host.create_vdi()
    with host.plugged(vdi) as device:
        snapshot = host.session.VDI.snapshot(vdi, {})
        assert host.session.VDI.get_snapshot_of(snapshot) == vdi
        assert "paused" not in host.session.VDI.get_sm_config(vdi)
        host.shell(write("still-there", device))
        assert host.image_starts_with("still-there")


def test_a_paused_tapdisk_has_its_image_closed(host: Host) -> None:
    """blktap v4.0.8 drivers/tapdisk-vbd.c:989 tapdisk_vbd_pause calls tapdisk_vbd_close_vdi.

    The state bits are those of tapdisk-vbd.h:49-58: PAUSED, QUIESCED, CLOSED.
    """
    vdi = host.create_vdi()
    with host.plugged(vdi):
        (running,) = host.tapdisks
        assert int(running["state"], 16) == 0
        assert host.has_image_open()
        host.plugin("pause", vdi)
        (paused,) = host.tapdisks
        assert int(paused["state"], 16) == 0x2A
        assert paused["args"] == running["args"], "its name stays"
        assert not host.has_image_open()
        host.plugin("unpause", vdi)
        assert host.tapdisks == [running]
        assert host.has_image_open()


def test_a_disk_that_grew_while_it_was_paused_does_not_resume(host: Host) -> None:
    """blktap v4.0.8 drivers/tapdisk-vbd.c:1032-1047 tapdisk_vbd_resume: EMEDIUMTYPE, it stays paused."""
    vdi = host.create_vdi()
    with host.plugged(vdi):
        host.plugin("pause", vdi)
        host.ceph.rbd("resize", "--size", "128M", "--no-progress", host.image)
        try:
            assert host.wait_for(lambda: host.shell(f"blockdev --getsize64 {host.disk}").strip() == str(128 * MIB))
            with pytest.raises(ApiError):
                host.plugin("unpause", vdi)
            (tapdisk,) = host.tapdisks
            assert int(tapdisk["state"], 16) == 0x22A
        finally:
            host.ceph.rbd("resize", "--size", "64M", "--allow-shrink", "--no-progress", host.image)
        assert host.wait_for(lambda: host.shell(f"blockdev --getsize64 {host.disk}").strip() == str(64 * MIB))
        assert host.plugin("unpause", vdi) == "True"


def test_a_tapdisk_on_the_same_path_serves_the_next_activation(host: Host) -> None:
    """sm v3.2.12 drivers/blktap2.py VDI._tap_activate: Tapdisk.find_by_path finds one, and starts no new one."""
    vdi = host.create_vdi()
    (device,) = host.shell("tap-ctl allocate").split()
    minor = re.sub(r"\D", "", device.rpartition("-")[2] if "tapdisk-" in device else device.rpartition("tapdev")[2])
    pid = host.shell("tap-ctl spawn").strip()
    host.shell(f"tap-ctl attach -p {pid} -m {minor} && tap-ctl open -p {pid} -m {minor} -a aio:{host.disk}")
    with host.plugged(vdi):
        (tapdisk,) = host.tapdisks
        assert tapdisk["pid"] == pid
    assert host.tapdisks == []


def test_a_killed_tapdisk_fails_the_io_and_the_next_activation_works(host: Host) -> None:
    if not host.is_real:
        pytest.skip(f"the simulator's device is the kernel's own, and outlives its process: {FOR_REAL}")
    vdi = host.create_vdi()
    vbd = host.session.VBD.create({"VM": host.domain, "VDI": vdi, "mode": "RW"})
    host.session.VBD.plug(vbd)
    (tapdisk,) = host.tapdisks
    device = f"/dev/xen/blktap-2/tapdev{tapdisk['minor']}"
    host.shell(write("acknowledged", device))
    host.shell(f"kill -9 {tapdisk['pid']}")
    assert host.wait_for(lambda: host.shell(f"{write('lost', device)} || echo failed").rstrip().endswith("failed"))
    host.session.VBD.unplug(vbd)
    host.session.VBD.destroy(vbd)
    assert host.minors == [{"minor": tapdisk["minor"]}], "it stays allocated"
    assert host.image_starts_with("acknowledged")
    with host.plugged(vdi) as device:
        host.shell(write("again", device))
        assert host.image_starts_with("again")
    host.shell(f"tap-ctl free -m {tapdisk['minor']}")


def test_a_disk_that_is_resumed_with_a_mirror_writes_to_both(host: Host) -> None:
    """blktap v4.0.8 control/tap-ctl.c:664 `unpause -2 SECONDARY`: what storage migration does."""
    if not host.is_real:
        pytest.skip(f"the simulator has no mirror: {FOR_REAL}")
    vdi = host.create_vdi()
    second = f"{host.pool}/second"
    host.ceph.rbd("create", "--size", "64M", second)
    order = f"{host.ceph.mon_host} name=admin,secret={host.ceph.key('admin')} {host.pool} second -"
    host.dom0.exec(["tee", "/sys/bus/rbd/add_single_major"], input=order.encode()).check()
    with host.plugged(vdi) as device:
        (tapdisk,) = host.tapdisks
        words = f"-p {tapdisk['pid']} -m {tapdisk['minor']}"
        # The destination of a mirror is an NBD server: one more tapdisk, over the second image.
        minor = host.shell("tap-ctl allocate").strip().rpartition("-")[2]
        pid = host.shell("tap-ctl spawn").strip()
        host.shell(f"tap-ctl attach -p {pid} -m {minor} && tap-ctl open -p {pid} -m {minor} -a aio:/dev/rbd1")
        host.shell(f"tap-ctl pause {words}")
        socket = f"/run/blktap-control/nbd-old{pid}.{minor}"  # its client has the old protocol
        host.shell(f"tap-ctl unpause {words} -2 nbd:{socket}")
        host.shell(write("mirrored", device))
        host.shell(f"tap-ctl pause {words} && tap-ctl unpause {words} -2 null")
        host.shell(write("alone", device))
        host.shell(f"tap-ctl close -p {pid} -m {minor} && tap-ctl detach -p {pid} -m {minor}; tap-ctl free -m {minor}")
    assert host.image_starts_with("alone")
    exported = host.ceph.rbd("export", "--no-progress", second, "-")
    assert exported.startswith("mirrored")


def test_a_disk_that_is_only_read_cannot_be_written_to(host: Host) -> None:
    vdi = host.create_vdi()
    host.shell(write("kept", host.disk))
    with host.plugged(vdi, "RO") as device:
        assert host.session.VDI.get_sm_config(vdi)[f"host_{host.ref}"] == "RO"
        assert host.dom0.exec(["sh", "-c", f"set -o pipefail 2>/dev/null; echo x > {device}"]).returncode != 0
        assert host.shell(f"head -c 4 {device}") == "kept"
    assert host.image_starts_with("kept")


def test_an_activation_that_fails_leaves_neither_tapdisk_nor_tag(host: Host) -> None:
    vdi = host.create_vdi(fail="vdi_activate", how="sm")
    with pytest.raises(ApiError, match="SR_BACKEND_FAILURE_46"), host.plugged(vdi):
        pass
    assert host.tapdisks == []
    assert not {f"host_{host.ref}", "activating"} & set(host.session.VDI.get_sm_config(vdi))


def test_a_host_without_block_devices_reports_that_tapdisk_is_missing(
    new_local_dom0: Callable[[str], LocalDom0], tmp_path: Path
) -> None:
    with new_local_dom0("host1") as dom0:
        layout(dom0, sm_tree=stage_sm(None, tmp_path), driver_tree=None, ceph_conf=None, keyring=None)
        asked = dom0.exec(["tap-ctl", "allocate"])
        assert asked.returncode == 19
        assert b"no tapdisk on this host" in asked.stderr
