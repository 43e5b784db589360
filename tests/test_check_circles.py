"""The check of circles in `make lint` finds each kind of use between modules, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lab.wheel import REPOSITORY

CHECK = REPOSITORY / "scripts" / "check_circles.py"
LIB = "mod store;\nmod work;\nmod shared;\n\npub struct Engine;\n"
STORE = """\
//! Uses work in words only: crate::work::Job, self.work().
use crate::shared::Word;

pub struct Store;

impl Store {
    pub fn write(&self) -> Word {
        Word("crate::work::Job")
    }
}
"""
WORK = """\
use crate::store::Store;
use crate::Engine;

impl Engine {
    fn work(&self, store: &Store) {
        store.write();
        self.rest();
    }

    fn rest(&self) {}
}
"""


def check(directory: Path, **files: str) -> str:
    """Checks a crate with these files, and returns what was found."""
    content = {"lib": LIB, "store": STORE, "work": WORK, "shared": "pub struct Word(pub &'static str);\n"} | files
    for name, text in content.items():
        file = directory / "src" / f"{name.replace('__', '/')}.rs"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    done = subprocess.run([sys.executable, CHECK, directory / "src"], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.returncode == bool(done.stdout)
    return done.stdout


def test_modules_that_use_each_other_in_one_direction_pass(tmp_path: Path) -> None:
    assert check(tmp_path) == ""


@pytest.mark.parametrize(
    ("added", "use"),
    [
        ("use crate::work::Job;\n", "store -> work: work::Job"),
        ("use crate::{shared, work::{Job, Task}};\n", "store -> work: work::Job, work::Task"),
        ("use super::work;\n", "store -> work: work"),
        ("fn f() { crate::work::start(); }\n", "store -> work: work::start"),
        ("fn f(engine: &crate::Engine) { engine.work(); }\n", "store -> work: Engine.work()"),
        ("fn f(my_engine: &crate::Engine) { my_engine\n    .work(); }\n", "store -> work: Engine.work()"),
        ("impl crate::Engine { fn f(&self) { self.rest(); } }\n", "store -> work: Engine.rest()"),
        ("impl Drop for crate::Engine { fn drop(&mut self) { self.rest(); } }\n", "store -> work: Engine.rest()"),
        ("impl Store { fn f(&self) { self.engine().rest(); } }\n", "store -> work: Engine.rest()"),
    ],
)
def test_each_use_that_closes_a_circle_is_named(tmp_path: Path, added: str, use: str) -> None:
    found = check(tmp_path, store=STORE + added)
    assert "in a circle: store, work" in found
    assert use in found


@pytest.mark.parametrize(
    "added",
    [
        "// crate::work::Job\n",
        "#[cfg(test)]\nmod tests {\n    use crate::work::Job;\n    fn f() { engine.work(); }\n}\n",
        "fn f(other: &Other) { other.work(); }\n",
    ],
)
def test_comments_tests_and_other_values_do_not_count_as_uses(tmp_path: Path, added: str) -> None:
    assert check(tmp_path, store=STORE + added) == ""


def test_a_directory_and_its_module_may_not_use_each_other(tmp_path: Path) -> None:
    parent = "mod part;\npub use self::part::Part;\n"
    assert check(tmp_path, shared=f"{parent}pub struct Word;\n", shared__part="use super::Word;\n") == ""
    found = check(tmp_path, shared=f"{parent}fn f() {{ part::go(); }}\n", shared__part="use super::Word;\n")
    assert "in a circle: shared, shared/part" in found


def test_engine_of_ceph_srs_has_no_circle() -> None:
    done = subprocess.run(
        [sys.executable, CHECK, "--edges", REPOSITORY / "rust" / "sr-ceph" / "src"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, [line for line in done.stdout.splitlines() if "circle" in line]
    # The usual case: an operation uses the journal by methods only.
    assert "vdi/create -> journal: Journal.finish()" in done.stdout
