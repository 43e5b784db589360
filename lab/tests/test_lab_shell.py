"""Tests of the shell of `make lab`, and of its clean-up."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.cephrbd import CephRbdLab, RbdPool
from lab.keeper import processes_naming
from lab.shell import run_shell
from lab.wheel import REPOSITORY


@pytest.fixture
def typed(lab: CephRbdLab, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[[str], tuple[int, str, str]]:
    """Runs commands in a shell of the session's lab. Returns its exit status, stdout and stderr."""

    def type_them(commands: str) -> tuple[int, str, str]:
        capfd.readouterr()
        status = run_shell(lab, lab.ceph.conf, tmp_path, commands.encode())
        return status, *capfd.readouterr()

    return type_them


def test_the_shell_has_xe_the_cluster_and_the_hosts(
    typed: Callable[[str], tuple[int, str, str]], shared_rbd_pool: RbdPool
) -> None:
    config = " ".join(shared_rbd_pool.device_config)
    status, stdout, stderr = typed(
        f"""
        sr=$(xe sr-create type=cephrbd shared=true name-label=typed {config})
        xe vdi-create sr-uuid=$sr name-label=disk virtual-size=1GiB >/dev/null
        xe sr-list name-label=typed params=type --minimal
        rbd ls {shared_rbd_pool.name} | grep -c "smblock.$sr."
        one hostname
        two 'cat /etc/xensource-inventory | grep -c UUID'
        two smblock reclaim --list --sr $sr {config}
        ceph osd pool ls | grep -x {shared_rbd_pool.name}
        """
    )
    assert (status, stderr) == (0, "")
    assert stdout.split("\n") == ["cephrbd", "1", "one", "2", "nothing pending", shared_rbd_pool.name, ""]


def test_the_shell_returns_the_status_of_its_last_command(typed: Callable[[str], tuple[int, str, str]]) -> None:
    status, stdout, stderr = typed("two no-such-program; one 'echo to stderr >&2; exit 7'")
    assert (status, stdout) == (7, "")
    assert "no-such-program: not found" in stderr
    assert stderr.endswith("to stderr\n")


def test_the_lab_starts_reads_stdin_and_removes_everything() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lab.shell", "--hosts", "local"],
        input="echo conf=$CEPH_CONF; xe host-list --minimal; host2 --power-off; host2 true;"
        "host2 --power-on && host2 hostname; exit 3",
        cwd=REPOSITORY, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert done.stderr == "host2 is powered off: 'host2 --power-on' starts it\n"
    *_, conf, hosts, name = done.stdout.splitlines()
    assert name == "host2"
    conf = conf.removeprefix("conf=")
    assert len(hosts.split(",")) == 2
    assert not Path(conf).parent.exists()
    assert processes_naming(conf) == []


@pytest.mark.slow  # boots two guests
@pytest.mark.timeout(600)
def test_the_session_on_the_page_runs_as_printed() -> None:
    page = (REPOSITORY / "docs" / "user" / "lab.md").read_text()
    blocks = re.findall(r"^```\n(.*?)^```", page.partition("\n## A session\n")[2], re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    done = subprocess.run(
        [sys.executable, "-m", "lab.shell"],
        input="set -e\n" + "echo next-block\n".join(blocks),
        cwd=REPOSITORY, capture_output=True, text=True, timeout=580, check=False,
    )  # fmt: skip
    before, _, after = done.stdout.partition("next-block\n")
    assert re.search(r"^smblock\.", before, re.MULTILINE), done.stderr
    # The last command but one prints the image that host1 has mapped.
    assert after.splitlines()[-1].startswith("smblock."), done.stderr
    assert (done.returncode, done.stderr) == (0, "")
