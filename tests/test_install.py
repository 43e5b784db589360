"""install.sh puts the drivers into xapi's directories, and never installs only a part."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import zipfile
from pathlib import Path

import pytest

from lab.wheel import REPOSITORY, built_wheel, pythons

SM_DIR = "opt/xensource/sm"
UNIT = "etc/systemd/system/smblock-crucible@.service"
XAPI = REPOSITORY / "xapi"
DIRECTORIES = [REPOSITORY / "drivers", REPOSITORY / "provisioners" / "ssh"]
SOURCES = {path.name: path for directory in DIRECTORIES for path in directory.iterdir() if path.is_file()}
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
    assert others == {"etc/modules-load.d/smblock.conf", UNIT, *XAPI_PROGRAMS}
    assert (tmp_path / "etc/modules-load.d/smblock.conf").read_text() == "rbd\n"


def test_systemd_finds_the_installed_crucible_server(tmp_path: Path) -> None:
    configure(tmp_path, "xapi.conf", "sm-dir=/usr/libexec/sm/drivers\n")
    assert install(tmp_path).returncode == 0
    unit = (tmp_path / UNIT).read_text().splitlines()
    program = "/usr/libexec/sm/drivers/smblock-crucible-server"
    assert f"ExecStart={program} /run/smblock/crucible/%i" in unit
    assert os.access(tmp_path / program.lstrip("/"), os.X_OK)
    assert "Restart=no" in unit


def test_xapi_executes_the_driver_and_sm_finds_its_source(tmp_path: Path) -> None:
    sm = installed(tmp_path)
    assert os.readlink(sm / "CephRBDSR") == "CephRBDSR.py"
    assert "CephRBDSR.py" in SOURCES
    for name, source in SOURCES.items():
        assert stat.S_IMODE((sm / name).stat().st_mode) == 0o755
        assert (sm / name).read_bytes() == source.read_bytes()


@pytest.mark.parametrize("sm_dir", ["/opt/xensource/sm", "/usr/libexec/sm/drivers"])
def test_what_xapi_executes_finds_the_package_in_the_sm_dir(tmp_path: Path, sm_dir: str) -> None:
    configure(tmp_path, "xapi.conf", f"sm-dir={sm_dir}\n")
    assert install(tmp_path).returncode == 0
    assert "etc/xapi.d/plugins/smblock" in XAPI_PROGRAMS
    for name in XAPI_PROGRAMS:
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o755
        text = (tmp_path / name).read_text()
        assert f'sys.path.append("{sm_dir}")' in text
        assert "@SM_DIR@" not in text


def test_the_core_is_importable_from_beside_the_driver(tmp_path: Path) -> None:
    sm = installed(tmp_path)
    code = "import smblock; print(smblock.__file__)"
    done = subprocess.run([OLDEST_PYTHON, "-B", "-c", code], cwd=sm, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str(sm / "smblock/__init__.py"), done.stderr


def test_a_second_run_changes_nothing_and_prints_that(tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("xapi.conf", "sm-dir=/usr/libexec/sm/drivers"),
        ("xapi.conf", "  sm-dir  =  /usr/libexec/sm/drivers/   # XCP-ng 9"),
        ("xapi.conf.d/50-sm.conf", 'sm-dir = "/usr/libexec/sm/drivers"'),
    ],
)
def test_the_drivers_go_to_the_sm_dir_that_xapi_is_configured_for(tmp_path: Path, name: str, line: str) -> None:
    configure(tmp_path, name, f"# sm-dir = /commented/out\nsm-plugins = ext nfs\n{line}\n")
    assert install(tmp_path).returncode == 0
    assert (tmp_path / "usr/libexec/sm/drivers/CephRBDSR").resolve().is_file()
    assert not (tmp_path / SM_DIR).exists()


def test_the_last_of_xapis_files_decides_as_it_does_for_xapi(tmp_path: Path) -> None:
    configure(tmp_path, "xapi.conf", "sm-dir = /first\n")
    configure(tmp_path, "xapi.conf.d/90-last.conf", "sm-dir = /last\n")
    configure(tmp_path, "xapi.conf.d/10-second.conf", "sm-dir = /second\n")
    assert install(tmp_path).returncode == 0
    assert (tmp_path / "last/CephRBDSR.py").is_file()
    assert not (tmp_path / "first").exists() and not (tmp_path / "second").exists()


def test_a_relative_sm_dir_is_refused(tmp_path: Path) -> None:
    configure(tmp_path, "xapi.conf", "sm-dir = drivers\n")
    done = install(tmp_path)
    assert done.returncode != 0
    assert "not an absolute path" in done.stderr
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
    assert f"the core in {wheel} does not load here: ImportError: " in done.stderr
    assert files(tmp_path / "root") == before


@pytest.mark.parametrize("arguments", [["--rot"], ["--root"], ["--wheel"], ["--root", ""]])
def test_a_mistyped_command_changes_nothing(arguments: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [REPOSITORY / "install.sh", "--dry-run", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "install.sh: " in done.stderr
    assert not done.stdout


@pytest.mark.skipif(Path("/", SM_DIR).exists(), reason="this machine has an SM")
def test_a_host_without_sm_is_refused() -> None:
    done = install(None, "--dry-run")
    assert (done.returncode, done.stdout) == (1, "")
    assert "is this an XCP-ng host?" in done.stderr
