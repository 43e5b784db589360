"""Crates import downwards only, by `cargo metadata` and by the names in the sources."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.wheel import REPOSITORY

# The crates that each crate of the driver may depend on, from the top downwards, as in docs/dev/architecture.md.
BELOW = {
    "smblock-py": {"sr-ceph", "sr-crucible", "sr", "nbd-export"},
    "sr-ceph": {"sr-ceph-model", "sr", "librbd", "hostdev", "hostos"},  # its tests use the model
    "sr-ceph-model": {"sr-ceph", "sr"},
    "sr-crucible": {"sr", "crucible-host", "hostdev", "hostos"},
    "sr": {"hostos"},
    "crucible-host": {"hostos"},
    "nbd-export": {"hostos"},
    "hostdev": {"hostos"},
    "librbd": {"hostos"},
    "hostos": set(),
}
# Only one crate may name each of these.
ONLY_IN = {"pyo3": "smblock-py", "libloading": "librbd"}
TEXT = re.compile(r"""//[^\n]*|'(?:\\.|[^'\\])'|r(#*)".*?"\1|"(?:\\.|[^"\\])*\"""", re.DOTALL)


def metadata() -> list[dict[str, Any]]:
    """The packages of the workspace in rust/."""
    argv = ["cargo", "metadata", "--locked", "--offline", "--no-deps", "--format-version=1"]
    done = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=True)
    packages = json.loads(done.stdout)["packages"]
    return [package for package in packages if Path(package["manifest_path"]).is_relative_to(REPOSITORY / "rust")]


def arrows(packages: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """The dependencies between crates, also of their tests."""
    for package in packages:
        yield from ((package["name"], dependency["name"]) for dependency in package["dependencies"])


def wrong_arrows(found: Iterator[tuple[str, str]]) -> list[str]:
    wrong = []
    for crate, dependency in found:
        up = dependency in BELOW and dependency != crate and dependency not in BELOW[crate]
        if up or ONLY_IN.get(dependency, crate) != crate:
            wrong.append(f"{crate} -> {dependency}")
    return wrong


def code(source: str) -> str:
    """A source without comments and literals."""
    return TEXT.sub("", source)


def wrong_names(crate: str, source: str) -> list[str]:
    """The forbidden crates that a source of `crate` names, and `unsafe` outside librbd."""
    text = code(source)
    own = BELOW[crate] | {crate}
    forbidden = [name for name in BELOW if name not in own] + [name for name, at in ONLY_IN.items() if at != crate]
    # A path that begins with the crate's name: `sr` is a module of two crates as well.
    wrong = [name for name in forbidden if re.search(rf"(?<!\w)(?<!\w::){name.replace('-', '_')}::", text)]
    if crate != "librbd" and re.search(r"\bunsafe\b", text):
        wrong.append("unsafe")
    return wrong


def sources(package: dict[str, Any]) -> Iterator[Path]:
    yield from Path(package["manifest_path"]).parent.rglob("*.rs")


def test_every_crate_has_its_place() -> None:
    assert {package["name"] for package in metadata()} == set(BELOW)


def test_no_crate_depends_on_one_that_is_not_below_it() -> None:
    assert wrong_arrows(arrows(metadata())) == []


def test_no_source_names_a_crate_that_is_not_below_it_or_is_unsafe() -> None:
    found = {
        f"{path.relative_to(REPOSITORY)}: {name}"
        for package in metadata()
        for path in sources(package)
        for name in wrong_names(package["name"], path.read_text())
    }
    assert sorted(found) == []


@pytest.mark.parametrize(
    ("crate", "planted", "wrong"),
    [
        ("sr-ceph", "use sr_crucible::CrucibleSr;", ["sr-crucible"]),
        ("sr-crucible", "fn f() -> sr_ceph::Result<()> {}", ["sr-ceph"]),
        ("hostos", "use hostdev::Krbd;", ["hostdev"]),
        ("sr", "use pyo3::prelude::*;", ["pyo3"]),
        ("hostdev", "let name = ::sr::xapi::NO_TIME;", ["sr"]),
        ("hostdev", "unsafe { f() }", ["unsafe"]),
        ("librbd", "unsafe { f() }", []),
        ("sr-ceph", '// sr_crucible::CrucibleSr is unsafe\nlet text = "sr_crucible:: unsafe";', []),
        ("smblock-py", "use crate::sr::Sr;", []),
    ],
)
def test_a_planted_name_is_found(crate: str, planted: str, wrong: list[str]) -> None:
    assert wrong_names(crate, planted) == wrong


def test_a_planted_dependency_is_found() -> None:
    planted = [("sr-ceph", "sr-crucible"), ("hostos", "sr"), ("sr", "pyo3"), ("sr-ceph", "sr-ceph"), ("sr", "serde")]
    assert wrong_arrows(iter(planted)) == ["sr-ceph -> sr-crucible", "hostos -> sr", "sr -> pyo3"]
