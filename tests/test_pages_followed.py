"""Each page for administrators can be followed to the letter: its commands run, and print what it shows."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.ceph import OneNodeCeph
from lab.wheel import REPOSITORY, built_wheel
from tests.pages.blocks import PageError, read
from tests.pages.follower import Follower
from tests.pages.output import Values
from tests.pages.place import Place
from tests.rpm_packages import SharedPackages

PAGES = REPOSITORY / "docs" / "user"
FOLLOWED = [
    "ceph-setup",
    "install",
    "device-config",
    "operations",
    "troubleshooting",
    "upgrade",
    "rolling-update",
    "iso-upgrade",
    "templates",
    "backup",
    "disaster-recovery",
    "hosts",
    "clients",
    "uninstall",
]
# Pages that other tests check, or that are written by a program.
NOT_FOLLOWED = {
    "cli": "tests/test_cli.py and tests/test_doctor.py use its commands",
    "compatibility": "`make test-compat` writes it",
    "crucible": "tests/test_crucible_sr.py and tests/test_crucible_provisioner.py use its commands",
    "errors": "a test of rust/py writes it",
    "exports": "tests/test_exports_plugged.py follows it on hosts with a kernel",
    "findings": "a test of rust/py writes it",
    "high-availability": "tests/test_high_availability.py does what it can without xHA's daemon",
    "monitoring": "tests/test_monitoring_page.py runs its commands",
    "migration": "tests/test_migration_page.py and tests/test_adopt.py use its commands",
    "lab": "lab/tests/test_lab_shell.py runs its session",
}


@pytest.fixture(scope="module")
def follower(
    new_cluster: Callable[..., OneNodeCeph], shared_packages: SharedPackages, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Follower]:
    directory = tmp_path_factory.mktemp("pages")
    with ExitStack() as stack:
        ceph = stack.enter_context(new_cluster(pool=None, min_compat=None))
        yield Follower(PAGES, Place(stack, directory, ceph, shared_packages), built_wheel().name.split("-")[1])


@pytest.mark.skipif(os.geteuid() != 0, reason="rpm writes to the hosts' files: root only")
@pytest.mark.parametrize("page", FOLLOWED)
def test_page_can_be_followed_to_the_letter(follower: Follower, page: str) -> None:
    follower.follow(page)


@pytest.mark.parametrize("page", FOLLOWED)
def test_page_has_each_block_run_or_marked_with_a_reason(page: str) -> None:
    for block in read(PAGES / f"{page}.md").blocks:
        if not block.is_run:
            reason = block.marks["not run"]
            for named in re.findall(r"\b(?:lab/)?tests/\S+\.py\b", reason):
                assert (REPOSITORY / named).is_file(), reason


def test_each_page_is_followed_or_has_another_test() -> None:
    pages = {path.stem for path in PAGES.glob("*.md")}
    assert pages == {*FOLLOWED, *NOT_FOLLOWED}


def test_commands_of_readme_are_those_of_the_pages() -> None:
    text = (REPOSITORY / "README.md").read_text()
    section = text[text.index("## Use it, on a pool") :]
    (shown,) = re.findall(r"```\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)
    blocks = [block for name in FOLLOWED for block in read(PAGES / f"{name}.md").blocks if block.language == "console"]
    run = {step.command for block in blocks if block.is_run for step in block.steps()}
    assert len(shown.splitlines()) == 5
    assert set(shown.splitlines()) <= run


def page(directory: Path, text: str) -> Path:
    path = directory / "page.md"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("```\nxe sr-list\n```\n", "page.md:1: the block (no language) is neither run nor marked"),
        ("```ini\n[a]\n```\n", "page.md:1: the block (ini) is neither run nor marked"),
        ("<!-- not run: -->\n```\nreboot\n```\n", "page.md:2: 'not run' needs a reason"),
        ("```console\nxe sr-list\n```\n", "page.md:2: no prompt before: xe sr-list"),
        ("```console\n```\n", "page.md:1: no command"),
        ("text\n\n<!-- fails -->\n\ntext\n", "no block follows the marks {'fails': ''}"),
    ],
)
def test_page_with_a_block_that_is_neither_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(PageError) as refused:
        read(page(tmp_path, text))
    assert complaint in str(refused.value)


def test_page_is_read_with_its_marks_in_their_order(tmp_path: Path) -> None:
    text = "<!-- after: install -->\n1. Do\n\n   ```console\n   host1# a\n   b\n   ceph# c\n   ```\n"
    found = read(page(tmp_path, f"{text}\n<!-- not run: no -->\n```sh\nd\n```\n"))
    assert found.after == ["install"]
    first, second = found.blocks
    assert [(step.line, step.place, step.command, step.expected) for step in first.steps()] == [
        (5, "host1", "a", ["b"]),
        (7, "ceph", "c", []),
    ]
    assert (second.is_run, second.marks) == (False, {"not run": "no"})


ONE, TWO = "0d1a8e0c-5d3f-4b0a-8a0c-6d1f2a3b4c5d", "4f7c6b1e-8a52-4c1c-9d0a-7f0d6a2b9e11"


@pytest.mark.parametrize(
    ("expected", "printed", "is_shown"),
    [
        ([], "", True),
        ([], "more\n", False),
        (["a"], "", False),
        (["a … c"], "a b b c\n", True),
        (["a … c"], "a b\nc\n", False),
        (["…"], "", True),
        (["…", "c", "…"], "a\nb\nc\n", True),
        (["…", "c"], "c\nd\n", False),
        (["a.c"], "abc\n", False),
        (["SR-UUID"], f"{ONE}\n", True),
        (["SR-UUID"], "no uuid\n", False),
        (["SR-UUID VDI-UUID SR-UUID"], f"{ONE} {TWO} {ONE}\n", True),
        (["SR-UUID SR-UUID"], f"{ONE} {TWO}\n", False),
        (["HOST-UUID"], f"{TWO}\n", True),
        (["HOST-UUID"], f"{ONE}\n", False),
    ],
)
def test_output_is_compared_with_what_the_page_shows(expected: list[str], printed: str, is_shown: bool) -> None:
    assert Values({"HOST-UUID": TWO}).match(expected, printed) is is_shown


def test_placeholder_has_the_value_of_its_first_output() -> None:
    values = Values()
    with pytest.raises(LookupError, match="no output before this has shown SR-UUID"):
        values.fill("xe sr-scan uuid=SR-UUID")
    assert values.match(["made SR-UUID"], f"made {ONE}\n")
    assert values.fill("xe sr-scan uuid=SR-UUID") == f"xe sr-scan uuid={ONE}"


class FakePlace:
    """Prints what each command names."""

    def run(self, place: str, command: str) -> tuple[int, str]:
        return int(command.startswith("fail")), f"{place} {command}\n"

    def write(self, place: str, path: str, text: str) -> None:
        self.written = (place, path, text)

    def act(self, action: str) -> None:
        self.acted = action


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("```console\nhost1# a\nhost1 a\nhost2# b\nhost1 b\n```\n", "page.md:4: prints other text: host2# b"),
        ("```console\nhost1# fail\nhost1 fail\n```\n", "page.md:2: fails: host1# fail"),
        ("<!-- fails -->\n```console\nhost1# a\nhost1 a\n```\n", "page.md:3: does not fail: host1# a"),
        ("```console\nhost1# a SR-UUID\n```\n", "page.md:2: a SR-UUID: no output before this has shown SR-UUID"),
    ],
)
def test_page_that_differs_from_the_lab_names_its_line(tmp_path: Path, text: str, complaint: str) -> None:
    page(tmp_path, text)
    follower = Follower(tmp_path, FakePlace(), "1")  # type: ignore[arg-type]
    with pytest.raises(PageError) as differs:
        follower.follow("page")
    assert complaint in str(differs.value)


def test_page_is_followed_with_its_files_and_actions(tmp_path: Path) -> None:
    place = FakePlace()
    text = "<!-- file: host1:/etc/a -->\n```ini\n[a]\n```\n"
    text += "<!-- lab: reinstall host2 -->\n<!-- not run: ISO -->\n```\nb\n```\n"
    page(tmp_path, f"{text}<!-- fails -->\n```console\nceph# a OLD-VERSION\nceph a 1\nceph# fail\nceph fail\n```\n")
    Follower(tmp_path, place, "1").follow("page")  # type: ignore[arg-type]
    assert place.written == ("host1", "/etc/a", "[a]\n")
    assert place.acted == "reinstall host2"
