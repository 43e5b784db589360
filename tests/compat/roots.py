"""Root directories of other Debian suites, made once with debootstrap and kept in the cache.

A root is made under another name and renamed when it is complete. All mounts are made in a mount namespace
that ends with the process that needs them: outside of it a root is a plain directory.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from lab import LabError, cache_directory, run, wait_for

_SCRIPT = Path(__file__).with_name("make-root.sh")
_ENTER = Path(__file__).with_name("enter.sh")
_MAKE_SECONDS = 900.0  # one takes 1 to 2 minutes on an idle machine
_APT_SETTINGS = """\
Acquire::Check-Valid-Until "false";
Acquire::GzipIndexes "true";
Acquire::Languages "none";
"""
# Ceph's server and client, and programs that the tests run on a host.
_PACKAGES = (
    "ceph-mon", "ceph-osd", "ceph-mgr", "ceph-common", "librados2", "librbd1", "python3-rados", "python3-rbd",
    "python3", "procps", "strace", "kmod", "dmsetup", "e2fsprogs", "iproute2", "uuid-runtime", "unzip",
)  # fmt: skip


class UnavailableError(LabError):
    """This machine cannot provide what a cell needs; the message names it and the reason."""


def compat_cache() -> Path:
    """The directory of the roots and of the cells' logs: `compat` in the lab's cache."""
    directory = cache_directory() / "compat"
    directory.mkdir(exist_ok=True)
    return directory


@functools.cache
def host_suite() -> str:
    """The suite of this machine, `bookworm` for example."""
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip('"')
    return "sid"  # Debian's testing and unstable have no number


def mirror() -> str:
    """The mirror of Debian: SMBLOCK_MIRROR, or the one that this machine's apt uses."""
    if named := os.environ.get("SMBLOCK_MIRROR"):
        return named
    fields = "$(ORIGIN) $(REPO_URI) $(CODENAME) $(COMPONENT)"
    words = ["apt-get", "indextargets", "--format", fields, "Created-By: Packages"]
    try:
        listed = run(words, timeout=60).stdout.decode()
    except LabError as error:
        raise UnavailableError(f"no mirror of Debian: {error}") from error
    rows = [line.split(" ") for line in listed.splitlines()]
    found = [row[1] for row in rows if row[0] == "Debian" and row[3] == "main" and "-" not in row[2]]
    if not found:
        raise UnavailableError(
            "apt of this machine has no Debian mirror; check /etc/apt/sources.list and run `apt-get update`"
        )
    return found[0]


def root(suite: str) -> Path | None:
    """The root directory of a suite, made if it is absent; None for this machine's own suite.

    UnavailableError if this machine cannot make it.
    """
    if suite == host_suite():
        return None
    directory = compat_cache() / f"root-{suite}-{_recipe()}"
    with (compat_cache() / f"lock-{suite}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one thread makes a root, others wait for it
        if not directory.is_dir():
            for old in compat_cache().glob(f"root-{suite}-*"):
                remove(old)
            _make(suite, directory)
    return directory


def _recipe() -> str:
    """A hash of all that a root depends on: its packages, and the script without its comments."""
    commands = [line for line in _SCRIPT.read_text().splitlines() if not line.startswith("#")]
    return hashlib.sha256(repr((_PACKAGES, _APT_SETTINGS, commands)).encode()).hexdigest()[:12]


def enter(roots: Sequence[Path], *command: str | Path) -> list[str]:
    """The command line that runs a command with the machine's files mounted in each root."""
    return [str(_ENTER), tempfile.gettempdir(), *map(str, roots), "--", *map(str, command)]


def require_entry(suite: str) -> None:
    """Make the root of a suite if it is absent. UnavailableError if no program in it can be run here.

    A container may forbid mount, chroot or a network namespace, which it needs.
    """
    directory = root(suite)
    if directory is None:
        return
    try:
        run(enter([directory], "chroot", directory, "/bin/true"), timeout=60)
    except LabError as error:
        raise UnavailableError(f"root of {suite}: no program in it can be run: {error}") from error


def remove(directory: Path) -> None:
    """Remove a root. LabError if something is mounted in it: the removal would delete its files."""
    mounted = mounts_below(directory)
    if mounted:
        raise LabError(
            f"{directory}: not removed: {', '.join(mounted)} is mounted; unmount it first: umount -l {mounted[-1]}"
        )
    # This option of rm stops at another file system, if a mount appears meanwhile.
    run(["rm", "-rf", "--one-file-system", "--", directory], timeout=300)


def mounts_below(directory: Path) -> list[str]:
    """The mount points at or below a directory, in any mount namespace of this machine."""
    found: set[str] = set()
    prefix = str(directory.resolve())
    for process in Path("/proc").glob("[0-9]*/mountinfo"):
        try:
            lines = process.read_text().splitlines()
        except OSError:
            continue  # the process ended
        points = [line.split(" ")[4] for line in lines]
        found.update(point for point in points if point == prefix or point.startswith(prefix + "/"))
    return sorted(found)


def _make(suite: str, directory: Path) -> None:
    if shutil.which("debootstrap") is None:
        raise UnavailableError("debootstrap: not installed; on Debian: apt install debootstrap")
    if os.geteuid() != 0:
        raise UnavailableError("only root can make the root directories of other suites; run this as root")
    new = directory.with_name(directory.name + ".new")
    remove(new)
    settings = compat_cache() / f"apt-{suite}.conf"
    settings.write_text(_APT_SETTINGS + _proxies())
    namespace = ["unshare", "--mount", "--propagation", "private"]
    argv = [*namespace, str(_SCRIPT), suite, str(new), mirror(), str(settings), *_PACKAGES]
    log = compat_cache() / f"root-{suite}.log"
    with log.open("wb") as output:
        status = _run_in_time(argv, output)
    if status != 0:
        what = f"exit status {status}" if status is not None else f"not complete after {_MAKE_SECONDS:.0f} s"
        wait_for(lambda: not mounts_below(new), f"{new} to have no mounts", 20)
        remove(new)
        raise UnavailableError(f"root of {suite}: {what}; its log ends with: {_last_lines(log)}")
    new.rename(directory)


def _run_in_time(argv: Sequence[str], output: IO[bytes]) -> int | None:
    """Run a command with its output in a file. Returns its exit status, or None if it was killed at the deadline."""
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    try:
        return process.wait(_MAKE_SECONDS)
    except subprocess.TimeoutExpired:
        return None
    finally:
        # A session of its own: its children are killed with it.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _last_lines(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return " / ".join(lines[-3:]) or "nothing"


def _proxies() -> str:
    """The proxies of this machine's apt."""
    dump = run(["apt-config", "dump", "Acquire"], timeout=60).stdout.decode().splitlines()
    return "".join(f"{line}\n" for line in dump if "::proxy" in line.lower())
