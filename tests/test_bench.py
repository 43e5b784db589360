"""What `make bench` calls, and its report from given numbers."""

from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import Path
from uuid import uuid4
from xml.etree import ElementTree

import pytest

from bench.__main__ import new_bench, new_copies, prepare
from bench.bare import Run
from bench.commands import install
from bench.copies import VM_SNAPSHOT
from bench.goals import LIMIT, limited, verdict
from bench.listing import COUNT, listing
from bench.plot import Bars, plot
from bench.report import profile, readme
from bench.rounds import GIB, LOADING, Findings, Pair, Parts, Samples, side_by_side
from lab import LabError
from lab.ceph import OneNodeCeph
from lab.wheel import REPOSITORY

SVG = "{http://www.w3.org/2000/svg}"
TABLE = REPOSITORY / "rust" / "sr-ceph" / "tests" / "on_ceph" / "round_trips" / "table.rs"
LOCAL = TABLE.with_name("local.rs")


def pair(ours: float, reference: float, limit: float | None = None) -> Pair:
    return Pair(Samples([ours]), Samples([reference]), None if limit is None else Samples([limit] * 3))


def findings() -> Findings:
    """With a stat, a scan and one slow operation."""
    found = Findings(pairs={"stat": pair(0.019, 0.14, 0.018), "slow": pair(0.03, 0.1, 0.02)})
    found.parts = {name: Parts(Samples([0.004]), Samples([0.003])) for name in found.pairs}
    found.single = {LOADING.format(library): Samples([0.01]) for library in ("librados.so.2", "librbd.so.1")}
    found.creations, found.at_once = pair(1, 2), pair(1, 2)
    return found


def test_a_goal_is_met_or_missed_by_a_printed_amount() -> None:
    assert verdict(0.5, 0.5) == "met"
    assert verdict(0.75, 0.5) == "missed by 50 %"


def test_each_side_is_first_in_its_turn_and_a_slow_rival_has_fewer_rounds() -> None:
    turns: list[str] = []

    def side(name: str) -> float:
        turns.append(name)
        return 1.0

    found = side_by_side(lambda: side("ours"), lambda: side("rival"), 4, 3, limit=lambda: side("limit"))
    assert "".join(turn[0] for turn in turns) == "orlrlolorol"
    assert found.limit is not None
    assert [len(samples.seconds) for samples in (found.ours, found.reference, found.limit)] == [4, 3, 4]


def test_the_page_states_where_the_time_goes_beyond_the_limit() -> None:
    text = " ".join(profile(findings()).split())
    assert "*slow* takes 30.0 ms, 10.0 ms more than its limit. 1.0 ms of them are between its calls" in text
    assert "9.0 ms in opening the libraries" in text
    assert "*stat*" not in text
    assert [(each.name, each.share > LIMIT) for each in limited(findings())] == [("stat", False), ("slow", True)]


def test_the_plot_shows_each_side_of_each_operation_and_number_of_disks() -> None:
    bars = [
        Bars("quick & good", {"rbd and ceph": 0.16, "smblock": 0.02, "limit: the same calls, bare": 0.016}),
        Bars("without a rival", {"smblock": 0.5, "limit: the same calls, bare": 0.5}),
    ]
    scans = {side: {10: 0.04 * n, 1000: 0.06 * n} for n, side in enumerate(bars[0].seconds, 1)}
    drawn = ElementTree.fromstring(plot(bars, scans))
    texts = {text.text for text in drawn.iter(f"{SVG}text")}
    assert {"quick & good", "1.25", "without a rival", "1.00", "1,000", "smblock", "rbd and ceph", "limit"} <= texts
    background, *rows = drawn.iter(f"{SVG}rect")
    widths = [float(row.attrib["width"]) for row in rows]
    assert len(widths) == 5
    assert widths[0] > widths[1] > widths[2]
    assert len(list(drawn.iter(f"{SVG}polyline"))) == 3


def test_readme_has_a_place_for_the_ratios_and_keeps_the_rest() -> None:
    findings = Findings(scans={1000: pair(1, 70)})
    names = ("create", "clone of a template", "stat", "delete, 1 TiB")
    findings.pairs.update({name: pair(1, 8.76) for name in names})
    before = (REPOSITORY / "README.md").read_text()
    after = readme(before, findings)
    assert "| list an SR of 1,000 disks" in after
    assert "| 1/70 " in after
    assert "| 1/8.8 " in after
    start, end = "<!-- bench -->", "<!-- /bench -->"
    assert after.partition(start)[0] == before.partition(start)[0]
    assert after.partition(end)[2] == before.partition(end)[2]


def table() -> dict[str, dict[str, int]]:
    """The driver's calls of each operation, without those that send nothing."""
    text = TABLE.read_text()
    rows = re.findall(r'\(\s*"([A-Z]+\.[^"]+)",\s*&\[(.*?)\]', text, re.DOTALL)
    return {name: {call: int(n) for call, n in re.findall(r'\("(\w+)", (\d+)\)', calls)} for name, calls in rows}


def made(run: Run) -> dict[str, int]:
    """What a run of the program with the limit has called, as in the table."""
    local = set(re.findall(r'^    "(\w+)",$', LOCAL.read_text(), re.MULTILINE))
    assert run.made["rados_connect"] == run.made["rados_shutdown"] == 1
    return {name: n for name, n in run.made.items() if name not in local | {"rados_connect", "rados_shutdown"}}


def test_the_limit_of_an_operation_has_the_calls_of_the_driver(ceph: OneNodeCeph, tmp_path: Path) -> None:
    access = prepare(ceph, "bench-limit")
    bench = new_bench(ceph, install(tmp_path), access, rounds=1)
    copies = new_copies(ceph, bench, access)
    bare, driver, steps = bench.bare, bench.bare.driver, bench.bare.steps
    disk, second, tracked, *others = bench.disks(20, GIB, driver)
    snapshot, older, newer, cloned = (str(uuid4()) for _ in range(4))
    expected = table()

    def check(name: str, *commands: list[str]) -> None:
        for run, row in zip([bare.run(command) for command in commands], name.split(" + "), strict=True):
            assert made(run) == expected[row], row

    check("SR.scan of 20 VDIs", steps.scan())
    check("SR.update", steps.stat())
    check("VDI.create", steps.create(str(uuid4()), GIB))
    check("VDI.resize", steps.resize(disk, bare.image(disk), 2 * GIB))
    check("VDI.snapshot", steps.snapshot(disk, bare.image(disk), str(uuid4())))
    driver.run(["snapshot_vdi", disk, snapshot], ["revert_vdi", disk, snapshot])
    driver.run(["clone_vdi", second, cloned, "persist"])
    check("VDI.clone of a snapshot", steps.clone_of_snapshot(snapshot, bare.snapshot(snapshot), str(uuid4())))
    base = bare.base(second)
    check("VDI.clone of a disk, the next one", steps.clone_of_disk(second, base, GIB, str(uuid4())))
    check("VDI.revert", steps.revert(disk, bare.image(disk), snapshot, bare.snapshot(snapshot)))
    driver.run(["track_changes", tracked, True], ["snapshot_vdi", tracked, older], ["snapshot_vdi", tracked, newer])
    points = (older, bare.snapshot(older), newer, bare.snapshot(newer))
    check("VDI.list_changed_blocks", steps.changed_blocks(*points, GIB))
    check("VDI.delete", steps.delete(others[0], bare.image(others[0])))
    for vdi in others[1:3]:
        copies.claim(driver.sr, vdi)
    of_vm = steps.snapshots_of_a_vm([(vdi, bare.image(vdi)) for vdi in others[1:3]], [str(uuid4()), str(uuid4())])
    both = [f"VDI.snapshot of a VM's 2 disks, the {which}" for which in ("first", "second")]
    check(" + ".join(both), *of_vm)


def test_a_call_of_the_limit_that_fails_ends_the_bench(ceph: OneNodeCeph, tmp_path: Path) -> None:
    access = prepare(ceph, "bench-failure")
    bare = new_bench(ceph, install(tmp_path), access, rounds=1).bare
    with pytest.raises(LabError, match="rados_read_op_operate: No such file or directory"):
        bare.run(["list nothing"])
    with pytest.raises(LabError, match="unknown step"):
        bare.run(["dance"])


def test_the_count_of_objects_is_measured_beside_bare_librados(ceph: OneNodeCeph, tmp_path: Path) -> None:
    access = prepare(ceph, "bench-objects")
    bench = new_bench(ceph, install(tmp_path), access, rounds=1)
    listing(ceph, bench, access, seconds=1)
    assert bench.findings.objects > 100
    assert bench.findings.pairs[COUNT].limit is not None


def test_the_bench_calls_the_driver_as_the_driver_expects(ceph: OneNodeCeph, tmp_path: Path) -> None:
    access = prepare(ceph, "bench-calls")
    bench = new_bench(ceph, install(tmp_path), access, rounds=1)
    bench.single_operations()
    copies = new_copies(ceph, bench, access)
    copies.single_operations()
    copies.slow = nullcontext
    copies.of_a_vm(rounds=1)
    assert set(bench.findings.pairs) == {"create", "resize", "stat", "clone of a snapshot", "snapshot", VM_SNAPSHOT}
    assert set(bench.findings.footprints) == {
        *("create", "resize", "stat", "scan", "delete"),
        *("snapshot", "clone of a snapshot", "revert"),
    }
