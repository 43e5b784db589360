"""RPMs for tests: smblock's own, of a version in name only too, and small ones that stand for a host's packages."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from lab.wheel import REPOSITORY
from tests.dom0_root import xapi_conf
from tests.release_directory import make_release

_SPEC = """
%global _build_id_links none
Name: {name}
Version: {version}
Release: 1
Summary: {name} of a host, for tests of smblock's package
License: none
BuildArch: noarch
AutoReqProv: no
{lines}
%description
Contains what tests of smblock's package need of {name}.
%install
mkdir -p %{{buildroot}}
cp -a {files}/. %{{buildroot}}
%files
{listed}
"""

NEWER = "99.0.1"


class SharedPackages:
    """Packages that no test changes. All processes of one run of the tests have the same files.

    smblock   smblock's own, with the archive for install.sh beside it
    newer     a version NEWER of it
    host      those of `host_packages`
    """

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        base = factory.getbasetemp()
        if "PYTEST_XDIST_WORKER" in os.environ:
            base = base.parent
        directory = base / "packages"
        directory.mkdir(exist_ok=True)
        with (directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (directory / "built").exists():
                build_rpm(directory / "dist")
                build_other_version(directory, NEWER)
                host_packages(directory)
                (directory / "built").touch()
        (self.smblock,) = (directory / "dist").glob("*.rpm")
        (self.newer,) = directory.glob("built-smblock-*/*/*.rpm")
        self.host = sorted(path for path in directory.glob("built-*/noarch/*.rpm"))


def build_rpm(directory: Path) -> Path:
    """Builds smblock's tarball and package by scripts/build-rpm; returns the package."""
    argv = [str(REPOSITORY / "scripts/build-rpm"), str(directory)]
    subprocess.run(argv, capture_output=True, text=True, timeout=120, check=True)
    (package,) = directory.glob("*.rpm")
    return package


def build_other_version(directory: Path, version: str) -> Path:
    """Builds the package with another version in its name and in the driver's."""
    name = f"smblock-{version}"
    release = make_release(directory / name, version)
    shutil.copytree(REPOSITORY / "docs/user", release / "docs/user")
    for file in ("LICENSE", "CHANGELOG.md"):
        shutil.copy(REPOSITORY / file, release)
    with tarfile.open(directory / f"{name}.tar.gz", "w:gz") as archive:
        archive.add(release, name)
    defines = {"smblock_version": version, "smblock_date": "Sun Nov 29 2026", "_sourcedir": str(directory)}
    return _rpmbuild(directory, REPOSITORY / "packaging/rpm/smblock.spec", defines)


def build_host_package(
    directory: Path, name: str, version: str, files: dict[str, str] | None = None, lines: str = ""
) -> Path:
    """Builds a package of a host: sm or xapi-core. A file in /etc is marked %config, as xapi's is."""
    content = directory / f"{name}-{version}-files"
    for path, text in (files or {}).items():
        target = content / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    content.mkdir(parents=True, exist_ok=True)
    listed = "\n".join(f"{'%config ' if path.startswith('/etc') else ''}{path}" for path in files or {})
    spec = directory / f"{name}-{version}.spec"
    spec.write_text(_SPEC.format(name=name, version=version, lines=lines, files=content, listed=listed))
    return _rpmbuild(directory, spec, {})


def host_packages(directory: Path) -> list[Path]:
    """Builds the packages of a host that smblock's one needs: sm, xapi-core, and all others as one."""
    base = build_host_package(directory, "base", "1", {}, "Provides: /bin/sh\nProvides: /usr/bin/python3")
    sm = build_host_package(directory, "sm", "3.2.12")
    return [base, sm, build_host_package(directory, "xapi-core", "26.1.4", {"/etc/xapi.conf": xapi_conf()})]


def _rpmbuild(directory: Path, spec: Path, defines: dict[str, str]) -> Path:
    built = directory / f"built-{spec.stem}-{defines.get('smblock_version', '')}"
    defines = {"_topdir": str(built / "top"), "_rpmdir": str(built), **defines}
    argv = ["rpmbuild", "-bb", "--quiet", str(spec)]
    for key, value in defines.items():
        argv += ["--define", f"{key} {value}"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (package,) = built.glob("*/*.rpm")
    return package
