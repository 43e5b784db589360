"""The driver's provisioner: it creates, copies, lists and removes volumes on sleds.

Regions and downstairs are those of the lab.  If sleds are other machines, ssh is a simulator: each sled
is a directory of this machine, and its commands see no other sled's directory.
"""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
import uuid as uuids
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lab import keeper, run, wait_for
from lab.crucible import crucible_bin
from lab.dom0 import lab_python
from lab.ports import AddressLease
from lab.wheel import REPOSITORY

PROVISIONER = REPOSITORY / "provisioners" / "ssh" / "smblock-crucible-provisioner"
EXTENT = 64 << 20
SR = str(uuids.uuid4())
FAKE_SSH = """#!/bin/sh
# A simulator of ssh: the sled is a directory, seen where all sleds have theirs.
while [ "$1" != -- ]; do shift; done
[ -d "$SLEDS/$2" ] || { echo "ssh: connect to host $2 port 22: No route to host" >&2; exit 255; }
exec unshare --mount sh -c 'mount --bind "$1" "$2" && exec sh -c "$3"' sh "$SLEDS/$2" "$SLEDS/dir" "$3"
"""


@dataclass
class Sleds:
    """Storage servers, and the provisioner of an SR on them."""

    directory: Path
    config: dict[str, str]
    addresses: list[str]
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))

    @property
    def token(self) -> str:
        """The first word of every downstairs here."""
        return self.config["downstairs"]

    def running(self) -> list[int]:
        """The process ids of all downstairs."""
        first = os.fsencode(self.token)
        named = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in keeper.processes_naming(self.token)}
        return [pid for pid, words in named.items() if words.split(b"\0")[0] == first]

    def ask(self, command: str, sr: str = SR, **more: Any) -> subprocess.CompletedProcess[bytes]:
        """Run the provisioner, as the driver does."""
        request = {"version": 1, "command": command, "sr": sr, "config": self.config, **more}
        return run(
            [lab_python(), PROVISIONER],
            timeout=100,
            input=json.dumps(request).encode(),
            env=self.environment,
            check=False,
        )

    def done(self, command: str, sr: str = SR, **volumes: Any) -> Any:
        """Run the provisioner. Returns its reply."""
        reply = self.ask(command, sr, **volumes)
        assert reply.returncode == 0, reply.stderr.decode()
        assert reply.stderr == b""
        return json.loads(reply.stdout)

    def refused(self, command: str, sr: str = SR, **volumes: Any) -> str:
        """Run the provisioner, which fails. Returns its error."""
        reply = self.ask(command, sr, **volumes)
        assert (reply.returncode, reply.stdout) == (1, b"")
        return reply.stderr.decode()

    def create(self, size: int = EXTENT, **more: str) -> Any:
        return self.done("create", volume=wanted(size, **more))["volume"]

    def io(self, volume: Any, generation: int, *commands: str) -> str:
        """Serve a volume, and run qemu-io commands on it."""
        nbd, control = f"{self.addresses[0]}:20000", f"{self.addresses[0]}:20001"
        words = [word for target in volume["targets"] for word in ("-t", target)]
        with subprocess.Popen(
            # With the token, so that the keeper ends it.
            [self.token, *words, "-g", str(generation), "--address", nbd, "--control", control],
            executable=crucible_bin() / "crucible-nbd-server",
            stdout=subprocess.PIPE,
        ) as server:
            assert server.stdout is not None
            try:
                while b"NBD advertised size" not in (line := server.stdout.readline()):
                    assert line, f"the server of {volume} has ended"
                words = [word for command in commands for word in ("-c", command)]
                return run(["qemu-io", "-f", "raw", *words, f"nbd://{nbd}/rustnbd"], timeout=60).stdout.decode()
            finally:
                server.kill()


def region_of(target: str) -> str:
    """The UUID of the region behind a target."""
    address, _, port = target.rpartition(":")
    with urllib.request.urlopen(f"http://{address}:{int(port) + 4000}/region-info", timeout=5) as reply:
        return str(json.load(reply)["uuid"])


def wanted(size: int = EXTENT, **more: str) -> dict[str, Any]:
    """The request for a new volume."""
    return {"uuid": str(uuids.uuid4()), "name": "web1 root", "description": "", "size": size, **more}


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Sleds]:
    """One sled: this machine."""
    with ExitStack() as stack:
        yield _sleds(stack, tmp_path, ["local"])


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Sleds]:
    """Three sleds, over the simulator of ssh."""
    with ExitStack() as stack:
        sleds = _sleds(stack, tmp_path, ["root@sled1", "root@sled2", "root@sled3"])
        programs = sleds.directory / "bin"
        programs.mkdir()
        (programs / "ssh").write_text(FAKE_SSH)
        (programs / "ssh").chmod(0o755)
        for sled in ("dir", "root@sled1", "root@sled2", "root@sled3"):
            (sleds.directory / sled).mkdir()
        sleds.environment |= {"SLEDS": str(sleds.directory), "PATH": f"{programs}:{os.environ['PATH']}"}
        yield sleds


def _sleds(stack: ExitStack, directory: Path, destinations: list[str]) -> Sleds:
    addresses = [stack.enter_context(AddressLease()).address for _ in destinations]
    home = directory / "sleds"
    program = home / "crucible-downstairs"
    guard = keeper.Keeper(home, str(program))
    stack.callback(guard.close)
    program.symlink_to(crucible_bin() / "crucible-downstairs")
    config = {
        "sleds": ", ".join(f"{name}={address}" for name, address in zip(destinations, addresses, strict=True)),
        "dir": str(home / "dir"),
        "downstairs": str(program),
    }
    return Sleds(home, config, addresses)


def test_a_volume_is_made_listed_written_and_removed_without_a_trace(local: Sleds) -> None:
    volume = local.create(EXTENT + 1, name='web1\'s "root" $(id)')
    assert volume["size"] == 2 * EXTENT
    assert len(set(volume["targets"])) == 3
    assert volume["regions"] == [region_of(target) for target in volume["targets"]]
    listed = local.done("list")
    assert listed["volumes"] == [volume]
    assert listed["volumes"][0]["name"] == 'web1\'s "root" $(id)'
    assert 0 < listed["free"] <= listed["total"]
    assert "wrote 1048576/1048576" in local.io(volume, 1, "write -P 7 100M 1M", "read -P 0 4M 1M", "flush")
    assert local.done("delete", volume=volume) == {}
    assert local.done("list")["volumes"] == []
    assert local.running() == []
    assert [entry.name for entry in (local.directory / "dir").iterdir()] == [".ports"]
    assert list((local.directory / "dir" / ".ports").iterdir()) == []


def test_create_copy_and_delete_can_be_repeated(local: Sleds) -> None:
    asked = wanted()
    first = local.done("create", volume=asked)
    assert local.done("create", volume=asked) == first
    assert len(local.running()) == 3
    for _ in range(2):
        assert local.done("delete", volume=first["volume"]) == {}


def test_a_copy_has_the_volumes_data_and_is_independent(local: Sleds) -> None:
    volume = local.create()
    local.io(volume, 1, "write -P 7 0 8M", "flush")
    copy = local.done("copy", source=volume, volume=wanted())["volume"]
    assert set(copy["targets"]).isdisjoint(volume["targets"])
    local.io(volume, 2, "write -P 9 0 4k", "flush")
    assert "verification failed" not in local.io(copy, 2, "read -P 7 0 8M", "read -P 0 8M 1M")
    local.done("delete", volume=volume)
    assert local.done("list")["volumes"] == [copy]
    assert "verification failed" not in local.io(copy, 3, "read -P 7 0 8M")


def test_each_copy_is_on_a_sled_of_its_own_where_there_are_three(three: Sleds) -> None:
    volume = three.create(name="it's quoted")
    assert {target.partition(":")[0] for target in volume["targets"]} == set(three.addresses)
    for number in (1, 2, 3):
        regions = list((three.directory / f"root@sled{number}" / volume["uuid"]).glob("region-?"))
        assert len(regions) == 1
    assert three.done("list")["volumes"] == [volume]
    assert "wrote 4096/4096" in three.io(volume, 1, "write 0 4k", "flush")
    three.done("delete", volume=volume)
    assert three.running() == []


def test_a_silent_sled_is_an_error_and_never_a_shorter_list(three: Sleds) -> None:
    volume = three.create()
    (three.directory / "root@sled2").rename(three.directory / "away")
    for command, more in (("list", {}), ("create", {"volume": wanted()}), ("delete", {"volume": volume})):
        complaint = three.refused(command, **more)
        assert "sled root@sled2" in complaint
        assert "No route to host" in complaint
    (three.directory / "away").rename(three.directory / "root@sled2")
    assert three.done("list")["volumes"] == [volume]


def test_a_failed_creation_is_removed_on_every_sled(three: Sleds) -> None:
    asked = wanted()
    # Two regions are created, the third fails.
    full = three.directory / "full"
    room = " || ".join(f"mkdir {three.directory}/region{number} 2>/dev/null" for number in (1, 2))
    full.write_text(f'#!/bin/sh\n[ "$1" != create ] || {room} || {{ echo the disk is full; exit 1; }}\n')
    full.write_text(full.read_text() + f'exec {three.token} "$@"\n')
    full.chmod(0o755)
    complaint = three.refused("create", volume=asked, config={**three.config, "downstairs": str(full)})
    assert "full create: the disk is full" in complaint
    assert three.done("list")["volumes"] == []
    assert three.running() == []
    for number in (1, 2, 3):
        assert not (three.directory / f"root@sled{number}" / asked["uuid"]).exists()


def test_a_run_removes_what_a_killed_run_left(local: Sleds) -> None:
    volume = local.create()
    (local.directory / "dir" / volume["uuid"] / "smblock.json").unlink()
    assert local.done("list")["volumes"] == []
    assert local.create(uuid=volume["uuid"])["size"] == volume["size"]
    assert len(local.running()) == 3


def test_a_repeated_copy_starts_its_downstairs_again(local: Sleds) -> None:
    volume = local.create()
    for pid in local.running():
        keeper.kill(pid, local.token)
    wait_for(lambda: local.running() == [], "all downstairs to die")
    copy = local.done("copy", source=volume, volume=wanted())["volume"]
    assert local.io(copy, 1, "read -P 0 0 4k").count("read 4096/4096") == 1
    assert local.io(volume, 1, "read -P 0 0 4k").count("read 4096/4096") == 1


def test_another_srs_volumes_are_neither_listed_nor_touched(local: Sleds) -> None:
    volume = local.create()
    other = str(uuids.uuid4())
    assert local.done("list", sr=other)["volumes"] == []
    for command, more in (("delete", {"volume": volume}), ("copy", {"source": volume, "volume": wanted()})):
        assert f"belongs to SR {SR}" in local.refused(command, sr=other, **more)
    assert local.done("list")["volumes"] == [volume]


def test_a_volume_that_does_not_fit_is_refused_before_anything_is_made(local: Sleds) -> None:
    complaint = local.refused("create", volume=wanted(1 << 60))
    assert "bytes for each of 3 copies, but the sleds have" in complaint
    assert [entry.name for entry in (local.directory / "dir").iterdir()] == [".ports"]


@pytest.mark.parametrize(
    "mistake, complaint",
    [
        ({"sleds": ""}, "provisioner_sleds: names no sled"),
        ({"sleds": "root@sled1"}, "sled1 is not an IP address: write SSH_DESTINATION=ADDRESS"),
        ({"sleds": "-oProxyCommand=id=10.0.0.1"}, "is not an IP address"),
        ({"sleds": "-v=10.0.0.1"}, "not an ssh destination"),
        ({"sleds": "10.0.0.1, 10.0.0.1"}, "names one sled twice"),
        ({"dir": "regions"}, "provisioner_dir: regions: not an absolute path"),
        ({"downstairs": "/bin/a b"}, "provisioner_downstairs: /bin/a b: not an absolute path"),
        ({"ports": "3810"}, "write FIRST-LAST"),
        ({"ports": "3810-8000"}, "up to 4000 ports"),
    ],
)
def test_a_mistake_in_device_config_is_an_error_that_names_its_key(
    tmp_path: Path, mistake: dict[str, str], complaint: str
) -> None:
    sleds = Sleds(tmp_path, {"sleds": "local=127.1.0.1", "dir": str(tmp_path), **mistake}, ["127.1.0.1"])
    assert complaint in sleds.refused("list")


def test_a_missing_program_is_named_with_its_sled(local: Sleds) -> None:
    local.config["downstairs"] = "/nowhere/crucible-downstairs"
    assert "sled local: create: /nowhere/crucible-downstairs: no such program" in local.refused(
        "create", volume=wanted()
    )
    assert local.done("list")["volumes"] == []
