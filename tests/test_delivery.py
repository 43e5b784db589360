"""From a download to a host and back, by the RPM and by install.sh, on each kind of host."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests import dom0_root
from tests.dom0_host import SM_DIR, Host
from tests.release_directory import VERSION, make_release
from tests.rpm_packages import NEWER, SharedPackages, build_host_package

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a host of its own takes chroot and mounts: root only")
OWN = ["cephrbd", "crucible"]
SETUP = "/opt/xensource/libexec/smblock-setup"


class Files:
    """What the two ways install."""

    def __init__(self, directory: Path, shared: SharedPackages) -> None:
        self.release = make_release(directory / "release")
        self.newer_release = make_release(directory / "newer", NEWER)
        self.package, self.newer_package, self.of_host = shared.smblock, shared.newer, shared.host
        self.xapi_conf = dom0_root.xapi_conf(f"{dom0_root.XCP_NG} brandnew")
        self.newer_xapi = build_host_package(directory, "xapi-core", "26.1.5", {"/etc/xapi.conf": self.xapi_conf})


@pytest.fixture(scope="module")
def files(shared_packages: SharedPackages, tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("files"), shared_packages)


@pytest.fixture(params=["rpm", "install.sh"])
def by_rpm(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "rpm")


@pytest.mark.parametrize("kind", dom0_root.KINDS)
def test_host_gets_the_driver_keeps_it_and_is_as_before(tmp_path: Path, files: Files, kind: str, by_rpm: bool) -> None:
    host = Host(tmp_path, kind, files.release)
    assert host.rpm("-i", *files.of_host).returncode == 0
    before = host.tree()

    # Installed. xapi is not restarted.
    done = host.rpm("-i", files.package) if by_rpm else host.install()
    assert done.returncode == 0, done.stderr
    assert "run xe-toolstack-restart" in done.stdout
    assert host.effective_types() == [*dom0_root.types_of(kind), *OWN]
    assert host.noted("restarts") == []

    # In use: xapi has both drivers, and Python has compiled modules.
    host.run("/opt/xensource/bin/xe-toolstack-restart")
    assert {record["type"] for record in host.xapi()["SM"].values()} == set(OWN)
    verified = host.run(SETUP, "verify")
    assert verified.returncode == 0, verified.stdout
    assert f"xe sm-list type=cephrbd: version {VERSION}" in verified.stdout
    host.run("/usr/bin/python3", "-c", "import sys; sys.path.append('/opt/xensource/sm'); import smblock, CephRBDSR")
    assert any(re.search(r"smblock/__pycache__/__init__.*\.pyc$", name) for name in host.tree())
    notes = host.root / "var/lib/smblock/notes"
    notes.mkdir(parents=True)
    (notes / "declared-dead").write_text("{}")

    # An update of xapi brings a new type.
    if by_rpm:
        assert host.rpm("-U", files.newer_xapi).returncode == 0
    else:
        (host.root / "etc/xapi.conf").write_text(files.xapi_conf)
        host.run("/opt/xensource/bin/xe-toolstack-restart")
    before["etc/xapi.conf"] = host.tree()["etc/xapi.conf"]
    # LINSTOR's own file has a list without that type, and xapi reads it later.
    known = dom0_root.types_of(kind) if "linstor" in kind else [*dom0_root.types_of(kind), "brandnew"]
    assert host.effective_types() == [*known, *OWN]

    # A newer version, and back: refused.
    host.package = files.newer_release
    done = host.rpm("-U", files.newer_package) if by_rpm else host.install("--restart")
    assert done.returncode == 0, done.stdout + done.stderr
    assert host.run(f"/{SM_DIR}/smblock-admin", "--version").stdout == f"smblock {NEWER}\n"
    assert host.effective_types() == [*known, *OWN]
    host.package = files.release
    newer = host.tree()
    done = host.rpm("-U", files.package) if by_rpm else host.install()
    assert done.returncode != 0
    assert "newer than" in done.stdout + done.stderr
    assert host.tree() == newer
    if by_rpm:
        assert host.rpm("-V", "smblock").returncode == 0

    # Removed: refused while an SR is plugged.
    host.plug("cephrbd")
    remove = (lambda: host.rpm("-e", "smblock")) if by_rpm else (lambda: host.install("--uninstall"))
    done = remove()
    assert done.returncode != 0
    assert "xe pbd-unplug uuid=" in done.stderr
    assert host.tree() == newer
    host.plug("cephrbd", plugged=False)
    done = remove()
    assert done.returncode == 0, done.stdout + done.stderr
    assert {name: content for name, content in host.tree().items() if not is_cache_of_sm(name)} == before
    assert host.effective_types() == known
    host.run("/opt/xensource/bin/xe-toolstack-restart")
    assert host.xapi()["SM"] == {}


def is_cache_of_sm(name: str) -> bool:
    """Whether a file was compiled of SM's own modules: they were imported, too."""
    return "__pycache__" in name and "smblock" not in name and "CephRBDSR" not in name and "CrucibleSR" not in name
