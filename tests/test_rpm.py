"""The RPM on a host: installed, updated with the host's own packages, upgraded, verified and erased by rpm itself."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from lab.wheel import REPOSITORY
from tests import dom0_root
from tests.alarms import parse_alarm
from tests.dom0_host import SM_DIR, Host
from tests.release_directory import VERSION, make_release
from tests.rpm_packages import SharedPackages, build_host_package, build_rpm

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a host of its own takes chroot and mounts: root only")
OWN = ["cephrbd", "crucible"]
SETUP = "/opt/xensource/libexec/smblock-setup"
# What the fake of XAPI notes of each message.
FIELDS = ("name", "priority", "cls", "obj_uuid", "body")
RPMLINT = ["rpmlint", "--config", str(REPOSITORY / "packaging/rpm/rpmlint.toml")]


class Packages:
    """The packages that the tests install."""

    def __init__(self, directory: Path, shared: SharedPackages) -> None:
        def host_package(name: str, version: str, *arguments: object) -> Path:
            return build_host_package(directory, name, version, *arguments)  # type: ignore[arg-type]

        self.directory = directory
        self.smblock, self.newer, self.host = shared.smblock, shared.newer, shared.host
        brandnew = dom0_root.xapi_conf(f"{dom0_root.XCP_NG} brandnew")
        self.newer_xapi = host_package("xapi-core", "26.1.5", {"/etc/xapi.conf": brandnew})
        self.broken_sm = host_package("sm", "3.2.13", {f"/{SM_DIR}/VDI.py": "raise ImportError('no VDI')\n"})
        vdi = (REPOSITORY / "lab/sm/VDI.py").read_text()
        self.whole_sm = host_package("sm", "3.2.14", {f"/{SM_DIR}/VDI.py": vdi})


@pytest.fixture(scope="module")
def packages(shared_packages: SharedPackages, tmp_path_factory: pytest.TempPathFactory) -> Packages:
    return Packages(tmp_path_factory.mktemp("packages"), shared_packages)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_release(tmp_path_factory.mktemp("release") / "smblock")


def make_host(directory: Path, kind: str, packages: Packages, release: Path) -> Host:
    """A host whose rpm has the packages sm and xapi-core."""
    host = Host(directory, kind, release)
    done = host.rpm("-i", *packages.host)
    assert (done.returncode, done.stderr) == (0, "")
    return host


@pytest.fixture
def host(tmp_path: Path, packages: Packages, release: Path) -> Host:
    return make_host(tmp_path, "8.3", packages, release)


def rpm(host: Host, *argv: str | Path, **environment: str) -> str:
    """Runs rpm, which has to succeed; returns what it and the scriptlets print."""
    done = host.rpm(*argv, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_package_and_install_sh_put_the_same_files_in_place(host: Host, packages: Packages) -> None:
    before = host.tree()
    host.install()
    by_script = host.tree()
    host.install("--uninstall")
    assert host.tree() == before
    rpm(host, "-i", packages.smblock)
    by_rpm = host.tree()
    only = {name for name in by_rpm if by_rpm[name] != by_script.get(name)}
    assert {name for name in only if not name.startswith(("usr/share/doc/", "usr/share/licenses/"))} == {
        "opt/xensource/libexec/smblock_setup/packaged.txt"
    }
    assert set(by_script) - set(by_rpm) == {"var/lib/smblock", "var/lib/smblock/installed.json"}


def test_update_of_xapi_keeps_the_drivers_and_the_new_types(host: Host, packages: Packages) -> None:
    rpm(host, "-i", packages.smblock)
    assert rpm(host, "-U", packages.newer_xapi) == ""
    assert host.effective_types() == [*dom0_root.XCP_NG.split(), "brandnew", *OWN]


def test_upgrade_keeps_the_registration_and_older_is_refused(host: Host, packages: Packages) -> None:
    rpm(host, "-i", packages.smblock)
    cache = host.root / SM_DIR / "smblock/__pycache__/old.cpython-36.pyc"
    cache.parent.mkdir(exist_ok=True)
    cache.write_bytes(b"old")
    rpm(host, "-U", packages.newer)
    assert not cache.exists()
    assert host.effective_types() == [*dom0_root.XCP_NG.split(), *OWN]
    assert host.run(f"/{SM_DIR}/smblock-admin", "--version").stdout == "smblock 99.0.1\n"
    assert rpm(host, "-V", "smblock") == ""
    before = host.tree()
    done = host.rpm("-U", packages.smblock)
    assert done.returncode != 0
    newer = f"smblock-99.0.1-1.x86_64 (which is newer than smblock-{VERSION}-1.x86_64) is already installed"
    assert newer in done.stderr
    assert host.tree() == before
    rpm(host, "-U", "--oldpackage", packages.smblock)
    assert host.run(f"/{SM_DIR}/smblock-admin", "--version").stdout == f"smblock {VERSION}\n"
    assert rpm(host, "-V", "smblock") == ""
    assert host.effective_types() == [*dom0_root.XCP_NG.split(), *OWN]


def test_update_of_sm_that_breaks_the_driver_is_loud_and_alarms_once(host: Host, packages: Packages) -> None:
    rpm(host, "-i", packages.smblock)
    sr = host.plug("cephrbd")
    printed = rpm(host, "-U", packages.broken_sm)
    assert "ERROR: smblock does not work after this update: cephrbd does not run: ImportError: no VDI" in printed
    assert f"Check: {SETUP} verify" in printed
    (message,) = [json.loads(line) for line in host.noted("messages")]
    alarm = parse_alarm(dict(zip(FIELDS, message, strict=False)))
    assert (alarm.priority, alarm.cls, alarm.obj_uuid, alarm.name) == (2, "SR", sr, "smblock_driver")
    assert "host host1: cephrbd does not run: ImportError: no VDI" in alarm.rows["problem"]
    assert alarm.rows["fix"] == f"{SETUP} verify"
    rpm(host, "-U", "--replacepkgs", packages.broken_sm)
    assert len(host.noted("messages")) == 1
    assert len(host.xapi()["message"]) == 1
    assert "ERROR" not in rpm(host, "-U", packages.whole_sm)
    assert host.xapi()["message"] == {}
    rpm(host, "-U", "--oldpackage", packages.broken_sm)
    assert len(host.noted("messages")) == 2


def test_broken_driver_without_sr_alarms_on_the_host_or_prints_why_not(host: Host, packages: Packages) -> None:
    rpm(host, "-i", packages.smblock)
    (host.root / "run/fake-xapi.json").rename(host.root / "run/away")
    assert "no alarm was raised: xapi does not reply" in rpm(host, "-U", packages.broken_sm)
    (host.root / "run/away").rename(host.root / "run/fake-xapi.json")
    rpm(host, "-U", "--replacepkgs", packages.broken_sm)
    (message,) = [json.loads(line) for line in host.noted("messages")]
    assert message[2:4] == ["Host", host.uuid]


def test_erasure_is_refused_while_an_sr_is_plugged(host: Host, packages: Packages) -> None:
    rpm(host, "-i", packages.smblock)
    sr = host.plug("crucible")
    before = host.tree()
    done = host.rpm("-e", "smblock", SMBLOCK_FORCE="1")
    assert done.returncode != 0
    assert f"xe pbd-unplug uuid=$(xe pbd-list sr-uuid={sr} host-uuid={host.uuid} --minimal)" in done.stderr
    assert host.tree() == before
    assert rpm(host, "-V", "smblock") == ""
    (host.root / "run/fake-xapi.json").unlink()
    assert host.rpm("-e", "smblock").returncode != 0
    rpm(host, "-e", "smblock", SMBLOCK_FORCE="1")


def test_package_takes_over_what_install_sh_has_installed(host: Host, packages: Packages, release: Path) -> None:
    before = host.tree()
    extra = release / "drivers/smblock-only-in-this-release"
    extra.write_text("#!/bin/sh\n")
    try:
        assert host.install().returncode == 0
    finally:
        extra.unlink()
    assert (host.root / SM_DIR / extra.name).exists()
    rpm(host, "-i", packages.smblock)
    assert not (host.root / SM_DIR / extra.name).exists()
    assert not (host.root / "var/lib/smblock/installed.json").exists()
    assert "is installed as an RPM" in host.install().stdout
    rpm(host, "-e", "smblock")
    assert host.tree() == before


@pytest.mark.parametrize("with_link", [True, False])
def test_erasure_puts_the_driver_back_that_install_sh_has_replaced(
    host: Host, packages: Packages, with_link: bool
) -> None:
    foreign = host.root / SM_DIR / "CephRBDSR.py"
    foreign.write_text("#!/usr/bin/python3\nprint('another driver')\n")
    foreign.chmod(0o750)
    if with_link:
        (host.root / SM_DIR / "CephRBDSR").symlink_to("CephRBDSR.py")
    before = host.tree()
    assert host.install("--replace-driver").returncode == 0
    rpm(host, "-i", packages.smblock)
    rpm(host, "-U", packages.newer)
    assert "smblock" in foreign.read_text()
    rpm(host, "-e", "smblock")
    assert host.tree() == before


def test_package_replaces_an_installation_that_was_killed(host: Host, packages: Packages) -> None:
    stage = host.root / ".smblock-stage"
    stage.mkdir()
    added = {"target": f"/{SM_DIR}/CephRBDSR.py", "new": "/.smblock-stage/0.new", "old": None}
    journal = {"entries": [added], "directories": [], "stages": ["/.smblock-stage"]}
    (stage / "journal.json").write_text(json.dumps(journal))
    rpm(host, "-i", packages.smblock)
    assert "is installed as an RPM" in host.install().stdout
    assert rpm(host, "-V", "smblock") == ""
    assert not stage.exists()


def test_package_older_than_what_install_sh_has_installed_is_refused(
    tmp_path: Path, packages: Packages, release: Path
) -> None:
    newer = make_release(tmp_path / "newer", "99.0.2")
    host = make_host(tmp_path / "host", "8.3", packages, newer)
    assert host.install().returncode == 0
    before = host.tree()
    done = host.rpm("-i", packages.newer)
    assert done.returncode != 0
    assert "install.sh has installed smblock 99.0.2, which is newer than 99.0.1" in done.stderr
    assert host.tree() == before


def test_package_is_refused_beside_another_driver_of_the_same_name(host: Host, packages: Packages) -> None:
    (host.root / SM_DIR / "CephRBDSR.py").write_text("print('another driver')\n")
    before = host.tree()
    done = host.rpm("-i", packages.smblock)
    assert done.returncode != 0
    assert "/opt/xensource/sm/CephRBDSR.py is another driver's" in done.stderr
    assert host.tree() == before


def test_package_is_refused_by_an_old_python(host: Host, packages: Packages) -> None:
    host.set_python("#!/bin/sh\n# A fake of Python 3.4.\nexit 1\n")
    before = host.tree()
    done = host.rpm("-i", packages.smblock)
    assert done.returncode != 0
    assert "/usr/bin/python3 has to be Python 3.6 or newer" in done.stderr
    assert host.tree() == before


def test_package_needs_sm_and_xapi(tmp_path: Path, packages: Packages, release: Path) -> None:
    host = Host(tmp_path, "8.3", release)
    done = host.rpm("-i", packages.smblock)
    assert done.returncode != 0
    assert f"sm >= 3 is needed by smblock-{VERSION}-1.x86_64" in done.stderr
    assert f"xapi-core is needed by smblock-{VERSION}-1.x86_64" in done.stderr


@pytest.mark.parametrize("part", ["half", "flipped"])
def test_damaged_package_is_refused_and_changes_nothing(host: Host, packages: Packages, part: str) -> None:
    data = bytearray(packages.smblock.read_bytes())
    if part == "half":
        del data[len(data) // 2 :]
    else:
        data[-200_000] ^= 1
    damaged = packages.directory / f"{part}.rpm"
    damaged.write_bytes(data)
    before = host.tree()
    done = host.rpm("-i", damaged)
    assert done.returncode != 0
    assert re.search(r"digest|cannot be installed|not an rpm|read failed|unpacking of archive failed", done.stderr)
    assert host.tree() == before


def test_old_rpm_can_read_the_package(packages: Packages) -> None:
    asked = "%{PAYLOADCOMPRESSOR} %{PAYLOADFORMAT} %{FILEDIGESTALGO} %{SIGMD5} %{SHA1HEADER} %{SHA256HEADER}"
    done = subprocess.run(
        ["rpm", "-qp", "--queryformat", asked, packages.smblock], capture_output=True, text=True, check=True
    )
    owners = subprocess.run(
        ["rpm", "-qp", "--queryformat", "[%{FILEUSERNAME}:%{FILEGROUPNAME}\\n]", packages.smblock],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert set(owners.stdout.split()) == {"root:root"}
    compressor, form, digests, md5, sha1, sha256 = done.stdout.split()
    assert (compressor, form, digests) == ("gzip", "cpio", "8")
    assert (len(md5), len(sha1), len(sha256)) == (32, 40, 64)
    done = subprocess.run(["rpm", "-qpR", packages.smblock], capture_output=True, text=True, check=True)
    needed = {line for line in done.stdout.splitlines() if line.startswith("rpmlib")}
    assert needed == {
        "rpmlib(CompressedFileNames) <= 3.0.4-1",
        "rpmlib(FileDigests) <= 4.6.0-1",
        "rpmlib(PayloadFilesHavePrefix) <= 4.0-1",
    }
    for tag in ("RECOMMENDS", "SUGGESTS", "SUPPLEMENTS", "ENHANCES", "FILETRIGGERSCRIPTS", "TRANSFILETRIGGERSCRIPTS"):
        done = subprocess.run(
            ["rpm", "-qp", "--queryformat", f"[%{{{tag}}}]", packages.smblock],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == "", tag


def test_second_reader_finds_the_same_files_as_rpm(packages: Packages) -> None:
    listed = subprocess.run(["bsdtar", "-tf", packages.smblock], capture_output=True, text=True, check=True).stdout
    by_rpm = subprocess.run(["rpm", "-qpl", packages.smblock], capture_output=True, text=True, check=True).stdout
    ghost = {"/etc/xapi.conf.d/zz-smblock.conf"}
    assert {line.lstrip(".").rstrip("/") for line in listed.splitlines()} == set(by_rpm.splitlines()) - ghost
    core = subprocess.run(
        ["bsdtar", "-xOf", packages.smblock, f"./{SM_DIR}/smblock/_core.abi3.so"], capture_output=True, check=True
    )
    assert core.stdout.startswith(b"\x7fELF")


def test_rpmlint_finds_no_fault(packages: Packages) -> None:
    done = subprocess.run([*RPMLINT, packages.smblock], capture_output=True, text=True, check=False)
    assert "0 errors, 0 warnings" in done.stdout, done.stdout


def test_same_commit_makes_the_same_package(packages: Packages, tmp_path: Path) -> None:
    again = build_rpm(tmp_path / "again")
    assert again.read_bytes() == packages.smblock.read_bytes()
