"""Two hosts activate a disk at once: the error of the second names the host that has the disk."""

from __future__ import annotations

import pytest

from lab.disk import Disk
from lab.tree import SITE_PACKAGES, SM_DIR

# An activation. `lose` simulates SM: the other host is faster.
ACTIVATE = """
import sys
from types import SimpleNamespace
sys.path[:0] = [{sm!r}, {site!r}]
from smblock.activation import Activation
from smblock.core import core_of
from smblock.sm import XenAPI, util
session = util.get_localAPI_session()
vdi = session.xenapi.VDI.get_by_uuid({vdi!r})
sr = SimpleNamespace(
    uuid={sr!r}, session=session, core=core_of(session, {sr!r}),
    host_ref=util.get_this_host_ref(session), srcmd=SimpleNamespace(params={{"vdi_ref": vdi}}),
)
def lose():
    tag = "host_" + session.xenapi.host.get_by_uuid({other!r})
    session.xenapi.VDI.add_to_sm_config(vdi, tag, "RW")
    raise {error}
try:
    Activation(sr, {vdi!r}, True).run(lose)
except Exception as error:
    print(error)
    sys.stdout.flush()
"""


@pytest.mark.parametrize(
    "error", ['util.SMException("not detached cleanly")', 'XenAPI.Failure(["MAP_DUPLICATE_KEY", "activating"])']
)
def test_the_loser_of_a_race_names_the_disk_the_host_and_the_remedy(disk: Disk, error: str) -> None:
    one, two = disk.sr.lab.hosts[:2]
    link = f"/run/blktap-control/nbd/{disk.sr.uuid}/{disk.uuid}"
    two.exec(["mkdir", "-p", link.rpartition("/")[0]]).check()
    two.exec(["ln", "-s", "/run/blktap-control/nbd1.0", link]).check()
    names = {"sr": disk.sr.uuid, "vdi": disk.uuid, "other": two.uuid, "error": error}
    script = ACTIVATE.format(sm=SM_DIR, site=SITE_PACKAGES, **names)
    said = one.exec(["python3", "-c", script], timeout=60).stdout.decode()
    two.exec(["rm", link]).check()
    for part in (disk.uuid, two.uuid, "detach it there"):
        assert part in said, said
