"""A host can plug a disk that no host has open, despite SM's keys of a killed command."""

from __future__ import annotations

import pytest

from lab.cephrbd import CephRbdLab, CephSr, RbdPool
from lab.disk import Disk
from lab.dom0 import Dom0

PLUGIN = "/etc/xapi.d/plugins/smblock"


@pytest.fixture(scope="module")
def sr(guests_rbd_pool: RbdPool) -> CephSr:
    return guests_rbd_pool.create_sr("tagged")


def add_key(disk: Disk, key: str, value: str) -> None:
    with disk.sr.lab.xapi.session() as session:
        session.VDI.add_to_sm_config(session.VDI.get_by_uuid(disk.uuid), key, value)


def tag(disk: Disk, host: Dom0, mode: str = "RW") -> None:
    """Tags a disk with a host that does not have it open."""
    add_key(disk, f"host_{disk.sr.lab.xapi.pool.db.by_uuid('host', host.uuid)}", mode)


def test_the_host_of_a_stale_tag_plugs_the_disk(disk: Disk, one: Dom0) -> None:
    tag(disk, one)
    with disk.plugged(one):
        assert disk.claimed_by() == one.uuid


def test_another_host_plugs_a_disk_that_the_tagged_host_lacks(disk: Disk, one: Dom0, two: Dom0) -> None:
    tag(disk, one)
    with disk.plugged(two):
        assert disk.claimed_by() == two.uuid


def test_a_host_plugs_a_disk_with_the_tag_of_a_host_that_is_unknown(disk: Disk, two: Dom0) -> None:
    add_key(disk, "host_OpaqueRef:11111111-2222-3333-4444-555555555555", "RW")
    with disk.plugged(two):
        assert disk.claimed_by() == two.uuid


def test_a_host_plugs_a_disk_whose_keys_a_killed_command_left(disk: Disk, two: Dom0) -> None:
    add_key(disk, "activating", "True")
    add_key(disk, "paused", "true")
    with disk.plugged(two):
        assert disk.claimed_by() == two.uuid
        assert not disk.is_paused()


def test_the_error_names_the_tagged_host_that_cannot_be_asked(
    disk: Disk, guests: CephRbdLab, one: Dom0, two: Dom0
) -> None:
    tag(disk, one)
    one.exec(["mv", PLUGIN, "/opt/plugin-away"]).check()
    try:
        refused = guests.refused("vbd-plug", f"uuid={disk.attach_to(two.control_domain_uuid)}")
    finally:
        one.exec(["mv", "/opt/plugin-away", PLUGIN]).check()
    assert one.uuid in refused
    assert f"xe host-declare-dead uuid={one.uuid}" in refused
    assert disk.devices(two) == []


def test_two_hosts_read_a_disk_though_one_cannot_be_asked(disk: Disk, one: Dom0, two: Dom0) -> None:
    with disk.plugged(one, "RO"):
        one.exec(["mv", PLUGIN, "/opt/plugin-away"]).check()
        try:
            with disk.plugged(two, "RO"):
                assert len(disk.devices(two)) == 1
        finally:
            one.exec(["mv", "/opt/plugin-away", PLUGIN]).check()
