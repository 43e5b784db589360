"""smblock-setup adds smblock's SR types to xapi's list, and takes no other type from it."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from smblock_setup import registration
from smblock_setup import xapi_conf as xapi_files

from lab.wheel import pythons
from tests import dom0_root
from tests.dom0_root import LINSTOR_FILE, SETUP, UPSTREAM, XCP_NG, effective_types, make_configuration, tree, xapi_conf

OWN = ["cephrbd", "crucible"]
FILE = "etc/xapi.conf.d/zz-smblock.conf"
CASES = json.loads((Path(__file__).with_name("fixtures") / "xapi-conf.json").read_text())["cases"]
OLDEST_PYTHON = str(next(iter(pythons().values()), "/usr/bin/python3"))


def setup(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [OLDEST_PYTHON, str(SETUP), *arguments, "--root", str(root)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


def register(root: Path, *arguments: str) -> str:
    """Registers, and returns what is printed."""
    done = setup(root, "register", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(params=dom0_root.KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_configuration(tmp_path, "8.3")


def test_registration_keeps_every_type_of_the_host(tmp_path: Path, kind: str) -> None:
    root = make_configuration(tmp_path, kind)
    assert effective_types(root) == dom0_root.types_of(kind)
    register(root)
    assert effective_types(root) == [*dom0_root.types_of(kind), *OWN]


def test_registration_of_upstreams_list_keeps_every_type(root: Path) -> None:
    (root / "etc/xapi.conf").write_text(xapi_conf(UPSTREAM))
    register(root)
    assert effective_types(root) == [*UPSTREAM.split(), *OWN]


def test_registration_writes_its_own_file_only(tmp_path: Path, kind: str) -> None:
    root = make_configuration(tmp_path, kind)
    before = tree(root)
    register(root)
    after = tree(root)
    assert set(after) - set(before) == {FILE}
    assert {name: after[name] for name in before} == before
    assert (root / FILE).stat().st_mode & 0o777 == 0o644


def test_unregistration_leaves_the_tree_as_it_was(tmp_path: Path, kind: str) -> None:
    root = make_configuration(tmp_path, kind)
    before = tree(root)
    register(root)
    assert setup(root, "unregister").stdout == "unregistered\n"
    assert tree(root) == before
    assert setup(root, "unregister").stdout == "not registered\n"


def test_second_registration_changes_no_file(root: Path) -> None:
    assert register(root).startswith("registered cephrbd and crucible: sm-plugins=ext nfs ")
    before = (root / FILE).stat()
    assert register(root).startswith("already registered ")
    after = (root / FILE).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert register(root, "--quiet") == ""


def test_type_that_an_update_adds_is_in_the_list(root: Path) -> None:
    register(root)
    (root / "etc/xapi.conf").write_text(xapi_conf(f"{XCP_NG} brandnew"))
    register(root)
    assert effective_types(root) == [*XCP_NG.split(), "brandnew", *OWN]


def test_type_that_another_package_adds_is_in_the_list(root: Path) -> None:
    register(root)
    (root / "etc/xapi.conf.d" / LINSTOR_FILE).write_text("sm-plugins=ext nfs linstor\n")
    printed = register(root)
    assert effective_types(root) == ["ext", "nfs", "linstor", *OWN]
    assert "99-enable-sm-driver-linstor.conf, line 1: the list hides types that /etc/xapi.conf has: cephfs " in printed


def write_case(root: Path, case: dict[str, Any]) -> None:
    (root / "etc/xapi.conf.d").mkdir(parents=True)
    for name, text in case["files"].items():
        (root / name.lstrip("/")).write_bytes(text.encode("latin-1"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["name"]))
def test_configuration_is_read_as_xapi_reads_it(tmp_path: Path, case: dict[str, Any]) -> None:
    write_case(tmp_path, case)
    found = xapi_files.option(str(tmp_path), "sm-plugins")
    listed = None
    if found is not None:
        types = [name.decode("latin-1") for name in xapi_files.fields(found.value)]
        listed = {"types": types, "file": found.file, "line": found.line}
    assert listed == case["list"]
    assert xapi_files.sm_dir(str(tmp_path)) == case["sm_dir"]


def test_registration_keeps_the_items_of_every_list(tmp_path: Path) -> None:
    cases = [case for case in CASES if case["list"] and "sm-dir" not in case["name"]]
    for number, case in enumerate(cases):
        root = tmp_path / str(number)
        write_case(root, case)
        with_own = [name for name in OWN if name not in [kept.lower() for kept in case["list"]["types"]]]
        if case["list"]["file"] == f"/{FILE}":
            continue  # the registration's own file is none of its sources
        registration.register(str(root))
        expected = case["list"]["types"] + ([] if "*" in case["list"]["types"] else with_own)
        found = xapi_files.option(str(root), "sm-plugins")
        assert found is not None
        assert [name.decode("latin-1") for name in xapi_files.fields(found.value)] == expected, case["name"]


@pytest.mark.parametrize("text", [b"sm-plugins='ext nfs\n", b'sm-plugins="ext nfs"\r\n', b"sm-plugins=\"ext nfs'\n"])
def test_broken_quotes_are_kept_and_reported_with_file_and_line(root: Path, text: bytes) -> None:
    (root / "etc/xapi.conf").write_bytes(b"# first\n" + text)
    before = effective_types(root)
    assert before[0].startswith(("'", '"'))
    assert "/etc/xapi.conf, line 2: xapi takes a quote for a part of the name" in register(root)
    assert effective_types(root) == [*before, *OWN]


def test_star_allows_every_type_and_stays(root: Path) -> None:
    (root / "etc/xapi.conf").write_text("sm-plugins=*\n")
    register(root)
    assert effective_types(root) == ["*"]
    (root / "etc/xapi.conf").write_text(xapi_conf())
    register(root)
    assert effective_types(root) == [*XCP_NG.split(), *OWN]


def test_empty_list_gets_smblocks_types_and_a_warning(root: Path) -> None:
    (root / "etc/xapi.conf").write_text("sm-plugins=\n")
    assert "line 1: the list is empty: xapi runs no other driver" in register(root)
    assert effective_types(root) == OWN


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_text("")])
def test_without_any_list_the_last_registration_stays(root: Path, damage: object) -> None:
    register(root)
    damage(root / "etc/xapi.conf")  # type: ignore[operator]
    before = tree(root)
    done = setup(root, "register", "--quiet")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no file of xapi's sets sm-plugins" in done.stderr
    assert "yum reinstall xapi-core" in done.stderr
    assert tree(root) == before


def test_file_that_xapi_reads_later_is_an_error_with_the_command(root: Path) -> None:
    later = root / "etc/xapi.conf.d/zzz-local.conf"
    later.write_text("sm-plugins=ext nfs\n")
    done = setup(root, "register")
    assert done.returncode == 1
    assert "Rename it: mv /etc/xapi.conf.d/zzz-local.conf /etc/xapi.conf.d/90-local.conf" in done.stderr
    later.rename(later.with_name("90-local.conf"))
    register(root)
    assert effective_types(root) == ["ext", "nfs", *OWN]
    later.write_text("sm-plugins=ext nfs cephrbd crucible\n")
    register(root)


def test_many_registrations_at_once_leave_one_whole_file(root: Path) -> None:
    printed: list[str] = []
    threads = [threading.Thread(target=lambda: printed.append(register(root))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert effective_types(root) == [*XCP_NG.split(), *OWN]
    assert sum(text.startswith("registered") for text in printed) == 1
    assert sorted(path.name for path in (root / "etc").iterdir()) == ["xapi.conf", "xapi.conf.d"]


def test_registration_waits_for_another_and_gives_up_in_time(root: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(SETUP.parent)!r})\n"
        "from smblock_setup import SetupError, registration\n"
        "registration.LOCK_SECONDS = 0.2\n"
        f"try:\n    registration.register({str(root)!r})\n"
        "except SetupError as error:\n    print(error)\n"
    )
    directory = os.open(root / "etc/xapi.conf.d", os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        argv = [OLDEST_PYTHON, "-B", "-c", code]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True)
    finally:
        os.close(directory)
    assert "another process has held the lock of" in done.stdout
    assert not (root / FILE).exists()


def test_leftover_of_a_killed_registration_is_removed(root: Path) -> None:
    leftover = root / "etc/.smblock-abcdefgh"
    leftover.write_text("half")
    register(root)
    assert not leftover.exists()


def test_failed_write_leaves_the_old_file_and_no_other(root: Path) -> None:
    register(root)
    (root / "etc/xapi.conf").write_text(xapi_conf("ext " + "x" * 5000))
    before = tree(root)
    # No file may grow over 4 KiB: the write fails in the middle.
    argv = ["bash", "-c", 'ulimit -f 4; trap "" XFSZ; exec "$@"', "bash", OLDEST_PYTHON, str(SETUP), "register"]
    done = subprocess.run([*argv, "--root", str(root)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "zz-smblock.conf: EFBIG (27): File too large" in done.stderr
    assert tree(root) == before


def test_drivers_are_linked_in_another_sm_dir(root: Path) -> None:
    directory = root / "usr/libexec/sm/drivers"
    directory.mkdir(parents=True)
    fragment = root / "etc/xapi.conf.d/50-sm.conf"
    fragment.write_text("sm-dir = /usr/libexec/sm/drivers\n")
    before = tree(root)
    register(root)
    assert os.readlink(directory / "CephRBDSR") == "/opt/xensource/sm/CephRBDSR.py"
    assert os.readlink(directory / "CrucibleSR") == "/opt/xensource/sm/CrucibleSR.py"
    assert register(root).startswith("already registered")
    setup(root, "unregister")
    assert tree(root) == before
    register(root)
    fragment.unlink()
    register(root)
    assert list(directory.iterdir()) == []


def test_foreign_driver_in_the_sm_dir_is_refused(root: Path) -> None:
    directory = root / "sm"
    directory.mkdir()
    (root / "etc/xapi.conf.d/50-sm.conf").write_text("sm-dir=/sm\n")
    (directory / "CephRBDSR").write_text("another driver\n")
    before = tree(root)
    done = setup(root, "register")
    assert (done.returncode, done.stdout) == (1, "")
    assert "/sm/CephRBDSR is not smblock's" in done.stderr
    assert tree(root) == before


def test_relative_sm_dir_is_an_error_with_file_and_line(root: Path) -> None:
    (root / "etc/xapi.conf.d/50-sm.conf").write_text("\nsm-dir = drivers\n")
    done = setup(root, "register")
    assert done.returncode == 1
    assert "not an absolute path in xapi's configuration: drivers (/etc/xapi.conf.d/50-sm.conf, line 2)" in done.stderr
