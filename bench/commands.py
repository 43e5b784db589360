"""Whole SM commands, from their start to their reply, on the simulators of sm and xapi."""

from __future__ import annotations

import subprocess
import time
from collections import defaultdict
from pathlib import Path

from bench.rounds import Samples
from bench.sides import Access
from lab.ceph import OneNodeCeph
from lab.dom0 import LocalDom0, lab_python
from lab.sm_source import SM_DIR
from lab.tree import stage_sm
from lab.wheel import REPOSITORY, built_wheel
from lab.xapi import Settings
from lab.xapi.lab_pool import LabPool, Tree
from lab.xapi.sm_exec import build_call

BARE_IMPORTS = "bare imports of sm"
_DRIVER = f"{SM_DIR}/CephRBDSR"
_BARE = f"{SM_DIR}/bare-imports"


def install(root: Path) -> Path:
    """Install the built wheel below a new root, and return the root."""
    argv: list[str | Path] = [REPOSITORY / "install.sh", "--root", root, "--wheel", built_wheel()]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    return root


def whole_commands(directory: Path, ceph: OneNodeCeph, driver: Path, access: Access, rounds: int) -> dict[str, Samples]:
    """Times by command, and those of an interpreter that only makes the imports of every driver."""
    took: defaultdict[str, list[float]] = defaultdict(list)
    host_directory, sm = directory / "host", directory / "sm"
    host_directory.mkdir()
    sm.mkdir()
    tree = Tree(stage_sm(None, sm), driver, ceph.client_conf(), access.keyring)
    with (
        LocalDom0("bench", host_directory) as host,
        LabPool([host], tree, directory / "lab.json", Settings(plugins=("cephrbd",))) as pool,
    ):
        bare = f"#!{lab_python()}\nimport SR, VDI, SRCommand, blktap2, util, xs_errors\n"
        host.put(_BARE, bare.encode(), mode=0o755)
        ask = [_DRIVER, build_call("sr_get_driver_info", {})]
        sr = pool.xe("sr-create", "type=cephrbd", "shared=true", "name-label=bench",
                     f"device-config:pool={access.pool}", f"device-config:ceph_user={access.user}")  # fmt: skip
        for number in range(10):
            pool.xe("vdi-create", f"sr-uuid={sr}", f"name-label={number}", "virtual-size=1GiB")
        pool.xe("sr-scan", f"uuid={sr}")
        mark = len(pool.xapi.commands)
        for _ in range(rounds):
            for name, argv in ((BARE_IMPORTS, [_BARE]), ("sr_get_driver_info", ask)):
                began = time.monotonic()
                host.sm(argv).check()
                took[name].append(time.monotonic() - began)
            vdi = pool.xe("vdi-create", f"sr-uuid={sr}", "name-label=bench", "virtual-size=1GiB")
            pool.xe("vdi-resize", f"uuid={vdi}", "disk-size=2GiB")
            pool.xe("vdi-destroy", f"uuid={vdi}")
            pool.xe("sr-scan", f"uuid={sr}")
        disk = pool.xe("vdi-create", f"sr-uuid={sr}", "name-label=bench", "virtual-size=1GiB")
        for _ in range(rounds):
            snapshot = pool.xe("vdi-snapshot", f"uuid={disk}")
            pool.xe("vdi-clone", f"uuid={snapshot}")
        for command in pool.xapi.commands[mark:]:
            took[command.name].append(command.seconds)
    return {name: Samples(seconds) for name, seconds in took.items()}
