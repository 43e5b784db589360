"""Directories with what a release has for install.sh, of the built wheel or of another version."""

from __future__ import annotations

import shutil
import tomllib
import zipfile
from pathlib import Path

from lab.wheel import REPOSITORY, built_wheel

VERSION: str = tomllib.loads((REPOSITORY / "Cargo.toml").read_text())["workspace"]["package"]["version"]


def make_release(directory: Path, version: str | None = None) -> Path:
    """Puts install.sh and what it needs into `directory`. A version other than the wheel's is one in name only."""
    directory.mkdir(parents=True)
    ignored = shutil.ignore_patterns("__pycache__", "*.so")
    shutil.copy(REPOSITORY / "install.sh", directory)
    for name in ("drivers", "packaging", "provisioners"):
        shutil.copytree(REPOSITORY / name, directory / name, ignore=ignored)
    wheel = built_wheel()
    if version is None:
        shutil.copy(wheel, directory)
        return directory
    name = "-".join(["smblock", version, *wheel.name.split("-")[2:]])
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(directory / name, "w") as target:
        for entry in source.namelist():
            data = source.read(entry)
            if entry == "smblock/__init__.py":
                data += f'\n__version__ = "{version}"\n'.encode()
            target.writestr(entry, data)
    return directory
