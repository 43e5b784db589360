"""The wheel that `make wheel` built, and the interpreters that it promises to run on."""

import functools
import glob
import os
import subprocess
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
VERSIONS = ["3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14"]


def built_wheel() -> Path:
    """The wheel that SMBLOCK_WHEEL names, else the one in target/wheels; AssertionError if there is none."""
    if named := os.environ.get("SMBLOCK_WHEEL"):
        return Path(named)
    wheels = list((REPOSITORY / "target" / "wheels").glob("smblock-*.whl"))
    assert len(wheels) == 1, f"run 'make wheel' first: target/wheels has {[wheel.name for wheel in wheels]}"
    return wheels[0]


def unpack(wheel: Path, directory: Path) -> Path:
    """Unpacks `wheel` into `directory`, for PYTHONPATH."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory)
    return directory


@functools.cache
def pythons() -> dict[str, Path]:
    """The CPython interpreters of this machine that the wheel is for: version ("3.6") to path."""
    patterns = [f"{directory}/python3.[0-9]*" for directory in os.environ["PATH"].split(os.pathsep)]
    patterns += ["/usr/bin/python3.[0-9]*", str(Path.home() / ".pyenv/versions/3.*/bin/python3")]
    found: dict[str, Path] = {}
    # sys.executable: the program on PATH may be a script of pyenv that starts the interpreter.
    ask = "import platform as p, sys; print(p.python_implementation(), *p.python_version_tuple()[:2], sys.executable)"
    for path in (path for pattern in patterns for path in sorted(glob.glob(pattern))):
        if path.endswith(("-config", ".py")):  # python3.11-config, python3.11-gdb.py
            continue
        # A shim of pyenv without its version prints an error.
        reply = subprocess.run([path, "-c", ask], capture_output=True, text=True, timeout=30, check=False)
        if reply.returncode == 0 and reply.stdout.startswith("CPython 3 "):
            _, _, minor, executable = reply.stdout.strip().split(" ", 3)
            found.setdefault("3." + minor, Path(executable))
    return {version: found[version] for version in VERSIONS if version in found}
