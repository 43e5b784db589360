"""A client that shares no code with the driver reads what the driver has written to Ceph.

That client is `lab/oracle`, on the crate `ceph` and a linked librados. The driver's own binding opens the
library at run time.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lab import wait_for
from lab.ceph import OneNodeCeph
from lab.cephrbd import CephSr
from lab.wheel import REPOSITORY

# The first test builds the oracle.
pytestmark = pytest.mark.timeout(600)

CRATE = REPOSITORY / "lab" / "oracle"
GIB = 1 << 30


class Oracle:
    """The other client, as the cluster's administrator."""

    def __init__(self, program: Path, ceph: OneNodeCeph) -> None:
        self._argv = [str(program), str(ceph.conf), "admin"]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self._argv, *words], capture_output=True, text=True, timeout=30, check=False)

    def pools(self) -> list[str]:
        done = self.run("pools")
        assert done.returncode == 0, done.stderr
        return list(json.loads(done.stdout))

    def omap(self, pool: str, name: str) -> dict[str, bytes]:
        """The omap of an object."""
        done = self.run("omap", pool, name)
        assert done.returncode == 0, done.stderr
        return {key: bytes.fromhex(value) for key, value in json.loads(done.stdout).items()}

    def catalogue(self, sr: CephSr) -> dict[str, bytes]:
        """The SR's catalogue, without the keys of the hosts that have plugged it."""
        entries = self.omap(sr.pool.name, sr.catalogue)
        return {key: value for key, value in entries.items() if not key.startswith("host.")}


@pytest.fixture(scope="module")
def oracle(ceph: OneNodeCeph) -> Oracle:
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / "oracle"
    build = ["cargo", "build", "--quiet", "--locked", f"--manifest-path={CRATE}/Cargo.toml", f"--target-dir={target}"]
    subprocess.run(build, check=True, timeout=580)
    return Oracle(target / "debug" / "oracle", ceph)


@pytest.fixture
def two_entries_a_reply(ceph: OneNodeCeph) -> Iterator[None]:
    """Lets the OSD return two omap entries at a time; the default is 1,024."""
    with ceph.osd_option("osd_max_omap_entries_per_request", "2"):
        yield


def test_another_client_finds_every_disk_in_the_catalogue_as_xapi_has_it(oracle: Oracle, sr: CephSr) -> None:
    vdi = sr.create_vdi("Müller's disk 💾", "3GiB")
    catalogue = oracle.catalogue(sr)
    assert set(catalogue) == {"sr", f"vdi.{vdi}"}
    assert json.loads(catalogue["sr"])["uuid"] == sr.uuid
    record = json.loads(catalogue[f"vdi.{vdi}"])
    image = sr.pool.image_info(sr.image(vdi))
    assert record["uuid"] == vdi
    assert record["xapi"]["name_label"] == "Müller's disk 💾"
    assert record["size"] == image["size"] == 3 * GIB
    assert record["volume"]["image"] == {"name": sr.image(vdi), "id": image["id"]}
    assert record["claim"] is None


def test_another_client_finds_the_srs_of_a_pool_in_its_directory(oracle: Oracle, sr: CephSr) -> None:
    other = sr.pool.create_sr("other")
    directory = oracle.omap(sr.pool.name, "smblock.directory")
    assert directory == {f"sr.{uuid}": uuid.encode() for uuid in (sr.uuid, other.uuid)}


def test_a_destroyed_disk_leaves_nothing_in_the_catalogue(oracle: Oracle, sr: CephSr) -> None:
    kept, destroyed = sr.create_vdi("kept"), sr.create_vdi("destroyed")
    sr.destroy_vdi(destroyed)

    def only_the_kept_one() -> bool:
        sr.scan()  # removes the mark of an image in the trash that ceph-mgr has freed
        return set(oracle.catalogue(sr)) == {"sr", f"vdi.{kept}"}

    wait_for(only_the_kept_one, "the destroyed disk to be gone", 30)


def test_an_sr_larger_than_one_reply_of_the_cluster_is_read_whole(
    oracle: Oracle, sr: CephSr, two_entries_a_reply: None
) -> None:
    vdis = {sr.create_vdi(f"disk {number}") for number in range(4)}
    sr.scan()
    assert sr.vdis() == vdis
    assert set(oracle.catalogue(sr)) == {"sr", *(f"vdi.{vdi}" for vdi in vdis)}


def test_the_pools_that_a_probe_offers_are_pools_of_the_cluster(oracle: Oracle, sr: CephSr) -> None:
    offered = ElementTree.fromstring(sr.lab.xe("sr-probe", "type=cephrbd", f"device-config:ceph_user={sr.pool.user}"))
    names = {pool.findtext("name") for pool in offered.iter("Pool")}
    assert sr.pool.name in names
    assert names <= set(oracle.pools())


def test_an_object_that_is_not_there_is_an_error_and_not_an_empty_omap(oracle: Oracle, sr: CephSr) -> None:
    done = oracle.run("omap", sr.pool.name, "smblock.sr.nowhere")
    assert (done.returncode, done.stdout) == (1, "")
    assert "ENOENT" in done.stderr
