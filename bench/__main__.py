"""Measure the driver beside the `rbd` and `ceph` commands.

    python -m bench [--small] [--rounds N] [--store bluestore] [--output FILE]

Starts a one-node Ceph of its own. Writes a page and the plot beside it, and README's part about it if the
page is at its default path. At the end everything else is removed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import report
from bench.bare import Bare, build
from bench.commands import install, whole_commands
from bench.copies import Copies
from bench.datapath import data_path
from bench.listing import SECONDS, listing
from bench.rounds import GIB, TIB, Bench, Findings
from bench.sides import Access, Driver, Reference
from bench.steps import Image
from lab import LabError, run
from lab.ceph import OneNodeCeph
from lab.dom0 import lab_python
from lab.sm_source import SM_DIR, below
from lab.wheel import REPOSITORY

PAGE = REPOSITORY / "docs" / "dev" / "performance.md"
README = REPOSITORY / "README.md"
QUOTA = 4 << 30


def main() -> int:
    options = _parser().parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="smblock-bench-") as directory:
            text, findings = _measure(Path(directory), options)
    except (LabError, subprocess.CalledProcessError) as failure:
        print(f"The bench failed: {failure}", file=sys.stderr)
        return 1
    print(text)
    options.output.write_text(text)
    options.output.with_suffix(".svg").write_text(report.picture(findings))
    if options.output == PAGE:
        README.write_text(report.readme(README.read_text(), findings))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20, help="samples of each operation (default: 20)")
    parser.add_argument("--small", action="store_true", help="scan 10 and 100 VDIs only, to try the bench itself")
    parser.add_argument("--store", choices=("memstore", "bluestore"), default="memstore", help="the OSD's store")
    parser.add_argument("--output", type=Path, default=PAGE, help="the page (default: docs/dev/performance.md)")
    return parser


def _measure(directory: Path, options: argparse.Namespace) -> tuple[str, Findings]:
    rounds = options.rounds
    before = os.getloadavg()[0]
    for name in ("root", "lab"):
        (directory / name).mkdir()
    driver = install(directory / "root")
    with OneNodeCeph(directory / "ceph", store=options.store) as ceph:
        _say("whole SM commands")
        access = prepare(ceph, "commands")
        commands = whole_commands(directory / "lab", ceph, driver, access, rounds)
        _say("create, resize, stat")
        bench = new_bench(ceph, driver, prepare(ceph, "single"), rounds)
        bench.single_operations()
        _say("snapshots and clones")
        access = prepare(ceph, "copies")
        bench = new_bench(ceph, driver, access, rounds, bench.findings)
        copies = new_copies(ceph, bench, access)
        copies.single_operations()
        copies.template()
        copies.at_once(min(rounds, 3))
        copies.of_a_vm(min(rounds, 5))
        copies.creations(max(1, rounds // 2))
        _say("a data pool")
        data = prepare(ceph, "headers", data_pool="data")
        in_pool = new_bench(ceph, driver, data, rounds, bench.findings)
        new_copies(ceph, in_pool, data).in_data_pool()
        _say("changed blocks of 1 TiB")
        copies.changed_blocks(min(rounds, 3))
        _say("recovery")
        bench.recovery(max(1, rounds // 2))
        _say("maps and fio, in a virtual machine")
        access = prepare(ceph, "maps")
        bench.findings.data_path = data_path(directory / "maps", ceph, driver, access, max(1, rounds // 4))
        sizes = _scan_sizes(options)
        _say(f"scans of up to {max(sizes):,} VDIs")
        bench = new_bench(ceph, driver, prepare(ceph, "scans"), rounds, bench.findings)
        bench.scans(sizes)
        _say("the count of a pool's objects")
        access = prepare(ceph, "objects")
        bench = new_bench(ceph, driver, access, rounds, bench.findings)
        listing(ceph, bench, access, seconds=3 if options.small else SECONDS)
        _say("delete, revert")
        access = prepare(ceph, "sizes")
        bench = new_bench(ceph, driver, access, rounds, bench.findings)
        bench.delete("delete, 1 GiB", GIB, rounds)
        copies = new_copies(ceph, bench, access)
        copies.revert()
        # The reference takes half a minute, and then the manager does, too.
        bench.delete("delete, 1 TiB", TIB, 1)
        # Last: the manager then works for minutes. It has one request at a time, so others can run.
        ceph.admin("config", "set", "mgr", "rbd_concurrent_management_ops", "1")
        copies.sizes()
    machine = _machine(options.store, before)
    return report.page(bench.findings, commands, machine, _command(options)), bench.findings


def _command(options: argparse.Namespace) -> str:
    """The command that repeats this measurement."""
    words = ["--small"] if options.small else []
    usual = _parser()
    for name in ("rounds", "store"):
        if getattr(options, name) != usual.get_default(name):
            words.append(f"--{name} {getattr(options, name)}")
    return " ".join(["python -m bench", *words]) if words else "make bench"


def _scan_sizes(options: argparse.Namespace) -> dict[int, int]:
    """How often the reference scans each number of images: at 4,000 each scan takes ten seconds."""
    rounds = options.rounds
    sizes = {10: rounds, 100: rounds}
    if not options.small:
        sizes |= {1000: rounds, 4000: min(rounds, 3), 10000: 1}
    return sizes


def prepare(ceph: OneNodeCeph, pool: str, data_pool: str | None = None) -> Access:
    """A pool with a quota and its user, with the caps that docs/user/ceph-setup.md lists."""
    user = f"bench-{pool}"
    pools = [pool] if data_pool is None else [pool, data_pool]
    for each in pools:
        ceph.create_pool(each)
        ceph.set_quota(each, max_bytes=QUOTA)
    for each in pools:
        # The reference reads the pool's quota, and fails until the manager has reported on the pool.
        ceph.wait_pool_stats(each)
    conf = ceph.directory / "client.conf"
    conf.write_text(ceph.client_conf())
    profiles = ", ".join(f"profile rbd pool={each}" for each in pools)
    keyring = ceph.write_keyring(user, {"mon": "profile rbd", "osd": profiles, "mgr": profiles})
    return Access(conf, user, keyring, pool, data_pool)


def new_bench(ceph: OneNodeCeph, driver: Path, access: Access, rounds: int, findings: Findings | None = None) -> Bench:
    """All sides in one pool, with new SRs: one of ours, one for the program with the limit."""
    core, other = (Driver(below(driver, SM_DIR), access, str(uuid.uuid4())) for _ in range(2))
    rados = ["rados", "--conf", str(ceph.conf), "--pool", access.pool]

    def journal() -> bool:
        return b"op." in run([*rados, "listomapkeys", f"smblock.sr.{core.sr}"], timeout=30).stdout

    def trash() -> str:
        return ceph.rbd("trash", "ls", "--all", access.pool)

    def named(name: str) -> Image:
        return Image(name, json.loads(ceph.rbd("info", "--format", "json", f"{access.pool}/{name}"))["id"])

    core.run(["create", ["aio"], "bench", ""])
    other.run(["create", ["aio"], "limit", ""])
    bare = Bare(build(), access, other, lambda vdi: _record(ceph, access.pool, other.sr, vdi), named)
    return Bench(core, Reference(access), bare, rounds, trash, journal, findings or Findings())


def new_copies(ceph: OneNodeCeph, bench: Bench, access: Access) -> Copies:
    def snapshots(image: str) -> int:
        return len(json.loads(ceph.rbd("snap", "ls", "--all", "--format", "json", f"{access.pool}/{image}")))

    @contextmanager
    def slow() -> Iterator[None]:
        ceph.set_monitor_pace("default")
        yield
        ceph.set_monitor_pace("fast")

    def claim(sr: str, disk: str) -> None:
        owner = {"host": str(uuid.uuid4()), "boot_id": "a boot", "pid": 1, "started": 1, "since": 1}
        record = json.dumps(_record(ceph, access.pool, sr, disk) | {"claim": owner})
        rados = ["rados", "--conf", str(ceph.conf), "--pool", access.pool]
        run([*rados, "setomapval", f"smblock.sr.{sr}", f"vdi.{disk}", record], timeout=30)

    return Copies(bench, access, snapshots, slow, claim)


def _record(ceph: OneNodeCeph, pool: str, sr: str, vdi: str) -> dict[str, Any]:
    """A VDI's record in the catalogue."""
    rados = ["rados", "--conf", str(ceph.conf), "--pool", pool]
    found = run([*rados, "getomapval", f"smblock.sr.{sr}", f"vdi.{vdi}", "/dev/stdout"], timeout=30).stdout.decode()
    return dict(json.loads(found[found.index("{") :]))


def _machine(store: str, load_before: float) -> report.Machine:
    ask = "import platform; print(platform.python_version())"
    return report.Machine(
        cores=os.cpu_count() or 1,
        kernel=platform.release().split("-")[0],
        python=run([lab_python(), "-c", ask], timeout=10).stdout.decode().strip(),
        ceph=" ".join(run(["ceph", "--version"], timeout=10).stdout.decode().split()[:3]),
        store=store,
        load=(load_before, os.getloadavg()[0]),
    )


def _say(what: str) -> None:
    print(f"# {what} …", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
