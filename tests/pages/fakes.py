"""What a host of the pages has besides SM: xapi's files, rpm's database, and programs that are fakes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from lab.sm_source import SITE_PACKAGES
from lab.wheel import REPOSITORY
from lab.xapi.cli.main import LAB_FILE
from tests import dom0_fakes, dom0_root

# The administrator's directory on a host: /root is this machine's own there.
HOME = "/var/home"
HOST_LAB_FILE = "/etc/lab.json"
_DNF = "[main]\nassumeyes=1\ngpgcheck=0\nreposdir=/etc/yum.repos.d\nclean_requirements_on_remove=0\n"
_RPM = '#!/bin/sh\n# Debian\'s rpm warns that it is not apt.\nexec /usr/bin/rpm --force-debian "$@"\n'
_RESTART = """#!/bin/sh
# A fake of xe-toolstack-restart: systemd runs what the drop-ins of xapi name, then xapi starts.
cat /etc/systemd/system/xapi.service.d/*.conf 2>/dev/null | sed -n 's/^ExecStartPre=-//p' | sh
exec {on_host} "$(hostname)" --restart-toolstack
"""
_SCP = """#!/bin/sh
# A fake of scp: it copies files to a directory of one host.
for last; do :; done
host=${{last%%:*}}
while [ "$#" -gt 1 ]; do
    case $1 in
    -*) ;;
    *) {on_host} "${{host#root@}}" "--put $(readlink -f "$1") ${{last#*:}}" || exit ;;
    esac
    shift
done
"""


def make_scp(directory: Path, on_host: str) -> None:
    """Puts a fake of scp into a directory. `on_host` is the command that copies a file to a host."""
    _program(directory / "scp", _SCP.format(on_host=on_host))


def host_tree(directory: Path, packages: list[Path], on_host: str) -> Path:
    """Makes the files of a host in an empty directory; its rpm has the packages. Returns the directory."""
    root = dom0_root.make_configuration(directory, "8.3")
    xe = f'exec env {LAB_FILE}={HOST_LAB_FILE} {sys.executable} {REPOSITORY / "lab/xe"} "$@"'
    for path, text in {
        "opt/xensource/bin/xe": f"#!/bin/sh\n{xe}\n",
        "opt/xensource/bin/xe-toolstack-restart": _RESTART.format(on_host=on_host),
        "opt/xensource/bin/rpm": _RPM,
        "usr/bin/yum": '#!/bin/sh\nexec dnf --releasever=9 "$@"\n',
        "usr/bin/systemctl": dom0_fakes.SYSTEMCTL,
        "usr/sbin/modinfo": dom0_fakes.MODINFO,
    }.items():
        _program(root / path, text)
    for path, text in {
        "etc/dnf/dnf.conf": _DNF,
        "etc/rpm/macros": "%_dbpath /var/lib/rpm\n",
        "run/fake-modules": "rbd\nnbd\n",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    # A simulator of SM has it beside its own modules; a host's is Python's.
    site = root / SITE_PACKAGES.lstrip("/")
    site.mkdir(parents=True)
    shutil.copy(REPOSITORY / "lab/sm/XenAPI.py", site)
    for empty in (HOME, "/etc/yum.repos.d", "/opt/xensource/libexec"):
        (root / empty.lstrip("/")).mkdir(parents=True, exist_ok=True)
    argv = ["rpm", "--dbpath", str(root / "var/lib/rpm"), "--justdb", "--force-debian", "-i", *map(str, packages)]
    subprocess.run(argv, capture_output=True, timeout=60, check=True)
    return root


def _program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
