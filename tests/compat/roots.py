"""Root folders of other Debian suites, made once with debootstrap and kept in the cache.

A root is made under another name and renamed when it is complete. All mounts are made in a mount namespace
that ends with the process that needs them: outside of it a root is a plain folder.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from tests.lab import LabError, cache_folder, run

_SCRIPT = Path(__file__).with_name("make-root.sh")
_MAKE_SECONDS = 1500.0
_APT_SETTINGS = """\
Acquire::Check-Valid-Until "false";
Acquire::GzipIndexes "true";
Acquire::Languages "none";
"""
# Ceph's server and client, and what the tests call on a host.
_PACKAGES = (
    "ceph-mon", "ceph-osd", "ceph-mgr", "ceph-common", "librados2", "librbd1", "python3-rados", "python3-rbd",
    "python3", "procps", "strace", "kmod", "dmsetup", "e2fsprogs", "iproute2", "uuid-runtime", "unzip",
)  # fmt: skip


def compat_cache() -> Path:
    """The folder of the roots and of the cells' logs: `compat` in the lab's cache."""
    folder = cache_folder() / "compat"
    folder.mkdir(exist_ok=True)
    return folder


@functools.cache
def host_suite() -> str:
    """The suite of this machine, `bookworm` for example."""
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip('"')
    return "sid"  # Debian's testing and unstable have no number


def mirror() -> str:
    """The mirror of Debian that this machine's apt uses."""
    wanted = "$(ORIGIN) $(REPO_URI) $(CODENAME) $(COMPONENT)"
    listed = run(["apt-get", "indextargets", "--format", wanted, "Created-By: Packages"], timeout=60).stdout.decode()
    rows = [line.split(" ") for line in listed.splitlines()]
    found = [row[1] for row in rows if row[0] == "Debian" and row[3] == "main" and "-" not in row[2]]
    if not found:
        raise LabError("apt of this machine has no Debian mirror; check /etc/apt/sources.list and run `apt-get update`")
    return found[0]


def root(suite: str) -> Path | None:
    """The root folder of a suite, made if it is absent; None for this machine's own suite."""
    if suite == host_suite():
        return None
    recipe = hashlib.sha256(repr((_PACKAGES, _APT_SETTINGS, _SCRIPT.read_text())).encode()).hexdigest()[:12]
    folder = compat_cache() / f"root-{suite}-{recipe}"
    with (compat_cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one process makes a root, another one waits for it
        if not folder.is_dir():
            for old in compat_cache().glob(f"root-{suite}-*"):
                remove(old)
            _make(suite, folder)
    return folder


def remove(folder: Path) -> None:
    """Remove a root. LabError if something is mounted in it: its removal would empty what is mounted."""
    mounted = mounts_below(folder)
    if mounted:
        raise LabError(
            f"{folder}: not removed: {', '.join(mounted)} is mounted; unmount it first: umount -l {mounted[-1]}"
        )
    # The option of rm stops at another file system, should a mount appear meanwhile.
    run(["rm", "-rf", "--one-file-system", "--", folder], timeout=300)


def mounts_below(folder: Path) -> list[str]:
    """The mount points at or below a folder, in any mount namespace of this machine."""
    found: set[str] = set()
    prefix = str(folder.resolve())
    for process in Path("/proc").glob("[0-9]*/mountinfo"):
        try:
            lines = process.read_text().splitlines()
        except OSError:
            continue  # the process ended
        points = [line.split(" ")[4] for line in lines]
        found.update(point for point in points if point == prefix or point.startswith(prefix + "/"))
    return sorted(found)


def _make(suite: str, folder: Path) -> None:
    if shutil.which("debootstrap") is None:
        raise LabError("debootstrap: not installed; on Debian: apt install debootstrap")
    if os.geteuid() != 0:
        raise LabError("root folders of other suites: only root can make them; run make test-compat as root")
    new = folder.with_name(folder.name + ".new")
    remove(new)
    settings = compat_cache() / "apt.conf"
    settings.write_text(_APT_SETTINGS + _proxies())
    log = compat_cache() / f"root-{suite}.log"
    namespace = ["unshare", "--mount", "--propagation", "private"]
    with log.open("wb") as output:
        status = subprocess.run(
            [*namespace, str(_SCRIPT), suite, str(new), mirror(), str(settings), *_PACKAGES],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=_MAKE_SECONDS, check=False,
        ).returncode  # fmt: skip
    if status != 0:
        raise LabError(f"root of {suite}: exit status {status}; the log is {log}")
    new.rename(folder)


def _proxies() -> str:
    """The proxies of this machine's apt."""
    dump = run(["apt-config", "dump", "Acquire"], timeout=60).stdout.decode().splitlines()
    return "".join(f"{line}\n" for line in dump if "::proxy" in line.lower())
