"""The provisioner with sleds that are down, hang or have a damaged file, and with copies that are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from lab import keeper, wait_for
from lab.dom0 import lab_python
from tests.test_crucible_provisioner import (  # noqa: F401
    FAKE_SSH,
    PROVISIONER,
    SR,
    Sleds,
    _sleds,
    local,
    wanted,
)

READ_ONLY, WRITABLE = ["true"] * 3, ["false"] * 3


@pytest.fixture
def six(tmp_path: Path) -> Iterator[Sleds]:
    """Six sleds, over the simulator of ssh. A volume has its regions on three of them."""
    names = [f"root@sled{number}" for number in range(1, 7)]
    with ExitStack() as stack:
        sleds = _sleds(stack, tmp_path, names)
        programs = sleds.directory / "bin"
        programs.mkdir()
        (programs / "ssh").write_text(FAKE_SSH)
        (programs / "ssh").chmod(0o755)
        for sled in ("dir", *names):
            (sleds.directory / sled).mkdir()
        sleds.environment |= {"SLEDS": str(sleds.directory), "PATH": f"{programs}:{os.environ['PATH']}"}
        yield sleds


def sleds_of(six: Sleds, volume: dict[str, list[str]]) -> tuple[list[str], list[str]]:
    """The names of the sleds that have a volume, and of the others."""
    has = {target.rpartition(":")[0] for target in volume["targets"]}
    named = {f"root@sled{number}": address in has for number, address in enumerate(six.addresses, 1)}
    return [name for name in named if named[name]], [name for name in named if not named[name]]


def make_hang(six: Sleds, sled: str) -> None:
    """ssh to that sled takes an hour."""
    ssh = six.directory / "bin" / "ssh"
    ssh.write_text(FAKE_SSH.replace("exec unshare", f'[ "$2" != {sled} ] || exec sleep 3600\nexec unshare'))


def modes(volume: dict[str, list[str]]) -> list[str]:
    """What each downstairs reports about being read-only."""
    return [_mode(target) for target in volume["targets"]]


def _mode(target: str) -> str:
    address, _, port = target.rpartition(":")
    try:
        with urllib.request.urlopen(f"http://{address}:{int(port) + 4000}/region-mode", timeout=5) as reply:
            return str(reply.read().decode())
    except OSError:
        return "away"


def test_a_volume_is_found_while_a_sled_without_its_copies_is_down(six: Sleds) -> None:
    volume = six.create()
    (six.directory / sleds_of(six, volume)[1][0]).rename(six.directory / "away")
    assert six.done("find", volume={"uuid": volume["uuid"]})["volume"] == volume
    assert six.done("delete", volume=volume) == {}
    assert "sled root@sled" in six.refused("find", volume={"uuid": volume["uuid"]}), "the sled that is down may have it"


def test_a_volume_is_found_on_the_sleds_that_reply_of_those_that_have_it(six: Sleds) -> None:
    volume = six.create()
    (six.directory / sleds_of(six, volume)[0][0]).rename(six.directory / "away")
    assert six.done("find", volume={"uuid": volume["uuid"]})["volume"] == volume


def test_a_volume_of_no_sled_or_another_sr_is_not_found(local: Sleds) -> None:  # noqa: F811
    volume = local.create()
    assert local.done("find", volume=wanted()) == {"volume": None}
    assert local.done("find", sr=wanted()["uuid"], volume=volume) == {"volume": None}


def test_a_list_names_the_sled_that_is_down_and_the_remedy(six: Sleds) -> None:
    (six.directory / "root@sled5").rename(six.directory / "away")
    complaint = six.refused("list")
    assert "sled root@sled5: survey: ssh: connect" in complaint
    assert "remove it from provisioner_sleds" in complaint


def test_a_sled_that_hangs_delays_a_list_by_seconds_only(six: Sleds) -> None:
    volume = six.create()
    hanging = sleds_of(six, volume)[1][0]
    make_hang(six, hanging)
    begin = time.monotonic()
    assert six.done("find", volume=volume)["volume"] == volume
    assert time.monotonic() - begin < 5
    begin = time.monotonic()
    assert f"sled {hanging}: survey: timed out after 10 s" in six.refused("list")
    assert time.monotonic() - begin < 15


@pytest.mark.parametrize("damage", [b"", b'{"sr": "', b"\xff\xfe", b"[]", b"{}", b'{"volume": {"uuid": 7}}'])
def test_a_damaged_record_is_an_error_that_names_sled_and_file(six: Sleds, damage: bytes) -> None:
    volume, other = six.create(), six.create()
    sled = sleds_of(six, volume)[0][1]
    file = six.directory / sled / volume["uuid"] / "smblock.json"
    file.write_bytes(damage)
    for command, more in (("list", {}), ("find", {"volume": volume})):
        complaint = six.refused(command, **more)
        assert f"sled {sled}: " in complaint
        assert f"/{volume['uuid']}/smblock.json is damaged" in complaint
        assert "Traceback" not in complaint
    assert six.done("find", volume=other)["volume"] == other


def test_records_that_differ_between_sleds_are_an_error(six: Sleds) -> None:
    volume = six.create()
    file = six.directory / sleds_of(six, volume)[0][2] / volume["uuid"] / "smblock.json"
    file.write_text(file.read_text().replace("web1 root", "web2 root"))
    assert "differs from that of another sled" in six.refused("find", volume=volume)


@contextmanager
def copying(sleds: Sleds, volume: dict[str, list[str]]) -> Iterator[subprocess.Popen[bytes]]:
    """A copy of a volume that takes an hour, and has made its source read-only."""
    slow = sleds.directory / "slow"
    slow.write_text(f'#!/bin/sh\n[ "$1" != create ] || exec sleep 3600\nexec {sleds.token} "$@"\n')
    slow.chmod(0o755)
    config = {**sleds.config, "downstairs": str(slow)}
    request = {"version": 1, "command": "copy", "sr": SR, "config": config, "source": volume, "volume": wanted()}
    command = [str(lab_python()), str(PROVISIONER)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, env=sleds.environment) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(request).encode())
        process.stdin.close()
        wait_for(lambda: modes(volume) == READ_ONLY, "the copy to begin")
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def test_the_source_of_a_killed_copy_is_writable_after_the_next_list(local: Sleds) -> None:  # noqa: F811
    volume = local.create()
    with copying(local, volume) as process:
        os.killpg(process.pid, signal.SIGKILL)  # as the driver does at its deadline
    assert modes(volume) == READ_ONLY
    local.done("list")
    wait_for(lambda: modes(volume) == WRITABLE, "the source to be writable", 15)
    local.done("delete", volume=volume)
    assert local.running() == []


def test_the_source_of_a_killed_copy_is_writable_when_its_volume_is_found(local: Sleds) -> None:  # noqa: F811
    volume, other = local.create(), local.create()
    with copying(local, volume) as process:
        os.killpg(process.pid, signal.SIGKILL)
    assert local.done("find", volume=other)["volume"] == other
    assert modes(volume) == READ_ONLY, "other volumes stay as they are"
    assert local.done("find", volume=volume)["volume"] == volume
    assert modes(volume) == WRITABLE


def test_a_list_leaves_the_source_of_a_copy_that_goes_on_read_only(local: Sleds) -> None:  # noqa: F811
    volume = local.create()
    with copying(local, volume):
        local.done("list")
        local.done("find", volume=volume)
        assert modes(volume) == READ_ONLY
        complaint = local.refused("copy", source=volume, volume=wanted())
        assert f"of volume {volume['uuid']} is being copied already" in complaint
        assert "stays read-only there" not in complaint, "that copy has nothing to give back"
        assert modes(volume) == READ_ONLY


def test_a_killed_copy_over_ssh_ends_on_the_sleds_without_a_next_command(six: Sleds) -> None:
    volume = six.create()
    with copying(six, volume) as process:
        wait_for(lambda: len(sleepers(six)) == 3, "the regions to be made")
        process.kill()  # only this process: those on the sleds are in no process group of this host
        process.wait()
    wait_for(lambda: modes(volume) == WRITABLE, "the source to be writable", 30)
    wait_for(lambda: sleepers(six) == [], "the programs that make the copy to end", 30)


def sleepers(six: Sleds) -> list[int]:
    """The processes on the sleds that copy for an hour."""
    made = []
    for pid in keeper.processes_naming("3600"):
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        if f"SLEDS={six.directory}\0".encode() in environment:
            made.append(pid)
    return made


def test_the_deadlines_of_a_copy_leave_time_for_its_undo() -> None:
    text = PROVISIONER.read_text() + PROVISIONER.with_name("smblock_crucible_sleds.py").read_text()
    seconds = {
        name: int(text.split(f"\n{name} = ")[1].split("\n")[0])
        for name in ("DATA_SECONDS", "STEP_SECONDS", "SURVEY_SECONDS")
    }
    # The undo: make the source writable, remove the new regions, end the remaining processes.
    assert seconds["DATA_SECONDS"] + 2 * seconds["STEP_SECONDS"] + 2 * seconds["SURVEY_SECONDS"] < 3600
