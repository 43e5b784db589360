"""install.sh puts the drivers into xapi's directories, and never installs only a part."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lab.wheel import REPOSITORY, built_wheel, pythons

SM_DIR = "opt/xensource/sm"
LIBEXEC = "opt/xensource/libexec"
UNIT = "etc/systemd/system/smblock-crucible@.service"
DROP_IN = "etc/systemd/system/xapi.service.d/smblock.conf"
MANIFEST = "var/lib/smblock/installed.json"
SETUP = {f"{LIBEXEC}/smblock-setup"} | {
    f"{LIBEXEC}/smblock_setup/{path.name}" for path in (REPOSITORY / "packaging/smblock_setup").glob("*.py")
}
XAPI = REPOSITORY / "packaging" / "xapi"
DIRECTORIES = [REPOSITORY / "drivers", REPOSITORY / "provisioners" / "ssh"]
SOURCES = {path.name: path for directory in DIRECTORIES for path in directory.iterdir() if path.is_file()}
BUGTOOL = {"etc/xensource/bugtool/smblock.xml", "etc/xensource/bugtool/smblock/stuff.xml"}
# Files that xapi executes: its plugin and its hooks.
XAPI_PROGRAMS = [f"etc/xapi.d/{path.relative_to(XAPI)}" for path in sorted(XAPI.glob("*/*"))]
# A dom0's own Python is an old one.
OLDEST_PYTHON = next(iter(pythons().values()), Path("/usr/bin/python3"))


def install(root: Path | None, *arguments: str | Path, wheel: Path | None = None) -> subprocess.CompletedProcess[str]:
    argv: list[str | Path] = [REPOSITORY / "install.sh", "--wheel", wheel or built_wheel(), *arguments]
    if root is not None:
        argv += ["--root", root]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


def installed(root: Path) -> Path:
    done = install(root)
    assert done.returncode == 0, done.stderr
    return root / SM_DIR


def files(root: Path) -> dict[str, tuple[int, int]]:
    """Everything under `root`: path to inode and time of the last change."""
    return {
        str(path.relative_to(root)): (status.st_ino, status.st_mtime_ns)
        for path in root.rglob("*")
        for status in [path.lstat()]
        if not path.is_dir()
    }


def configure(root: Path, name: str, text: str) -> None:
    path = root / "etc" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_root_gets_the_files_exactly_as_a_dom0_has_them(tmp_path: Path) -> None:
    sm = installed(tmp_path)
    with zipfile.ZipFile(built_wheel()) as wheel:
        core = {name for name in wheel.namelist() if name.startswith("smblock/")}
    found = {str(path.relative_to(sm)) for path in sm.rglob("*") if not path.is_dir()}
    assert found == core | {"CephRBDSR", "CrucibleSR", *SOURCES}
    others = {path for path in files(tmp_path) if not path.startswith(SM_DIR)}
    commands = {"usr/bin/smblock", "usr/bin/smblock-admin"}
    programs = {*SETUP, *XAPI_PROGRAMS, *commands}
    pages = {"usr/share/man/man8/smblock.8", "usr/share/bash-completion/completions/smblock"}
    assert others == {"etc/modules-load.d/smblock.conf", UNIT, DROP_IN, MANIFEST, *BUGTOOL, *programs, *pages}
    assert {os.readlink(tmp_path / name) for name in commands} == {f"../../{SM_DIR}/smblock-admin"}
    assert (tmp_path / "etc/modules-load.d/smblock.conf").read_text() == "rbd\n"


def test_systemd_finds_the_installed_crucible_server(tmp_path: Path) -> None:
    installed(tmp_path)
    unit = (tmp_path / UNIT).read_text().splitlines()
    program = f"/{SM_DIR}/smblock-crucible-server"
    assert f"ExecStart={program} /run/smblock/crucible/%i" in unit
    assert os.access(tmp_path / program.lstrip("/"), os.X_OK)
    assert "Restart=no" in unit


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    installed(tmp_path)
    program = tmp_path / "bin/xapi-init"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    xapi = tmp_path / "etc/systemd/system/xapi.service"
    xapi.write_text("[Unit]\nDescription=xapi\n[Service]\nExecStart=/bin/xapi-init start\n")
    for name in ("basic", "network", "shutdown", "sysinit"):  # systemd's own, which every service needs
        xapi.with_name(f"{name}.target").write_text(f"[Unit]\nDescription={name}\n")
    instance = (tmp_path / UNIT).with_name("smblock-crucible@volume.service")
    shutil.copy(tmp_path / UNIT, instance)
    for unit in (xapi, instance):
        argv = ["systemd-analyze", "verify", "--man=no", f"--root={tmp_path}", f"/etc/systemd/system/{unit.name}"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        complaints = [line for line in done.stderr.splitlines() if "smblock" in line]
        assert complaints == []
    shown = subprocess.run(
        ["systemd-analyze", "cat-config", f"--root={tmp_path}", "systemd/system/xapi.service"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert f"ExecStartPre=-/{LIBEXEC}/smblock-setup register --quiet" in shown.stdout


def test_xapi_executes_the_driver_and_sm_finds_its_source(tmp_path: Path) -> None:
    sm = installed(tmp_path)
    assert os.readlink(sm / "CephRBDSR") == "CephRBDSR.py"
    assert "CephRBDSR.py" in SOURCES
    for name, source in SOURCES.items():
        assert os.access(sm / name, os.X_OK) == os.access(SOURCES[name], os.X_OK)
        assert (sm / name).read_bytes() == source.read_bytes()


def test_what_xapi_executes_finds_the_package(tmp_path: Path) -> None:
    installed(tmp_path)
    assert "etc/xapi.d/plugins/smblock" in XAPI_PROGRAMS
    for name in XAPI_PROGRAMS:
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o755
        assert f'sys.path.append("/{SM_DIR}")' in (tmp_path / name).read_text()


def test_the_core_is_importable_from_beside_the_driver(tmp_path: Path) -> None:
    sm = installed(tmp_path)
    code = "import smblock; print(smblock.__file__)"
    done = subprocess.run([OLDEST_PYTHON, "-B", "-c", code], cwd=sm, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str(sm / "smblock/__init__.py"), done.stderr


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    installed(tmp_path)
    before = files(tmp_path)
    done = install(tmp_path)
    assert (done.returncode, done.stdout) == (0, f"up to date in {tmp_path}/{SM_DIR}\n")
    assert files(tmp_path) == before


def test_a_dry_run_names_every_file_and_touches_none(tmp_path: Path) -> None:
    done = install(tmp_path, "--dry-run")
    assert done.returncode == 0
    for name in (*SOURCES, "smblock/_core.abi3.so", "smblock/__init__.py"):
        assert f"would install {tmp_path}/{SM_DIR}/{name}\n" in done.stdout
    assert f"would link {tmp_path}/{SM_DIR}/CephRBDSR -> CephRBDSR.py\n" in done.stdout
    assert files(tmp_path) == {}


def test_a_file_in_use_is_replaced_and_never_rewritten(tmp_path: Path) -> None:
    sm = installed(tmp_path)
    driver, core = sm / "CephRBDSR.py", sm / "smblock/_core.abi3.so"
    driver.write_text("an older driver\n")
    core.write_bytes(b"an older core")
    with driver.open() as executing, core.open("rb") as mapped:
        done = install(tmp_path)
        assert done.returncode == 0, done.stderr
        assert (executing.read(), mapped.read()) == ("an older driver\n", b"an older core")
    assert driver.read_bytes() == (REPOSITORY / "drivers" / "CephRBDSR.py").read_bytes()
    assert not [path for path in files(tmp_path) if "/.smblock." in path]


def test_a_plain_file_where_the_link_belongs_is_replaced_by_the_link(tmp_path: Path) -> None:
    sm = installed(tmp_path)
    (sm / "CephRBDSR").unlink()
    shutil.copy(sm / "CephRBDSR.py", sm / "CephRBDSR")
    assert install(tmp_path).returncode == 0
    assert os.readlink(sm / "CephRBDSR") == "CephRBDSR.py"


def test_the_drivers_are_linked_where_xapi_looks_for_them(tmp_path: Path) -> None:
    (tmp_path / "usr/libexec/sm/drivers").mkdir(parents=True)
    configure(tmp_path, "xapi.conf", "sm-plugins = ext\nsm-dir=/usr/libexec/sm/drivers\n")
    installed(tmp_path)
    assert os.readlink(tmp_path / "usr/libexec/sm/drivers/CephRBDSR") == f"/{SM_DIR}/CephRBDSR.py"


def test_a_relative_sm_dir_is_refused(tmp_path: Path) -> None:
    configure(tmp_path, "xapi.conf", "sm-plugins = ext\nsm-dir = drivers\n")
    done = install(tmp_path)
    assert done.returncode == 1
    assert "not an absolute path" in done.stdout
    assert set(files(tmp_path)) == {"etc/xapi.conf"}


def test_a_file_that_is_no_wheel_is_refused_before_anything_changes(tmp_path: Path) -> None:
    wheel = tmp_path / "smblock.whl"
    wheel.write_bytes(b"no archive")
    done = install(tmp_path / "root", wheel=wheel)
    assert (done.returncode, done.stderr) == (1, f"install.sh: not a wheel: {wheel}\n")
    assert not (tmp_path / "root").exists()


def test_a_core_that_does_not_load_is_refused_before_anything_changes(tmp_path: Path) -> None:
    sm = installed(tmp_path / "root")
    before = files(tmp_path / "root")
    wheel = tmp_path / "smblock.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(sm / "smblock/__init__.py", "smblock/__init__.py")
        archive.writestr("smblock/_core.abi3.so", "no shared object")
    done = install(tmp_path / "root", wheel=wheel)
    assert done.returncode == 1
    assert f"the core in {wheel} does not load here: ImportError: " in done.stdout
    assert files(tmp_path / "root") == before


@pytest.mark.parametrize("arguments", [["--rot"], ["--root"], ["--wheel"], ["--root", ""]])
def test_a_mistyped_command_changes_nothing(arguments: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [REPOSITORY / "install.sh", "--dry-run", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "install.sh: error: " in done.stderr
    assert not done.stdout


def test_the_bug_report_runs_programs_that_exist(tmp_path: Path) -> None:
    installed(tmp_path)
    commands = ElementTree.parse(tmp_path / "etc/xensource/bugtool/smblock/stuff.xml").getroot()
    assert ElementTree.parse(tmp_path / "etc/xensource/bugtool/smblock.xml").getroot().tag == "capability"
    programs = {str(element.text).split()[0] for element in commands.iter("command")}
    assert f"/{LIBEXEC}/smblock-setup" in programs
    assert all((tmp_path / name.lstrip("/")).exists() or Path(name).exists() for name in programs)


def test_the_pages_name_each_option_and_no_other() -> None:
    shown = subprocess.run([REPOSITORY / "install.sh", "--help"], capture_output=True, text=True, check=True).stdout
    options = set(re.findall(r"(?<!\S)--[a-z-]+", shown)) - {"--help"}
    text = (REPOSITORY / "docs/user/install.md").read_text()
    table = text[text.index("| option | |") :].partition("\n\n")[0]
    names = {name for row in table.splitlines() for name in re.findall(r"`(--[a-z-]+)", row.split("|")[1])}
    assert names == options
    pages = [REPOSITORY / "README.md", *(REPOSITORY / "docs/user").glob("*.md")]
    typed = {line for page in pages for line in re.findall(r"\./install\.sh ([^`#\n]*)", page.read_text())}
    assert len(typed) > 3
    assert {word for line in typed for word in line.split() if word.startswith("--")} <= options


@pytest.mark.skipif(Path("/", SM_DIR).exists(), reason="this machine has an SM")
def test_a_host_without_sm_is_refused_with_each_missing_part() -> None:
    done = install(None, "--dry-run")
    assert done.returncode == 1
    assert "no SM in /opt/xensource/sm: is this an XCP-ng host?" in done.stdout
    assert "no command xe" in done.stdout
    assert "no file of xapi's sets sm-plugins" in done.stdout
    assert "checks failed: nothing was changed" in done.stderr
