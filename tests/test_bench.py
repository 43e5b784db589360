"""What `make bench` calls, and its report from given numbers."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from xml.etree import ElementTree

from bench.__main__ import new_bench, new_copies, prepare
from bench.commands import install
from bench.copies import VM_SNAPSHOT
from bench.goals import verdict
from bench.listing import listing
from bench.plot import Bar, plot
from bench.report import readme
from bench.rounds import Findings, Pair, Samples
from lab.ceph import OneNodeCeph
from lab.wheel import REPOSITORY

SVG = "{http://www.w3.org/2000/svg}"


def pair(ours: float, reference: float) -> Pair:
    return Pair(Samples([ours]), Samples([reference]))


def test_a_goal_is_met_or_missed_by_a_printed_amount() -> None:
    assert verdict(0.5, 0.5) == "met"
    assert verdict(0.75, 0.5) == "missed by 50 %"


def test_the_plot_shows_each_operation_goal_and_number_of_disks() -> None:
    bars = [Bar("quick & good", 70.3, 50), Bar("slow", 0.8, 4), Bar("without a goal", 2, None)]
    drawn = ElementTree.fromstring(plot(bars, {10: 0.04, 1000: 0.06}, {10: 0.1, 1000: 4.0}))
    texts = {text.text for text in drawn.iter(f"{SVG}text")}
    assert {"quick & good", "70.3", "slow", "0.8", "without a goal", "1,000", "smblock", "rbd ls -l"} <= texts
    background, *rows = drawn.iter(f"{SVG}rect")
    widths = [float(row.attrib["width"]) for row in rows]
    assert widths[0] > widths[2] > widths[1] == 0
    goals = [line for line in drawn.iter(f"{SVG}line") if float(line.attrib["stroke-width"]) > 1]
    assert len(goals) == 2


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


def test_the_count_of_objects_is_measured_beside_bare_librados(ceph: OneNodeCeph, tmp_path: Path) -> None:
    access = prepare(ceph, "bench-objects")
    bench = new_bench(ceph, install(tmp_path), access, rounds=1)
    found = listing(ceph, bench, access, tmp_path, seconds=1)
    assert found.objects > 100
    assert found.pair.reference.median > 0


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
