"""The XAPI calls of each SM command, counted in the xapi simulator and compared with a table.

XAPI serves all hosts and all their commands.  A command that makes fewer calls fails, too, so that the
table stays correct.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import pytest

from lab.cephrbd import RbdPool
from lab.disk import MIB, Disk
from lab.sm_source import sm_source

Calls = Mapping[str, int]

# SM makes this call for each SR without multipathing of its own.
START: Calls = {"host.get_other_config": 1}
# SM writes an SR's sizes to XAPI.
USAGE: Calls = {
    "SR.get_by_uuid": 1, "SR.set_physical_size": 1, "SR.set_physical_utilisation": 1, "SR.set_virtual_allocation": 1,
}  # fmt: skip
# SM compares XAPI's records with those of the driver, which reads them before.
SCAN: Calls = Counter({"SR.get_by_uuid": 1, "VDI.get_all_records_where": 2}) + Counter(USAGE)
# SM reads the capabilities of the SR's type, and drops the VDI's record in XAPI.
DELETE: Calls = {
    "SR.get_by_uuid": 1, "SR.get_record": 1, "SM.get_all_records_where": 1, "VDI.get_by_uuid": 1, "VDI.db_forget": 1,
}  # fmt: skip

# In the order of their execution; each also has the calls of SM's start.
TABLE: Mapping[str, Calls] = {
    "sr_probe": {},
    "sr_create": {"SR.get_name_description": 1, "SR.get_name_label": 1, "SR.get_shared": 1},
    # SM's: the hosts that have a disk of the SR, and the first scan. The driver's: whether this host was
    # declared dead.
    "sr_attach": Counter({"SR.get_by_uuid": 1, "SR.add_to_other_config": 1, "VDI.get_all_records_where": 1,
                          "host.get_by_uuid": 2, "host.get_other_config": 1}) + Counter(SCAN),
    "vdi_create": {"VDI.db_introduce": 1},
    "vdi_resize": {"VDI.get_by_uuid": 1, "VDI.set_virtual_size": 1},
    "vdi_update": {"VDI.get_by_uuid": 1, "VDI.get_name_description": 1, "VDI.get_name_label": 1,
                   "VDI.get_all_records_where": 1},
    # The driver asks whether a VM is being snapshotted.
    "vdi_snapshot": {"VDI.db_introduce": 1, "VDI.get_record": 1},
    "vdi_clone of a snapshot": {"VDI.db_introduce": 1},
    "vdi_clone of a disk": {"VDI.db_introduce": 1},
    "vdi_revert": {"VDI.get_uuid": 1, "VDI.set_virtual_size": 1},
    "vdi_epoch_begin": {},
    "vdi_epoch_end": {},
    "vdi_introduce": {"VDI.db_introduce": 1},
    "sr_scan of 5 VDIs, nothing changed": SCAN,
    "sr_update": Counter({"SR.get_name_description": 1, "SR.get_name_label": 1}) + Counter(USAGE),
    "vdi_delete of a snapshot": DELETE,
    "vdi_delete": DELETE,
    "sr_scan of 3 VDIs, nothing changed": SCAN,
    "sr_content_type": {},
    "sr_detach": {},
}  # fmt: skip


@pytest.fixture(scope="module")
def calls(shared_rbd_pool: RbdPool) -> Iterator[dict[str, Counter[str]]]:
    """The calls of each command in the life of an SR."""
    if sm_source() is not None:
        pytest.skip("the table is that of the simulator of SM; each real SM has its own calls besides")
    pool = shared_rbd_pool
    lab = pool.lab
    counted: dict[str, Counter[str]] = {}

    def count(name: str) -> None:
        """Counts the calls of the last command of that name."""
        command = next(found for found in reversed(lab.xapi.commands) if found.name == name.partition(" ")[0])
        counted[name] = Counter(command.calls)

    lab.xe("sr-probe", "type=cephrbd", *pool.device_config)
    count("sr_probe")
    mark = len(lab.xapi.commands)
    sr = pool.create_sr("counted")
    count("sr_create")
    # The master's attach, which is the first one.
    attach = next(command for command in lab.xapi.commands[mark:] if command.name == "sr_attach")
    counted["sr_attach"] = Counter(attach.calls)
    disk = Disk.create(sr, 16 * MIB)
    count("vdi_create")
    lab.xe("vdi-resize", f"uuid={disk.uuid}", "disk-size=32MiB")
    count("vdi_resize")
    lab.xe("vdi-param-set", f"uuid={disk.uuid}", "name-label=renamed")
    count("vdi_update")
    snapshot = disk.snapshot()
    count("vdi_snapshot")
    clone = snapshot.clone()
    count("vdi_clone of a snapshot")
    twin = disk.clone()
    count("vdi_clone of a disk")
    snapshot.command(lab.hosts[0], "vdi_revert", lab.xapi.pool.db.by_uuid("VDI", disk.uuid))
    count("vdi_revert")
    disk.command(lab.hosts[1], "vdi_epoch_begin")
    count("vdi_epoch_begin")
    disk.command(lab.hosts[1], "vdi_epoch_end")
    count("vdi_epoch_end")
    forgotten = Disk.create(sr, 16 * MIB).uuid
    lab.xe("vdi-forget", f"uuid={forgotten}")
    lab.xe("vdi-introduce", f"uuid={forgotten}", f"sr-uuid={sr.uuid}", "type=user", f"location={forgotten}")
    count("vdi_introduce")
    sr.scan()  # SM's first scan records the type of each new disk's image
    sr.scan()
    count("sr_scan of 5 VDIs, nothing changed")
    count("sr_update")
    snapshot.destroy()
    count("vdi_delete of a snapshot")
    clone.destroy()
    count("vdi_delete")
    sr.scan()
    count("sr_scan of 3 VDIs, nothing changed")
    assert sr.vdis() == {disk.uuid, twin.uuid, forgotten}
    sr.command(lab.hosts[0], "sr_content_type")
    count("sr_content_type")
    sr.unplug()
    count("sr_detach")
    yield counted


def test_no_command_calls_xapi_more_often_than_its_table(calls: dict[str, Counter[str]]) -> None:
    assert list(calls) == list(TABLE)
    differences = [
        f"{command}: {method}: {made[method]} calls, where the table has {allowed[method]}"
        for command, made in calls.items()
        for allowed in [Counter(TABLE[command]) + Counter(START)]
        for method in sorted(made | allowed)
        if made[method] != allowed[method]
    ]
    assert not differences, "\n".join(differences)


def test_a_scan_without_news_makes_the_same_calls_for_any_number_of_disks(
    calls: dict[str, Counter[str]],
) -> None:
    assert calls["sr_scan of 5 VDIs, nothing changed"] == calls["sr_scan of 3 VDIs, nothing changed"]
