"""The data path on a host with a kernel of its own: the driver's map beside `rbd map`, and `fio` over both."""

from __future__ import annotations

import json
import time
from pathlib import Path

from bench.rounds import Pair, Samples
from bench.sides import Access
from lab import krbd
from lab.ceph import OneNodeCeph
from lab.dom0 import Dom0, GuestDom0
from lab.tree import stage_sm
from lab.xapi import Settings
from lab.xapi.lab_pool import LabPool, Tree

MAP, UNMAP = "map", "unmap"
# fio's jobs: mode, block size, bytes in all.
_WORK = {
    "fio, 4 KiB random writes": ("randwrite", "4k", "4m"),
    "fio, 4 KiB random reads": ("randread", "4k", "4m"),
    "fio, 64 KiB writes": ("write", "64k", "16m"),
}
_DISK = "64MiB"


def data_path(directory: Path, ceph: OneNodeCeph, driver: Path, access: Access, rounds: int) -> dict[str, Pair]:
    """One disk, mapped in turns by the driver and by hand: the times, and fio's on its device.

    Ours is the SM commands of a plug and an unplug (by blkback, without a tapdisk), in a process that
    has Python and SM loaded; the reference is `rbd map` and `rbd unmap`.
    """
    guest, sm = directory / "guest", directory / "sm"
    guest.mkdir(parents=True)
    sm.mkdir()
    tree = Tree(stage_sm(None, sm), driver, ceph.client_conf(), access.keyring)
    took: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in (MAP, UNMAP, *_WORK)}
    with (
        GuestDom0("bench", guest) as host,
        LabPool([host], tree, directory / "lab.json", Settings(plugins=("cephrbd",))) as pool,
    ):
        sr = pool.xe("sr-create", "type=cephrbd", "shared=true", "name-label=bench", "device-config:datapath=phy",
                     f"device-config:pool={access.pool}", f"device-config:ceph_user={access.user}")  # fmt: skip
        vdi = pool.xe("vdi-create", f"sr-uuid={sr}", "name-label=bench", f"virtual-size={_DISK}")
        vbd = pool.xe("vbd-create", f"vm-uuid={host.control_domain_uuid}", f"vdi-uuid={vdi}", "device=0")
        image = f"{access.pool}/smblock.{sr}.{vdi}.0"

        def ours() -> None:
            took[MAP][0].append(_commands(pool, "vbd-plug", f"uuid={vbd}"))
            _work(host, [mine for mine, _ in took.values()][2:])
            took[UNMAP][0].append(_commands(pool, "vbd-unplug", f"uuid={vbd}"))

        def by_hand() -> None:
            took[MAP][1].append(_timed(host, "rbd", "--id", access.user, "map", "--options", "noudev", image))
            _work(host, [theirs for _, theirs in took.values()][2:])
            (device,) = krbd.devices(host)
            took[UNMAP][1].append(_timed(host, "rbd", "unmap", "--options", "noudev", device))

        ours()  # the first run writes every block once, and is not counted
        for mine, _ in took.values():
            mine.clear()
        for number in range(rounds):
            for turn in (ours, by_hand) if number % 2 == 0 else (by_hand, ours):
                turn()
    return {name: Pair(Samples(mine), Samples(theirs)) for name, (mine, theirs) in took.items()}


def _commands(pool: LabPool, *words: str) -> float:
    """Seconds of the SM commands that an `xe` command takes."""
    mark = len(pool.xapi.commands)
    pool.xe(*words)
    return sum(command.seconds for command in pool.xapi.commands[mark:])


def _timed(host: Dom0, *argv: str) -> float:
    began = time.monotonic()
    host.exec(list(argv), timeout=120).check()
    return time.monotonic() - began


def _work(host: Dom0, took: list[list[float]]) -> None:
    """Run all of fio's jobs on the host's only device; appends the seconds of each job."""
    (device,) = krbd.devices(host)
    for (how, block, size), seconds in zip(_WORK.values(), took, strict=True):
        argv = ["fio", "--name=bench", f"--filename={device}", "--direct=1", "--ioengine=libaio", "--iodepth=16",
                "--randseed=1", f"--rw={how}", f"--bs={block}", "--size=64m", f"--io_size={size}",
                "--output-format=json"]  # fmt: skip
        said = json.loads(host.exec(argv, timeout=120).check())
        seconds.append(said["jobs"][0]["job_runtime"] / 1000)
