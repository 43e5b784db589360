"""install.sh on a host: all of its life, from the first installation to a host that is as it was before."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.dom0_host import SM_DIR, Host
from tests.release_directory import VERSION, make_release
from tests.releases import OLDEST, unpack

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a host of its own takes chroot and mounts: root only")
OWN = ["cephrbd", "crucible"]


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_release(tmp_path_factory.mktemp("release") / "smblock")


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release with a higher version, and a file that the first one does not have."""
    directory = make_release(tmp_path_factory.mktemp("newer") / "smblock", "99.0.1")
    (directory / "drivers/smblock-new-program").write_text("#!/bin/sh\n")
    return directory


@pytest.fixture
def host(tmp_path: Path, release: Path) -> Host:
    return Host(tmp_path, "8.3", release)


def install(host: Host, *arguments: str, **environment: str) -> str:
    """Runs install.sh, which has to succeed; returns what it prints."""
    done = host.install(*arguments, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def refused(host: Host, *arguments: str) -> str:
    """Runs install.sh, which has to fail and to change nothing; returns what it prints."""
    before = host.tree()
    done = host.install(*arguments)
    assert done.returncode == 1, done.stdout + done.stderr
    assert host.tree() == before
    return done.stdout + done.stderr


def test_second_run_changes_nothing(host: Host) -> None:
    install(host)
    before = host.tree()
    assert "up to date in /opt/xensource/sm" in install(host)
    assert host.tree() == before


def test_dry_run_of_each_step_changes_nothing(host: Host) -> None:
    before = host.tree()
    assert "would install /opt/xensource/sm/CephRBDSR.py" in install(host, "--dry-run")
    assert host.tree() == before
    install(host)
    before = host.tree()
    assert "nothing to change in /opt/xensource/sm" in install(host, "--dry-run")
    assert "would remove /opt/xensource/sm/CephRBDSR.py" in install(host, "--dry-run", "--uninstall")
    assert host.tree() == before


def test_uninstall_without_installation_is_no_error(host: Host) -> None:
    before = host.tree()
    assert install(host, "--uninstall") == "smblock is not installed\n"
    assert host.tree() == before


def test_host_without_the_archive_can_remove_smblock(host: Host) -> None:
    before = host.tree()
    install(host)
    done = host.run("/opt/xensource/libexec/smblock-setup", "uninstall", "--restart")
    assert done.returncode == 0, done.stderr
    assert host.tree() == before


def test_uninstall_is_refused_while_an_sr_is_plugged(host: Host) -> None:
    install(host)
    sr = host.plug("crucible")
    printed = refused(host, "--uninstall", "--force")
    command = f"xe pbd-unplug uuid=$(xe pbd-list sr-uuid={sr} host-uuid={host.uuid} --minimal)   # my disks"
    assert command in printed


def test_uninstall_is_refused_if_xapi_does_not_reply(host: Host) -> None:
    install(host)
    (host.root / "run/fake-xapi.json").unlink()
    printed = refused(host, "--uninstall")
    assert "whether SRs are plugged is unknown: xapi does not reply" in printed
    assert "removed smblock" in install(host, "--uninstall", "--force")


def test_newer_version_replaces_and_older_is_refused_without_force(host: Host, release: Path, newer: Path) -> None:
    before = host.tree()
    install(host)
    cache = host.root / SM_DIR / "smblock/__pycache__/__init__.cpython-36.pyc"
    cache.parent.mkdir(exist_ok=True)
    cache.write_bytes(b"old")
    host.package = newer
    assert f"installed smblock 99.0.1 (before: {VERSION})" in install(host)
    assert not cache.exists()
    assert (host.root / SM_DIR / "smblock-new-program").exists()
    host.package = release
    assert f"99.0.1 is installed, and newer than {VERSION}" in refused(host)
    assert f"installed smblock {VERSION} (before: 99.0.1)" in install(host, "--force")
    assert not (host.root / SM_DIR / "smblock-new-program").exists()
    install(host, "--uninstall")
    assert host.tree() == before


def test_first_release_is_updated_and_comes_back_only_with_force(host: Host, release: Path, tmp_path: Path) -> None:
    first = unpack(OLDEST, tmp_path)
    before = host.tree()
    host.package = first
    assert f"installed smblock {OLDEST}" in install(host)
    first_tree = host.tree()
    host.package = release
    assert f"installed smblock {VERSION} (before: {OLDEST})" in install(host)
    host.package = first
    assert f"{VERSION} is installed, and newer than {OLDEST}" in refused(host)
    assert f"installed smblock {OLDEST} (before: {VERSION})" in install(host, "--force")
    back = host.tree()
    manifest = "var/lib/smblock/installed.json"
    assert {name: back[name] for name in back if name != manifest} == {
        name: first_tree[name] for name in first_tree if name != manifest
    }
    install(host, "--uninstall")
    assert host.tree() == before


def test_driver_of_another_project_is_kept_and_put_back(host: Host) -> None:
    foreign = host.root / SM_DIR / "CephRBDSR.py"
    foreign.write_text("#!/usr/bin/python3\nprint('another driver')\n")
    foreign.chmod(0o750)
    (host.root / SM_DIR / "CephRBDSR").symlink_to("CephRBDSR.py")
    before = host.tree()
    assert "/opt/xensource/sm/CephRBDSR.py is another driver's" in refused(host)
    install(host, "--replace-driver")
    assert "smblock" in foreign.read_text()
    install(host)
    install(host, "--uninstall")
    assert host.tree() == before


def test_link_to_the_driver_of_another_project_is_kept_and_put_back(host: Host) -> None:
    foreign = host.root / "opt/other/CephRBDSR"
    foreign.parent.mkdir()
    foreign.write_text("#!/usr/bin/python3\nprint('another driver')\n")
    (host.root / SM_DIR / "CephRBDSR").symlink_to("/opt/other/CephRBDSR")
    before = host.tree()
    assert "/opt/xensource/sm/CephRBDSR is another driver's" in refused(host)
    install(host, "--replace-driver")
    assert (host.root / SM_DIR / "CephRBDSR").readlink() == Path("CephRBDSR.py")
    install(host)
    install(host, "--uninstall")
    assert host.tree() == before


def test_preflight_lists_everything_that_is_missing_at_once(host: Host) -> None:
    (host.root / "etc/xapi.conf").unlink()
    shutil.rmtree(host.root / SM_DIR)
    (host.root / "opt/xensource/bin/xe").unlink()
    (host.root / "run/fake-modules").write_text("")
    printed = refused(host)
    assert "FAILED   sm           no SM in /opt/xensource/sm" in printed
    assert "FAILED   sm-plugins   no file of xapi's sets sm-plugins" in printed
    assert "FAILED   xe           no command xe" in printed
    assert "warning  kernel       no module rbd for Linux" in printed
    assert "warning  kernel       no module nbd for Linux" in printed
    assert "-> yum install sm" in printed
    assert "3 of 15 checks failed: nothing was changed" in printed


def test_client_library_that_is_too_old_is_a_warning(host: Host) -> None:
    rpm = host.root / "opt/xensource/bin/rpm"
    rpm.write_text("#!/bin/sh\n# A fake of rpm: Ceph is old, smblock is not installed.\ncase $* in\n")
    with rpm.open("a") as file:
        file.write("*librados2*) printf 12.2.13 ;;\n*) exit 1 ;;\nesac\n")
    rpm.chmod(0o755)
    printed = install(host)
    assert "warning  librados     12.2.13 is older than Nautilus (14.2): SRs of type cephrbd cannot be used" in printed
    assert "-> yum install ceph-common" in printed


def test_sm_of_an_unknown_generation_is_refused(host: Host) -> None:
    shutil.rmtree(host.root / SM_DIR)
    (host.root / SM_DIR).mkdir()
    (host.root / SM_DIR / "LVMSR").write_text("#!/usr/bin/python9\n")
    assert "an SM of a generation that is not supported" in refused(host)


def test_sm_for_python_2_is_refused(host: Host) -> None:
    (host.root / SM_DIR / "SRCommand.py").write_text("print 'XCP-ng 8.2'\n")
    assert "an SM of a generation that is not supported" in refused(host)


def test_driver_that_does_not_run_with_this_sm_is_not_installed(host: Host) -> None:
    (host.root / SM_DIR / "VDI.py").unlink()
    printed = refused(host)
    assert "cephrbd does not run: ModuleNotFoundError: No module named 'VDI'" in printed
    assert "The installation was undone" in printed


def test_python_that_is_too_old_is_named(host: Host) -> None:
    python = host.root / "opt/xensource/bin/python3"
    python.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.4.10 && exit\nexit 1\n')
    python.chmod(0o755)
    printed = refused(host)
    assert "install.sh: Python 3.6 or newer is needed, as python3: Python 3.4.10" in printed


def test_host_with_the_rpm_is_refused(host: Host) -> None:
    rpm = host.root / "opt/xensource/bin/rpm"
    rpm.write_text(f"#!/bin/sh\n# A fake of rpm: smblock is installed.\necho smblock-{VERSION}-1.x86_64\n")
    rpm.chmod(0o755)
    for arguments in ([], ["--uninstall"]):
        assert f"smblock-{VERSION}-1.x86_64 is installed as an RPM" in refused(host, *arguments)


def test_verify_names_the_hosts_that_have_not_reported_a_feature(host: Host) -> None:
    install(host, "--restart")
    drivers = host.xapi()["SM"]
    drivers["ref-cephrbd"]["host_pending_features"] = {"me": ["VDI_MIRROR/1"]}
    host.set_xapi(SM=drivers)
    printed = install(host, "--verify")
    assert "cephrbd waits for hosts: VDI_MIRROR, reported by host1 only" in printed
    assert "-> xe-toolstack-restart on each host of the pool, the master first" in printed


def test_verify_finds_a_lost_registration_and_a_lost_driver(host: Host) -> None:
    install(host, "--restart")
    (host.root / "etc/xapi.conf.d/zz-smblock.conf").unlink()
    (host.root / SM_DIR / "smblock/vdi.py").unlink()
    done = host.install("--verify")
    assert done.returncode == 1
    assert "FAILED   sm-plugins   lacks cephrbd crucible" in done.stdout
    assert "FAILED   driver       cephrbd does not run" in done.stdout
    install(host)
    assert f"xe sm-list type=cephrbd: version {VERSION}" in install(host, "--verify")


def test_units_are_read_anew_after_they_changed(host: Host) -> None:
    install(host)
    assert host.noted("systemctl") == ["daemon-reload"]
    install(host)
    assert host.noted("systemctl") == ["daemon-reload"]
    install(host, "--uninstall")
    ended = "disable --now smblock-export.service"
    assert host.noted("systemctl") == ["daemon-reload", ended, "daemon-reload"]
