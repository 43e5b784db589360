"""RPMs for tests: smblock's own, of a version in name only too, and small ones that stand for a host's packages."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path

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
