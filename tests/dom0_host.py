"""A root directory in which install.sh and rpm run as on a host of XCP-ng, by chroot.

Real: Python (3.6 for 8.3 if this machine has it), rpm, the shell, the files. Simulated: SM, by the lab's simulator, as
flat modules for 8.3 and as a package for 9. Fakes: `tests.dom0_fakes`.
"""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path

from lab.tree import stage_sm
from lab.wheel import pythons
from tests import dom0_fakes, dom0_root

SM_DIR = "opt/xensource/sm"
SITE_PACKAGES = "opt/xensource/site-packages"
_PYTHON_SERIES = {"8.3": "3.6", "9": "3.12"}
# Directories of the host's own packages.
_OWNED = ("etc/modules-load.d", "etc/rpm", "etc/systemd/system", "etc/xensource/bugtool", "opt/xensource/libexec")
_USR_MERGED = ("bin", "lib", "lib64", "sbin")
# Mounts what a root needs: this machine's /usr under the root's own, and the release.
_MOUNT = """
mount -t overlay none -o "lowerdir=/usr,upperdir={upper},workdir={work}" "{root}/usr"
mount --rbind /proc "{root}/proc"
mount --rbind /dev "{root}/dev"
mount --bind "{package}" "{root}/mnt"
"""
# SM 4 as the driver sees it: a package with the flat simulator's modules.
_SM_4 = """
import sys
sys.path.append("/opt/xensource/site-packages/simulator")
import SR, VDI, SRCommand, blktap2, util, xs_errors, lock
for name in ("SR", "VDI", "SRCommand", "blktap2"):
    sys.modules["sm." + name] = sys.modules[name]
for name in ("util", "xs_errors", "lock"):
    sys.modules["sm.core." + name] = sys.modules[name]
"""


class Host:
    """One host. `package` is the directory that is at /mnt in it: a release of smblock."""

    def __init__(self, directory: Path, kind: str, package: Path, address: str = "10.0.0.1") -> None:
        self.address = address
        self.root = directory / "root"
        self.kind = kind
        self.package = package
        self.uuid = str(uuid.uuid5(uuid.NAMESPACE_DNS, str(directory)))
        # Other hosts that the fake of ssh reaches from here.
        self.peers: list[Host] = []
        self._upper, self._work = directory / "usr", directory / "work"
        for path in (self.root, self._upper / "bin", self._upper / "sbin", self._work):
            path.mkdir(parents=True)
        for name in ("usr", "proc", "dev", "mnt", "run", "root", "tmp", "var/tmp", "var/lib", *_OWNED):
            (self.root / name).mkdir(parents=True)
        for name in _USR_MERGED:
            (self.root / name).symlink_to(f"usr/{name}")
        dom0_root.make_configuration(self.root, kind)
        (self.root / "etc/xensource-inventory").write_text(f"INSTALLATION_UUID='{self.uuid}'\n")
        # Where a host's rpm has its database; Debian's has it in the home directory.
        (self.root / "etc/rpm/macros").write_text("%_dbpath /var/lib/rpm\n")
        (self.root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        self._place_sm()
        self._place_fakes(address)
        series = _PYTHON_SERIES[kind.partition("-")[0]]
        python = pythons().get(series)
        self._python_prefix: Path | None = None
        if python is not None and not python.is_relative_to("/usr"):
            (self._upper / "bin/python3").symlink_to(python)
            self._python_prefix = python.parent.parent
            (self.root / self._python_prefix.relative_to("/")).mkdir(parents=True)

    def run(self, *argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs a command on the host."""
        return self._run([f'exec chroot {self.root} "$@"'], argv, environment)

    def rpm(self, *argv: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs rpm on the host's own database; the files of packages are named as on this machine."""
        (self.root / "var/lib/rpm").mkdir(exist_ok=True)
        command = f'exec rpm --root {self.root} --dbpath /var/lib/rpm "$@"'
        done = self._run([command], [str(argument) for argument in argv], environment)
        # Debian's rpm prints this with each call.
        lines = done.stderr.splitlines()
        done.stderr = "\n".join(line for line in lines if not line.startswith(("rpm: RPM should", "rpm: However")))
        return done

    def outside(self, *argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs a command of this machine that works on the host's root."""
        return self._run(['exec "$@"'], argv, environment)

    def _run(
        self, last: list[str], argv: Sequence[str], environment: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        script = ["set -eu", self._mounts()]
        for peer in self.peers:
            place = self.root / "media" / peer.address
            place.mkdir(parents=True, exist_ok=True)
            script += [peer._mounts(), f"mount --rbind {peer.root} {place}"]
        script += last
        enter = ["unshare", "--mount", "--propagation", "private", "sh", "-c", "\n".join(script), "sh"]
        everything = {
            "PATH": "/opt/xensource/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONPATH": f"/{SITE_PACKAGES}",
            "LC_ALL": "C.UTF-8",
            **environment,
        }
        return subprocess.run([*enter, *argv], env=everything, capture_output=True, text=True, timeout=120, check=False)

    def _mounts(self) -> str:
        mounts = _MOUNT.format(root=self.root, upper=self._upper, work=self._work, package=self.package)
        if self._python_prefix is not None:
            mounts += f'mount --bind "{self._python_prefix}" "{self.root}{self._python_prefix}"\n'
        return mounts

    def install(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs install.sh of the package."""
        return self.run("/mnt/install.sh", *arguments, **environment)

    def tree(self) -> dict[str, object]:
        """What is on the host's disk, without what is mounted and what is gone after a boot."""
        found = dom0_root.tree(self.root)
        volatile = ("run/", "tmp/", "root/", "proc/", "dev/", "mnt/", "media", "var/lib/rpm")
        kept = {name: content for name, content in found.items() if not name.startswith(volatile)}
        # Directories of /usr are the machine's own: only their files are the host's.
        kept |= {f"usr/{name}": content for name, content in dom0_root.tree(self._upper).items() if content is not None}
        return kept

    def set_python(self, text: str) -> None:
        """Has another program as /usr/bin/python3."""
        python = self._upper / "bin/python3"
        python.unlink(missing_ok=True)
        python.write_text(text)
        python.chmod(0o755)

    def effective_types(self) -> list[str]:
        """The types that xapi allows when it starts next."""
        return dom0_root.effective_types(self.root)

    def xapi(self) -> dict[str, dict[str, dict[str, object]]]:
        """The fake xapi's database."""
        found: dict[str, dict[str, dict[str, object]]] = json.loads(self._state.read_text())
        return found

    def set_xapi(self, **classes: dict[str, dict[str, object]]) -> None:
        """Replaces records of the fake xapi by class."""
        self._state.write_text(json.dumps({**self.xapi(), **classes}))

    def plug(self, sr_type: str, *, plugged: bool = True) -> str:
        """Gives the fake xapi an SR that is plugged here; returns its UUID."""
        sr = str(uuid.uuid5(uuid.NAMESPACE_DNS, sr_type))
        self.set_xapi(
            SR={"sr": {"uuid": sr, "type": sr_type, "name_label": "my disks"}},
            PBD={"pbd": {"SR": "sr", "host": "me", "currently_attached": plugged}},
        )
        return sr

    def noted(self, name: str) -> list[str]:
        """The lines that a fake has noted: restarts, systemctl, messages."""
        path = self.root / f"run/fake-{name}"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def _state(self) -> Path:
        return self.root / dom0_fakes.PATH.lstrip("/")

    def _place_sm(self) -> None:
        stage_sm(None, self.root, "/usr/bin/python3")
        if self.kind != "9":
            return
        flat, site = self.root / SM_DIR, self.root / SITE_PACKAGES
        flat.rename(site / "simulator")
        flat.mkdir()
        (site / "sm/core").mkdir(parents=True)
        (site / "sm/__init__.py").write_text(_SM_4)
        (site / "sm/core/__init__.py").write_text("")
        (site / "sm/SRCommand.py").write_text("")

    def _place_fakes(self, address: str) -> None:
        programs = self.root / "opt/xensource/bin"
        programs.mkdir(parents=True)
        for path, text in {
            programs / "xe": dom0_fakes.XE,
            programs / "ssh": dom0_fakes.SSH,
            programs / "xe-toolstack-restart": dom0_fakes.RESTART,
            self._upper / "sbin/modinfo": dom0_fakes.MODINFO,
            self._upper / "bin/systemctl": dom0_fakes.SYSTEMCTL,
        }.items():
            path.write_text(text)
            path.chmod(0o755)
        (self.root / SITE_PACKAGES / "XenAPI.py").write_text(dom0_fakes.XENAPI)
        (self.root / "run/fake-modules").write_text("rbd\nnbd\n")
        (self.root / "run/systemd/system").mkdir(parents=True)
        me: dict[str, object] = {"uuid": self.uuid, "name_label": "host1", "hostname": "host1", "address": address}
        self._state.write_text("{}")
        self.set_xapi(host={"me": me}, pool={"pool": {"master": "me", "other_config": {}}})
        os.chmod(self.root / "tmp", 0o1777)
