"""The wheel runs on each supported host: old Python, old glibc, no Ceph."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.wheel import REPOSITORY, VERSIONS, built_wheel, pythons, unpack

BINARY = "smblock/_core.abi3.so"
# Runs its arguments without Ceph's libraries: in a mount namespace whose library directory does not have
# the files (whiteouts of an overlay), as on a host without Ceph. The mounts end with it.
WITHOUT_CEPH = """
set -eu
scratch=$1; shift
mount -t tmpfs none "$scratch"; mkdir "$scratch/new" "$scratch/work"
libraries=/usr/lib/x86_64-linux-gnu
for file in "$libraries"/librados.so* "$libraries"/librbd.so*; do
    [ ! -e "$file" ] || mknod "$scratch/new/${file##*/}" c 0 0
done
mount -t overlay none -o "lowerdir=$libraries,upperdir=$scratch/new,workdir=$scratch/work" "$libraries"
exec "$@"
"""
PYTHON = b"#!/usr/bin/python3\n"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for PYTHONPATH with the content of the wheel."""
    return unpack(built_wheel(), tmp_path_factory.mktemp("wheel"))


@pytest.fixture(params=VERSIONS)
def python(request: pytest.FixtureRequest) -> Path:
    """Each interpreter that the wheel supports; skipped if this machine does not have it."""
    version: str = request.param
    if version not in pythons():
        pytest.skip(f"no CPython {version} here")
    return pythons()[version]


def run(argv: list[str | Path], path: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(path), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_a_supported_python_is_tested() -> None:
    print({version: str(path) for version, path in pythons().items()})
    assert pythons()


def test_it_imports_and_prints_nothing_because_stdout_is_xapis_reply(python: Path, installed: Path) -> None:
    done = run([python, "-W", "error", "-c", "import smblock"], installed)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_its_error_is_an_ordinary_exception_with_sms_name_and_errno(python: Path, installed: Path) -> None:
    code = (
        "import smblock\n"
        "try:\n    raise smblock.Error('pool gone')\n"
        "except Exception as error:\n    print(type(error), str(error), error.key, error.errno)\n"
    )
    done = run([python, "-c", code], installed)
    assert done.stdout == "<class 'smblock.Error'> pool gone SMGeneral None\n", done.stderr


def test_driver_info_opens_neither_ceph_nor_a_socket(python: Path, installed: Path) -> None:
    code = "import smblock\nfor sr_type in 'cephrbd', 'crucible':\n"
    code += "    assert smblock.capabilities(sr_type) and smblock.configuration(sr_type)"
    trace = run(["strace", "-f", "-e", "trace=openat,open,socket", python, "-c", code], installed)
    assert trace.returncode == 0, trace.stderr
    assert BINARY in trace.stderr
    for sign in ("librados", "librbd", "ceph.conf", "socket("):
        assert sign not in trace.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="hiding the libraries takes a mount namespace, which takes root")
def test_it_imports_on_a_host_without_ceph(python: Path, installed: Path, tmp_path: Path) -> None:
    code = "import ctypes, smblock\ntry:\n    ctypes.CDLL('librados.so.2')\nexcept OSError as error:\n    print(error)"
    done = run(["unshare", "--mount", "sh", "-c", WITHOUT_CEPH, "sh", tmp_path, python, "-c", code], installed)
    assert done.returncode == 0, done.stderr
    assert "cannot open shared object file: No such file" in done.stdout


def test_its_stub_declares_what_its_binary_has(installed: Path, tmp_path: Path) -> None:
    stubtest = Path(sysconfig.get_path("scripts")) / "stubtest"
    environment = {**os.environ, "PYTHONPATH": str(installed), "MYPYPATH": str(installed)}
    done = subprocess.run(
        [stubtest, "smblock._core"], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_its_stub_describes_every_class_method_and_function() -> None:
    module = ast.parse((REPOSITORY / "drivers" / "smblock" / "_core.pyi").read_text())
    described = [node for node in ast.walk(module) if isinstance(node, (ast.ClassDef, ast.FunctionDef))]
    assert len(described) > 60
    assert [node.name for node in described if not ast.get_docstring(node)] == []


def test_its_binary_links_libc_alone_and_exports_only_its_module(installed: Path) -> None:
    dynamic = run(["readelf", "--dynamic", "--wide", installed / BINARY], installed).stdout
    needed = {line.split("[")[1].rstrip("]") for line in dynamic.splitlines() if "(NEEDED)" in line}
    assert needed <= {"libc.so.6", "ld-linux-x86-64.so.2", "libpthread.so.0", "libdl.so.2", "libm.so.6", "librt.so.1"}
    exported = run(["nm", "--dynamic", "--defined-only", installed / BINARY], installed).stdout
    assert [line.split()[2] for line in exported.splitlines()] == ["PyInit__core"]


def test_what_ships_is_python_3_6_syntax() -> None:
    directories = [REPOSITORY / name for name in ("drivers", "packaging", "provisioners")]
    shipped = [path for directory in directories for path in directory.rglob("*") if path.is_file()]
    scripts = [path for path in shipped if path.suffix in {".py", ".pyi"} or path.read_bytes().startswith(PYTHON)]
    assert REPOSITORY / "drivers" / "smblock-admin" in scripts
    for path in scripts:
        ast.parse(path.read_text(), filename=str(path), feature_version=(3, 6))


def check(wheel: Path) -> subprocess.CompletedProcess[str]:
    return run([sys.executable, REPOSITORY / "scripts" / "check_wheel.py", wheel], REPOSITORY)


@pytest.fixture
def changed(tmp_path: Path) -> Callable[..., Path]:
    """Makes a copy of the wheel with other contents under the given names."""

    def make(contents: dict[str, bytes]) -> Path:
        copy = tmp_path / built_wheel().name
        with zipfile.ZipFile(built_wheel()) as source, zipfile.ZipFile(copy, "w") as target:
            for name in {*source.namelist(), *contents}:
                target.writestr(name, contents[name] if name in contents else source.read(name))
        return copy

    return make


def test_the_built_wheel_passes_its_own_check() -> None:
    done = check(built_wheel())
    assert done.returncode == 0, done.stderr


def test_a_wheel_for_a_newer_glibc_is_not_shipped(changed: Callable[..., Path], tmp_path: Path) -> None:
    library = tmp_path / "newer.so"
    # A library made by this machine's gcc: glibc 2.34 has a new version of dlsym.
    source = '#include <dlfcn.h>\nvoid *PyInit__core(void) { return dlsym(0, ""); }\n'
    gcc = shutil.which("gcc")
    assert gcc
    subprocess.run([gcc, "-shared", "-fPIC", "-x", "c", "-", "-o", library], input=source, text=True, check=True)
    done = check(changed({BINARY: library.read_bytes()}))
    assert done.returncode == 1
    assert "not manylinux_2_17_x86_64" in done.stderr


def test_a_wheel_for_a_newer_python_is_not_shipped(changed: Callable[..., Path], tmp_path: Path) -> None:
    library = tmp_path / "newer.so"
    # In the stable ABI only since 3.7.
    source = "void *PyModule_GetNameObject(void *); void *PyInit__core(void) { return PyModule_GetNameObject(0); }\n"
    subprocess.run(["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", library], input=source, text=True, check=True)
    done = check(changed({BINARY: library.read_bytes()}))
    assert done.returncode == 1
    assert "PyModule_GetNameObject" in done.stderr


def test_a_wheel_with_simulators_is_not_shipped(changed: Callable[..., Path]) -> None:
    binary = zipfile.ZipFile(built_wheel()).read(BINARY)
    simulating = binary.replace(b"smblock for hosts, without simulators", b"smblock with simulators, for tests on")
    done = check(changed({BINARY: simulating}))
    assert done.returncode == 1
    assert "holds simulators" in done.stderr


def test_a_wheel_with_a_stray_file_is_not_shipped(changed: Callable[..., Path]) -> None:
    done = check(changed({"smblock/notes.txt": b"left over"}))
    assert done.returncode == 1
    assert "smblock/notes.txt" in done.stderr
