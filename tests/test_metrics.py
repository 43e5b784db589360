"""`smblock metrics` read by Prometheus's own parser, and the dashboard and the page compared with it."""

from __future__ import annotations

import json
import re
import stat
from collections import defaultdict
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lab.cephrbd import CephRbdLab, CephSr, RbdPool
from lab.wheel import REPOSITORY

DASHBOARD = REPOSITORY / "packaging/grafana/smblock.json"
PAGE = REPOSITORY / "docs/user/monitoring.md"
NAME = 'a "name" \\ with\nlines, ünïcödé & <x>'
QUOTA = 4 << 30
LABELS = {"host", "sr", "sr_name", "type", "pool"}
# What is no label or metric in PromQL.
WORDS = {"sum", "min", "max", "by", "count", "label_values"}

Metrics = dict[str, list[tuple[dict[str, str], float]]]


@pytest.fixture(scope="module")
def sr(shared_rbd_pool: RbdPool) -> CephSr:
    sr = shared_rbd_pool.create_sr("metrics")
    sr.lab.ceph.admin("osd", "pool", "set-quota", sr.pool.name, "max_bytes", str(QUOTA))
    sr.lab.xe("sr-param-set", f"uuid={sr.uuid}", f"name-label={NAME}")
    return sr


def parse(page: str) -> Metrics:
    """The samples of a page by name; AssertionError unless each metric is a gauge with a text."""
    found: Metrics = defaultdict(list)
    for family in text_string_to_metric_families(page):
        assert (family.type, bool(family.documentation)) == ("gauge", True), family.name
        assert family.name.startswith("smblock_")
        found[family.name] += [(sample.labels, sample.value) for sample in family.samples]
    return found


def metrics(lab: CephRbdLab, host: int = 0) -> Metrics:
    page = lab.admin("metrics", host=host).check().decode()
    assert page.endswith("\n")
    names = re.findall(r"^# TYPE (\S+)", page, re.MULTILINE)
    assert len(names) == len(set(names))
    return parse(page)


def of(sr: CephSr, found: Metrics, name: str) -> float:
    ((labels, value),) = [sample for sample in found[name] if sample[0].get("sr") == sr.uuid]
    assert set(labels) == LABELS
    return value


def test_the_metrics_of_an_sr_are_what_the_status_shows(sr: CephSr) -> None:
    vdi = sr.create_vdi("disk")
    sr.lab.xe("vdi-snapshot", f"uuid={vdi}")
    (status,) = json.loads(sr.lab.admin("status", sr.uuid, "--json").check())
    found = metrics(sr.lab)
    assert of(sr, found, "smblock_sr_up") == 1
    for name, key in (
        ("size_bytes", "size"),
        ("quota_bytes", "quota_bytes"),
        ("virtual_allocation_bytes", "allocated"),
        ("vdis", "disks"),
        ("snapshots", "snapshots"),
    ):
        assert of(sr, found, f"smblock_sr_{name}") == status[key], name
    assert of(sr, found, "smblock_sr_size_bytes") == QUOTA
    # The statistics of the pool may arrive between the two commands.
    assert of(sr, found, "smblock_sr_free_bytes") == pytest.approx(status["free"], abs=1 << 20)
    assert of(sr, found, "smblock_sr_reserve_bytes") == QUOTA // 16
    for name in ("host_claims", "claims", "journal_entries", "reclaim_backlog_images", "host_devices_cut_off"):
        assert of(sr, found, f"smblock_sr_{name}") == 0, name
    assert 0 < of(sr, found, "smblock_sr_check_duration_seconds") < 60
    ((labels, _),) = [each for each in found["smblock_sr_up"] if each[0]["sr"] == sr.uuid]
    assert labels["sr_name"] == NAME
    assert (labels["pool"], labels["type"]) == (sr.pool.name, "cephrbd")
    ((info, one),) = found["smblock_info"]
    assert (set(info), one) == ({"host", "version"}, 1)


def test_an_sr_that_cannot_be_read_is_down_and_does_not_hide_another(sr: CephSr) -> None:
    lost = sr.pool.create_sr("lost")
    sr.pool.rados("rm", lost.catalogue)
    found = metrics(sr.lab, host=1)
    assert of(lost, found, "smblock_sr_up") == 0
    assert of(sr, found, "smblock_sr_up") == 1
    assert [labels["sr"] for labels, _ in found["smblock_sr_vdis"]].count(lost.uuid) == 0
    failures = {
        labels["sr"]: count for labels, count in found["smblock_sr_findings"] if labels["severity"] == "failure"
    }
    assert failures[lost.uuid] == 1
    lost.unplug()
    assert lost.uuid not in [labels["sr"] for labels, _ in metrics(sr.lab, host=1)["smblock_sr_up"]]
    sr.lab.xe("sr-forget", f"uuid={lost.uuid}")


def test_the_output_file_is_replaced_as_a_whole_and_others_may_read_it(sr: CephSr) -> None:
    host = sr.lab.hosts[0]
    path = "/run/smblock-test/smblock.prom"
    host.put(path, b"old")
    sr.lab.admin("metrics", "--output", path).check()
    assert of(sr, parse(host.get(path).decode()), "smblock_sr_up") == 1
    mode = int(host.exec(["stat", "-c", "%f", path]).check(), 16)
    assert stat.S_IMODE(mode) == 0o644
    assert host.exec(["ls", "-A", "/run/smblock-test"]).check() == b"smblock.prom\n"
    refused = sr.lab.admin("metrics", "--output", "/no/such/directory/x")
    assert refused.returncode == 1
    assert b"cannot write /no/such/directory/x: " in refused.stderr
    host.exec(["rm", "-r", "/run/smblock-test"]).check()


def expressions(dashboard: dict[str, Any]) -> list[str]:
    panels = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return panels + [each["query"]["query"] for each in dashboard["templating"]["list"] if each["type"] == "query"]


def test_each_expression_of_the_dashboard_uses_metrics_and_labels_that_exist(sr: CephSr) -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    names: dict[str, set[str]] = {}
    for name, samples in metrics(sr.lab).items():
        names[name] = {label for labels, _ in samples for label in labels}
    used: set[str] = set()
    found = expressions(dashboard)
    assert len(found) > 15
    for expression in found:
        words = re.sub(r'"[^"]*"', '""', expression)
        in_it = set(re.findall(r"smblock_\w+", words))
        assert in_it, expression
        assert in_it <= set(names), expression
        labels = set(re.findall(r"[a-z_]+", words)) - in_it - WORDS
        assert labels <= set.union(*(names[name] for name in in_it)), expression
        used |= in_it
    legends = {word for panel in dashboard["panels"] for target in panel["targets"]
               for word in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])}  # fmt: skip
    assert legends <= LABELS
    variables = {each["name"] for each in dashboard["templating"]["list"]}
    assert {word for text in found for word in re.findall(r"\$(\w+)", text)} <= variables
    assert set(names) - used <= {"smblock_sr_quota_objects"}, "a metric without a panel"
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_the_page_describes_each_metric(sr: CephSr) -> None:
    text = PAGE.read_text()
    page = sr.lab.admin("metrics").check().decode()
    names = set(re.findall(r"^# TYPE (\S+)", page, re.MULTILINE))
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith(("| `smblock_sr", "| `smblock_info"))]
    described = {name for row in rows for name in re.findall(r"`(smblock_\w+)`", row)}
    assert described - {"smblock_sr_unreadable", "smblock_sr_not_shared"} == names
