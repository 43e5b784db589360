"""Each command of docs/user/monitoring.md is run as it stands there, but for the names in capitals."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.cephrbd import CephSr, RbdPool
from lab.dom0 import Dom0
from lab.wheel import REPOSITORY
from tests.alarms import alarms, check_srs

PAGE = REPOSITORY / "docs/user/monitoring.md"
DIRECTORY = "/var/lib/node_exporter"
DASHBOARD = "/usr/share/smblock/grafana/smblock.json"
# The monitoring machine's ssh: it runs the command on this host.
SSH = b'#!/bin/sh\nshift\nexec env PATH="/opt/xensource/sm:$PATH" "$@"\n'


def commands() -> list[str]:
    """The lines of the page's blocks without a language."""
    blocks = re.findall(r"^```\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in re.sub(r"\\\n\s*", "", block).splitlines() if line]


@pytest.fixture(scope="module")
def sr(shared_rbd_pool: RbdPool) -> CephSr:
    """An SR with an alarm."""
    sr = shared_rbd_pool.create_sr("monitored")
    db = sr.lab.xapi.pool.db
    db.set("SR", db.by_uuid("SR", sr.uuid), "shared", False)
    check_srs(sr.lab.hosts[0], sr)
    (alarm,) = alarms(sr.lab, sr.uuid)
    assert alarm.name == "smblock_sr_not_shared"
    return sr


@pytest.fixture(scope="module")
def typed(sr: CephSr, driver_tree: Path) -> Callable[[str], str]:
    """Types a line of the page, with the names of this lab. Returns what it prints."""
    lab, host = sr.lab, sr.lab.hosts[0]
    host.put("/run/page/installed.json", (driver_tree / DASHBOARD.lstrip("/")).read_bytes())
    (message,) = lab.list("message", f"obj-uuid={sr.uuid}")
    names = {"SR": sr.uuid, "HOST": host.uuid, "XCP1": host.name, "MESSAGE": message, "POOL": lab.list("pool")[0]}

    def run(line: str) -> str:
        line = re.sub(r"\b(SR|HOST|XCP1|MESSAGE|POOL)\b", lambda found: names[found[0]], line)
        line = line.replace("smblock_alarm.smblock_usage", "smblock_alarm.smblock_sr_not_shared")
        # The hosts of this lab have the machine's /usr, where install.sh has placed nothing.
        line = line.replace(DASHBOARD, "/run/page/installed.json")
        if line.startswith("xe "):
            return lab.xe(*shlex.split(line)[1:])
        return shell(host, line)

    return run


def shell(host: Dom0, line: str) -> str:
    """Runs a line in a shell of the host, which has `smblock` and `ssh`."""
    host.put("/run/page/ssh", SSH, 0o755)
    link = "mkdir -p /run/page && ln -sf /opt/xensource/sm/smblock-admin /run/page/smblock"
    prepare = f"{link} && mkdir -p {DIRECTORY} && cd /run/page && export PATH=/run/page:$PATH && "
    done = host.exec(["sh", "-c", prepare + line], timeout=120)
    assert done.stderr == b"", line
    return done.check().decode()


def test_each_command_of_the_page_works_in_its_order(typed: Callable[[str], str], sr: CephSr) -> None:
    printed = {line: typed(line) for line in commands()}
    assert len(printed) > 12
    of = {line.partition(" ")[2]: text for line, text in printed.items()}
    assert "smblock_sr_not_shared" in of["message-list name=ALARM"]
    assert sr.lab.list("message", f"obj-uuid={sr.uuid}") == []
    assert "smblock_alarm.smblock_sr_not_shared: " in of["sr-param-get uuid=SR param-name=other-config"]
    health = json.loads(of["host-call-plugin host-uuid=HOST plugin=smblock fn=health args:sr=SR"])
    assert health["srs"][0]["sr"] == sr.uuid
    assert json.loads(of["host-call-plugin host-uuid=HOST plugin=smblock fn=doctor args:sr=SR"])["findings"]
    host = sr.lab.hosts[0]
    for name in (host.name, "smblock"):
        text = host.get(f"{DIRECTORY}/{name}.prom").decode()
        assert f'sr="{sr.uuid}"' in text
    assert json.loads(host.get("/run/page/smblock-dashboard.json"))["title"] == "smblock"
    # The page promises that the alarm comes again.
    check_srs(host, sr)
    check_srs(host, sr)
    assert [alarm.name for alarm in alarms(sr.lab, sr.uuid)] == ["smblock_sr_not_shared"]
    host.exec(["rm", "-r", "/run/page", DIRECTORY]).check()
