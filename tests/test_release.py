"""`make release` builds files that an administrator can serve and verify."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lab.wheel import REPOSITORY, built_wheel
from tests.dom0_host import Host
from tests.release_directory import VERSION
from tests.rpm_packages import SharedPackages

COMMON = "{http://linux.duke.edu/metadata/common}"
REPO = "{http://linux.duke.edu/metadata/repo}"


def build(directory: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    argv = [str(REPOSITORY / "scripts/build-release"), str(directory)]
    return subprocess.run(
        argv, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("release") / "dist"
    done = build(directory, SMBLOCK_SIGN_KEY="")
    assert done.returncode == 0, done.stderr
    return directory


@pytest.fixture(scope="module")
def gpg_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home of gpg with two throwaway keys: an RSA key and an Ed25519 key."""
    # The agent's socket is in it: its path has to be short.
    home = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    for name, algorithm in (("release@example.org", "rsa2048"), ("new@example.org", "ed25519")):
        argv = ["gpg", "--batch", "--quiet", "--passphrase", "", "--quick-gen-key", name, algorithm, "sign", "never"]
        subprocess.run(argv, env={**os.environ, "GNUPGHOME": str(home)}, check=True, timeout=60)
    yield home
    subprocess.run(["gpgconf", "--kill", "all"], env={**os.environ, "GNUPGHOME": str(home)}, check=True, timeout=60)
    subprocess.run(["rm", "-rf", str(home)], check=True)


def names(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def test_release_has_each_kind_of_file_and_its_checksum(release: Path) -> None:
    found = names(release)
    outside = {name for name in found if not name.startswith("repo/repodata/")}
    package = f"smblock-{VERSION}-1.x86_64.rpm"
    assert outside == {package, f"repo/{package}", f"smblock-{VERSION}.tar.gz", built_wheel().name, "SHA256SUMS"}
    sums = dict(line.split("  ")[::-1] for line in (release / "SHA256SUMS").read_text().splitlines())
    assert set(sums) == found - {"SHA256SUMS"}
    for name, digest in sums.items():
        assert hashlib.sha256((release / name).read_bytes()).hexdigest() == digest


def test_repository_names_the_package_in_files_that_yum_3_reads(release: Path) -> None:
    repomd = ElementTree.parse(release / "repo/repodata/repomd.xml").getroot()
    locations = [element.attrib["href"] for element in repomd.iter(f"{REPO}location")]
    assert {name for name in names(release) if "/repodata/" in name} == {
        "repo/repodata/repomd.xml", *(f"repo/{name}" for name in locations)
    }  # fmt: skip
    assert all(name.endswith(".gz") for name in locations)
    assert {element.attrib["type"] for element in repomd.iter(f"{REPO}checksum")} == {"sha256"}
    (primary,) = (release / "repo/repodata").glob("*-primary.xml.gz")
    package = ElementTree.fromstring(gzip.decompress(primary.read_bytes())).find(f"{COMMON}package")
    assert package is not None
    location, checksum = package.find(f"{COMMON}location"), package.find(f"{COMMON}checksum")
    assert location is not None and checksum is not None
    data = (release / "repo" / location.attrib["href"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == checksum.text


def test_archive_installs_and_removes_itself(release: Path, tmp_path: Path) -> None:
    with tarfile.open(release / f"smblock-{VERSION}.tar.gz") as archive:
        assert {member.name.partition("/")[0] for member in archive} == {f"smblock-{VERSION}"}
        assert {(member.uid, member.gid) for member in archive} == {(0, 0)}
        archive.extractall(tmp_path)
    for arguments in ([], ["--uninstall"]):
        argv = [str(tmp_path / f"smblock-{VERSION}/install.sh"), "--root", str(tmp_path / "root"), *arguments]
        subprocess.run(argv, capture_output=True, check=True, timeout=60)
        assert (tmp_path / "root/opt/xensource/sm/CephRBDSR").exists() == (not arguments)


@pytest.fixture(scope="module")
def signed(gpg_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("signed") / "dist"
    done = build(directory, GNUPGHOME=str(gpg_home), SMBLOCK_SIGN_KEY="release@example.org")
    assert done.returncode == 0, done.stderr
    return directory


def test_signed_release_is_verified_by_rpm_and_gpg(signed: Path, gpg_home: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "GNUPGHOME": str(gpg_home)}
    for name in ("SHA256SUMS", "repo/repodata/repomd.xml"):
        argv = ["gpg", "--batch", "--verify", str(signed / f"{name}.asc"), str(signed / name)]
        verified = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
        assert "Good signature" in verified.stderr
    package = signed / f"repo/smblock-{VERSION}-1.x86_64.rpm"
    assert check_package(package, tmp_path / "without")[1] is False
    with_key = check_package(package, tmp_path / "with", signed / "smblock.asc")
    assert with_key == (f"{package}: digests signatures OK\n", True)
    argv = ["rpm", "-qp", "--queryformat", "%{RSAHEADER:pgpsig}", str(package)]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout.startswith("RSA/SHA256, ")


def check_package(package: Path, database: Path, key: Path | None = None) -> tuple[str, bool]:
    """What rpm prints about the package's signature, and whether it is good, with that key alone."""
    if key:
        subprocess.run(["rpmkeys", "--dbpath", str(database), "--import", str(key)], capture_output=True, check=True)
    done = subprocess.run(
        ["rpmkeys", "--dbpath", str(database), "--checksig", str(package)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout, done.returncode == 0


def yum_file(served: Path) -> str:
    """The file that the page for administrators shows, for a repository in a directory of this machine."""
    page = (REPOSITORY / "docs/user/install.md").read_text()
    (text,) = re.findall(r"```ini\n(\[smblock\]\n.*?)```", page, re.DOTALL)
    assert "https://SERVER/smblock/" in text
    return str(text).replace("https://SERVER/smblock", f"file://{served}")


@pytest.mark.skipif(os.geteuid() != 0, reason="a host of its own takes chroot and mounts: root only")
@pytest.mark.parametrize("tampered", [False, True], ids=["as built", "tampered"])
def test_dnf_installs_from_the_repository_of_the_page(
    signed: Path, shared_packages: SharedPackages, tmp_path: Path, tampered: bool
) -> None:
    served = shutil.copytree(signed, tmp_path / "served")
    if tampered:
        repomd = served / "repo/repodata/repomd.xml"
        repomd.write_text(repomd.read_text().replace("<revision>", "<revision>1"))
    host = Host(tmp_path / "host", "9", signed)
    assert host.rpm("-i", *shared_packages.host).returncode == 0
    (tmp_path / "home").mkdir()
    (tmp_path / "home/.rpmmacros").write_text("%_dbpath /var/lib/rpm\n")
    (tmp_path / "repos").mkdir()
    (tmp_path / "repos/smblock.repo").write_text(yum_file(served))
    settings = {"reposdir": tmp_path / "repos", "cachedir": tmp_path / "cache", "module_platform_id": "platform:el10"}
    options = [f"--setopt={key}={value}" for key, value in settings.items()]
    done = host.outside(
        "dnf", "--assumeyes", f"--installroot={host.root}", "--releasever=9", *options,
        "install", "--enablerepo=smblock", "smblock", HOME=str(tmp_path / "home"),
    )  # fmt: skip
    if tampered:
        assert done.returncode != 0
        assert "verification error: Bad GPG signature" in done.stderr
        assert "cephrbd" not in host.effective_types()
    else:
        assert done.returncode == 0, done.stdout + done.stderr
        assert host.effective_types()[-2:] == ["cephrbd", "crucible"]


@pytest.mark.parametrize(
    ("key", "complaint"),
    [
        ("new@example.org", "new@example.org is no RSA key: rpm 4.11 of XCP-ng 8.3 verifies RSA signatures only"),
        ("missing@example.org", "gpg has no secret key missing@example.org"),
    ],
)
def test_unusable_key_is_refused_before_anything_is_built(
    gpg_home: Path, tmp_path: Path, key: str, complaint: str
) -> None:
    done = build(tmp_path / "dist", GNUPGHOME=str(gpg_home), SMBLOCK_SIGN_KEY=key)
    assert done.returncode == 1
    assert complaint in done.stderr
    assert not (tmp_path / "dist").exists()


def test_package_and_pages_have_the_workspace_version(release: Path) -> None:
    assert list(release.glob(f"smblock-{VERSION}-1.x86_64.rpm"))
    pages = [REPOSITORY / "README.md", *(REPOSITORY / "docs/user").glob("*.md")]
    named = {
        found
        for page in pages
        for found in re.findall(r"smblock-(\d[\w.]*?)(?:-1\.x86_64\.rpm|\.tar\.gz)", page.read_text())
    }
    assert named == {VERSION}
