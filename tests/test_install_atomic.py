"""An installation that fails or is killed at any step leaves the host as it was, or is undone by the next run."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from smblock_setup import transaction

from lab.wheel import REPOSITORY, built_wheel, pythons
from tests.dom0_root import SETUP, make_configuration, tree
from tests.release_directory import VERSION

OLDEST_PYTHON = str(next(iter(pythons().values()), "/usr/bin/python3"))
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small filesystem takes root")


def install(root: Path, *arguments: str, release: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    argv = [str(release / "install.sh"), "--root", str(root), *arguments]
    if release == REPOSITORY:
        argv += ["--wheel", str(built_wheel())]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


CALLS = ["open", "link", "symlink", "mkdir", "rename", "unlink", "rmdir"]


def change_files(root: Path) -> None:
    """Changes one file, adds one, adds a link in new directories, and removes one."""
    with transaction.Transaction(str(root)) as files:
        files.put("/etc/changed", b"new", 0o755)
        files.put("/opt/deep/added", b"added", 0o644)
        files.link("/opt/deep/er/link", "added")
        files.remove("/etc/removed")
        files.commit()
        files.finish()


def in_child(function: str, last: int, action: Callable[[], None]) -> int:
    """Runs `action` in a process that dies at a call of one of the os module's functions; returns 9 if it has died.

    With `last` 0 it returns how often the function is called.
    """
    child = os.fork()
    if child == 0:
        real, calls = getattr(os, function), [0]

        def counted(*arguments: Any, **more: Any) -> Any:
            calls[0] += 1
            if calls[0] == last:
                os._exit(9)
            return real(*arguments, **more)

        setattr(os, function, counted)
        action()
        os._exit(0 if last else 100 + calls[0])
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def old_root(path: Path) -> Path:
    (path / "etc").mkdir(parents=True)
    (path / "etc/changed").write_text("old")
    (path / "etc/removed").write_text("old")
    return path


@pytest.mark.parametrize("function", CALLS)
def test_change_that_is_killed_at_any_call_is_undone_or_whole(tmp_path: Path, function: str) -> None:
    old = tree(old_root(tmp_path / "0"))
    calls = in_child(function, 0, lambda: change_files(tmp_path / "0")) - 100
    new = tree(tmp_path / "0")
    assert new != old
    for last in range(1, calls + 1):
        root = old_root(tmp_path / str(last))
        assert in_child(function, last, lambda root=root: change_files(root)) == 9  # type: ignore[misc]
        transaction.recover(str(root))
        assert tree(root) in (old, new)


@pytest.mark.parametrize("function", CALLS)
def test_recovery_that_is_killed_at_any_call_can_be_repeated(tmp_path: Path, function: str) -> None:
    old = tree(old_root(tmp_path / "old"))
    for last in range(1, 9):
        root = old_root(tmp_path / str(last))
        assert in_child("rename", 4, lambda root=root: change_files(root)) == 9  # type: ignore[misc]
        in_child(function, last, lambda root=root: transaction.recover(str(root)))  # type: ignore[misc]
        transaction.recover(str(root))
        assert tree(root) == old


def end_at(function: str, root: Path, *arguments: str) -> None:
    """Runs install.sh's program, which dies when it calls that function."""
    module, _, name = function.rpartition(".")
    code = f"""
import os, sys
sys.dont_write_bytecode = True
sys.path.insert(0, {str(SETUP.parent)!r})
from smblock_setup import {module}
from smblock_setup.__main__ import main
{module}.{name} = lambda *_, **__: os._exit(9)
main({["install", "--root", str(root), *arguments]!r})
"""
    done = subprocess.run([OLDEST_PYTHON, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 9, done.stderr


def test_next_run_undoes_an_installation_that_was_killed(tmp_path: Path) -> None:
    root = make_configuration(tmp_path / "root", "8.3")
    before = tree(root)
    end_at("installer._self_test", root, "--wheel", str(built_wheel()))
    assert (root / "opt/xensource/sm/CephRBDSR").exists()
    interrupted = tree(root)
    shown = install(root, "--dry-run").stdout
    assert shown.startswith("an installation was interrupted: the next run undoes it first\n")
    assert tree(root) == interrupted
    removed = install(root, "--uninstall")
    assert removed.stdout == "undid an installation that was interrupted\nsmblock is not installed\n"
    assert tree(root) == before


@pytest.mark.parametrize("function", ["caches.remove", "installer._remove_directories"])
def test_next_run_finishes_a_removal_that_was_killed(tmp_path: Path, function: str) -> None:
    root = make_configuration(tmp_path / "root", "8.3")
    before = tree(root)
    assert install(root).returncode == 0
    end_at(function, root, "--uninstall")
    assert f"removed smblock {VERSION}" in install(root, "--uninstall").stdout
    assert tree(root) == before


@as_root
@pytest.mark.parametrize("step", ["preflight", "staging", "first directory", "last directory"])
def test_full_disk_leaves_the_host_as_it_was(tmp_path: Path, step: str) -> None:
    root = make_configuration(tmp_path / "root", "8.3")
    before = tree(root)
    assert install(root).returncode == 0
    new = [content for name, content in tree(root).items() if name not in before]
    # The inodes of three directories (mounted, root, staging) and of all staged files; then those of new directories.
    staged = 3 + len(before) + sum(content is not None for content in new)
    inodes = {"staging": staged - 9, "first directory": staged, "last directory": staged + new.count(None) - 1}
    option = f"nr_inodes={inodes[step]}" if step in inodes else "size=3m"
    mounted, plain = tmp_path / "mounted", make_configuration(tmp_path / "plain", "8.3")
    mounted.mkdir()
    script = f"""
set -eu
mount -t tmpfs -o {option} none {mounted}
cp -a {plain} {mounted}/root
{REPOSITORY}/install.sh --root {mounted}/root --wheel {built_wheel()} || test $? = 1
cp -a {mounted}/root {tmp_path}/after
"""
    argv = ["unshare", "--mount", "sh", "-c", script]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "after") == tree(plain)
    if step == "preflight":
        assert "KiB are needed" in done.stdout
        assert "yum clean all" in done.stdout
    else:
        assert "ENOSPC (28): No space left on device" in done.stderr


@as_root
def test_directories_on_other_filesystems_are_changed_with_the_others(tmp_path: Path) -> None:
    root = make_configuration(tmp_path / "root", "8.3")
    script = f"""
set -eu
mkdir {root}/opt
mount -t tmpfs none {root}/opt
{REPOSITORY}/install.sh --root {root} --wheel {built_wheel()} >/dev/null
test -x {root}/opt/xensource/sm/CephRBDSR
test ! -e {root}/opt/.smblock-stage
{REPOSITORY}/install.sh --root {root} --uninstall >/dev/null
find {root}/opt
"""
    done = subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{root}/opt\n", "")


def test_failed_write_leaves_the_host_as_it_was(tmp_path: Path) -> None:
    root = make_configuration(tmp_path, "8.3")
    before = tree(root)
    # No file may grow over 1 MiB: the core is larger.
    script = (
        f'ulimit -f 1024; trap "" XFSZ; TMPDIR=/dev/shm {REPOSITORY}/install.sh --root {root} --wheel {built_wheel()}'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "unpacking smblock-" in done.stderr
    assert "EFBIG (27): File too large. TMPDIR names another directory" in done.stderr
    assert tree(root) == before


def test_two_installations_at_once_leave_one_whole_installation(tmp_path: Path) -> None:
    root = make_configuration(tmp_path, "8.3")
    argv = [str(REPOSITORY / "install.sh"), "--root", str(root), "--wheel", str(built_wheel())]
    started = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    printed = [process.communicate(timeout=60)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0]
    assert sum("installed smblock" in text for text in printed) == 1
    assert sum("up to date" in text for text in printed) == 2
    assert install(root).stdout.startswith("up to date")


def test_damaged_wheel_is_refused_before_anything_changes(tmp_path: Path) -> None:
    root = make_configuration(tmp_path / "root", "8.3")
    before = tree(root)
    data = built_wheel().read_bytes()
    wheel = tmp_path / built_wheel().name
    for damaged in (data[: len(data) // 2], data[:200000] + bytes(1000) + data[201000:]):
        wheel.write_bytes(damaged)
        argv = [str(REPOSITORY / "install.sh"), "--root", str(root), "--wheel", str(wheel)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"install.sh: not a wheel: {wheel}" in done.stderr
        assert tree(root) == before
