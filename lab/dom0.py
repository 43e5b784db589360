"""The hosts of the lab's pool, as the tests see them.

`LocalDom0` is this machine seen through namespaces of its own: quick, and without a kernel RBD
client, so for the control plane.  `GuestDom0` is a small virtual machine with a real kernel that
maps real images; emulated, it is a dozen times slower.  Both have the tree of an XCP-ng dom0 after
`lab.tree.layout`, and both have the same methods.
"""

from __future__ import annotations

import abc
import io
import json
import os
import secrets
import shlex
import signal
import socket
import subprocess
import tarfile
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from lab import LabError, cache_directory
from lab.agent import LISTENING
from lab.guest import cpio, image
from lab.keeper import Keeper
from lab.ports import AddressLease

AGENT = Path(__file__).with_name("agent.py")
_NAMESPACE = Path(__file__).with_name("local-dom0.sh")
_AGENT_PORT = 9000
_BOOT_SECONDS = 120.0
_GUEST_INIT = Path(__file__).with_name("guest") / "init.sh"
_GRACE = 10.0  # seconds that a reply may come after the deadline of its request


def lab_python() -> str:
    """The interpreter the driver runs on in every dom0: LAB_PYTHON, or the system's own."""
    return os.environ.get("LAB_PYTHON", "/usr/bin/python3")


def lab_root() -> str:
    """The root directory whose programs and libraries every dom0 has: LAB_ROOT, or this machine's own.

    Another one is that of a Debian suite, with its Ceph client and its Python: see `tests.compat`.
    """
    return os.environ.get("LAB_ROOT", "/")


@dataclass(frozen=True)
class Completed:
    """The result of a process on a dom0; `returncode` is negative for the signal that killed it."""

    returncode: int
    stdout: bytes
    stderr: bytes

    def check(self) -> bytes:
        """Its stdout, or `LabError` with its stderr if it failed."""
        if self.returncode != 0:
            output = (self.stderr or self.stdout).decode(errors="replace").strip()
            raise LabError(f"exit status {self.returncode}: {output}")
        return self.stdout


class Dom0(abc.ABC):
    """One host of the pool.

    name                  its host name
    uuid                  INSTALLATION_UUID, the host's in XAPI
    control_domain_uuid   CONTROL_DOMAIN_UUID, its dom0's
    boot_id               of the kernel's own making, new at each start
    address               a loopback address of the host's own, in 127.1.0.0/16

    The uuids and the address stay when the host is started again after `kill()`; files do not.
    """

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.uuid = str(uuid.uuid4())
        self.control_domain_uuid = str(uuid.uuid4())
        self.boot_id = ""
        self._directory = directory.resolve()
        self._lease = AddressLease()
        self._keeper: Keeper | None = None
        self._token = secrets.token_hex(16)

    @property
    def address(self) -> str:
        return self._lease.address

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the host, with a bare tree; returns when it replies."""
        if self._keeper is not None:
            raise LabError(f"host {self.name}: already running")
        self._keeper = Keeper(self._directory, self._process_token)
        self._boot()
        self.boot_id = self.get("/proc/sys/kernel/random/boot_id").decode().strip()

    @property
    def is_running(self) -> bool:
        """Whether it was started and not powered off since."""
        return self._keeper is not None

    def kill(self) -> None:
        """Power off at once: all processes of the host end."""
        guard, self._keeper = self._keeper, None
        if guard is not None:
            guard.close()

    def close(self) -> None:
        """Stop the host and remove its files; calling it twice is harmless."""
        try:
            self.kill()
        finally:
            self._lease.release()

    def exec(
        self,
        argv: Sequence[str],
        *,
        input: bytes = b"",
        env: Mapping[str, str] | None = None,
        timeout: float = 60,
    ) -> Completed:
        """Run a command in a new process.  `env` adds to dom0's own; `timeout` is in seconds.

        Kills the process and raises `LabError` if it has not ended by then.
        """
        return self._run("exec", argv, input, env, timeout)

    def sm(self, argv: Sequence[str], timeout: float = 120, *, env: Mapping[str, str] | None = None) -> Completed:
        """Run an SM driver or plugin, `argv[0]` being its absolute path, as xapi does."""
        return self._run("sm", argv, b"", env, timeout)

    def put(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Write a file, making its directories; readers see the old one or the new one."""
        self._request("put", data, path=path, mode=mode)

    def get(self, path: str) -> bytes:
        """Content of a file."""
        return self._request("get", path=path)[1]

    def put_tree(self, source: Path, destination: str) -> None:
        """Copy the content of directory `source` into directory `destination`; links stay links."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for entry in sorted(source.iterdir()):
                archive.add(entry, arcname=entry.name, filter=_as_root)
        self.exec(["mkdir", "-p", destination]).check()
        self._request("unpack", packed.getvalue(), path=destination)

    def forward(self, path: str, address: str, port: int) -> None:
        """Connect the host's unix socket `path` to a server in 127.1.0.0/16."""
        self._request("forward", path=path, address=address, port=port)

    def preload(self, modules: Sequence[str], path: Sequence[str]) -> None:
        """Import modules before each later `sm` call."""
        self._request("preload", modules=list(modules), path=list(path), timeout=_BOOT_SECONDS)

    @property
    def console(self) -> str:
        """The messages of the host's kernel and of its agent."""
        log = self._directory / "console"
        return log.read_text(errors="replace") if log.exists() else ""

    @property
    def _process_token(self) -> str:
        """The argument by which the keeper finds the host's process."""
        return str(self._directory / "host")

    @abc.abstractmethod
    def _boot(self) -> None:
        """Start the host's process."""

    @abc.abstractmethod
    def _connect(self, timeout: float) -> socket.socket:
        """A connection to the agent."""

    def _run(
        self, op: str, argv: Sequence[str], payload: bytes, env: Mapping[str, str] | None, timeout: float
    ) -> Completed:
        reply, stdout, stderr = self._ask(op, payload, timeout, argv=list(argv), env=dict(env or {}))
        if reply.get("timeout"):
            output = (stdout + stderr).decode(errors="replace").strip()
            raise LabError(f"{self.name}: {' '.join(argv)}: not done in {timeout} s; so far: {output}")
        return Completed(reply["returncode"], stdout, stderr)

    def _request(
        self, op: str, payload: bytes = b"", *, timeout: float = 60, **fields: Any
    ) -> tuple[dict[str, Any], bytes]:
        reply, stdout, _ = self._ask(op, payload, timeout, **fields)
        return reply, stdout

    def _ask(self, op: str, payload: bytes, timeout: float, **fields: Any) -> tuple[dict[str, Any], bytes, bytes]:
        request = {"op": op, "token": self._token, "size": len(payload), "timeout": timeout, **fields}
        try:
            with self._connect(timeout + _GRACE) as connection, connection.makefile("rb") as reader:
                connection.sendall(json.dumps(request).encode() + b"\n" + payload)
                line = reader.readline()
                if not line:
                    raise LabError(f"{self.name}: {op}: the agent hung up; console: {self.console[-2000:]}")
                reply: dict[str, Any] = json.loads(line)
                stdout, stderr = reader.read(reply["stdout"]), reader.read(reply["stderr"])
        except OSError as error:
            raise LabError(f"{self.name}: {op}: {error}; console: {self.console[-2000:]}") from error
        if "error" in reply:
            raise LabError(f"{self.name}: {op}: {reply['error']}")
        return reply, stdout, stderr


class LocalDom0(Dom0):
    """This machine as another host: its own processes, host name, start, and files.

    Its /etc, /opt, /run, /usr, /var start as copies of the machine's (or LAB_ROOT's), and are its own after that;
    /dev is bare; the rest, such as /tmp, is shared.  It has no kernel RBD client.
    Needs root, or the right to make user namespaces.

    in_memory   `sm` starts with SM's modules in memory, in a tenth of the time; else each call starts
                Python and imports its own, as on dom0
    """

    def __init__(self, name: str, directory: Path, *, in_memory: bool = False) -> None:
        super().__init__(name, directory)
        self._in_memory = in_memory

    def _boot(self) -> None:
        (self._directory / "scratch").mkdir()
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(self._directory / "agent"))
            listener.listen()
            argv = [
                "unshare", *user, "--mount", "--propagation", "private", "--uts",
                # The agent is process 1: with it, the kernel ends every process of this host.
                "--pid", "--mount-proc", "--fork", "--kill-child",
                str(_NAMESPACE), str(self._directory / "scratch"), self.name, str(uuid.uuid4()), lab_root(),
                lab_python(), str(AGENT), "--fd", str(listener.fileno()), "--host", self._process_token,
            ]  # fmt: skip
            with (self._directory / "console").open("wb") as console:
                self._process = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=console,
                    stderr=console,
                    # Python 3.6 takes the encoding of arguments from LANG.
                    env={
                        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                        "LANG": "C.UTF-8",
                        "LAB_AGENT_TOKEN": self._token,
                    },
                    pass_fds=[listener.fileno()],
                )

    def kill(self) -> None:
        super().kill()
        self._process.wait()

    def preload(self, modules: Sequence[str], path: Sequence[str]) -> None:
        if self._in_memory:
            super().preload(modules, path)

    def _connect(self, timeout: float) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout)
        try:
            connection.connect(str(self._directory / "agent"))
        except OSError:
            connection.close()
            raise
        return connection


class GuestDom0(Dom0):
    """A virtual machine as another host: Debian's kernel with its RBD, NBD and device mapper.

    Its files are this machine's (or LAB_ROOT's) as they were at the start, and its own from then on; /run
    and /tmp are empty.  Servers of the lab have the same addresses as outside.  `sm` starts from an agent
    that has SM's modules in memory, because Python starts slowly on an emulated processor.

    memory     in MiB
    cpus       emulated processors; each keeps one of the machine's busy
    """

    def __init__(self, name: str, directory: Path, *, memory: int = 1024, cpus: int = 1) -> None:
        super().__init__(name, directory)
        self._memory = memory
        self._cpus = cpus

    def _boot(self) -> None:
        settings = {
            "NAME": self.name,
            "TOKEN": self._token,
            "PORT": _AGENT_PORT,
            "PYTHON": lab_python(),
            "IPV6": "no" if os.environ.get("LAB_NETWORK", "ipv4") == "ipv4" else "yes",
        }
        text = "".join(f"{key}={shlex.quote(str(value))}\n" for key, value in settings.items())
        boot = image.prepare(cache_directory())
        initrd = self._directory / "initrd"
        # In a file that only this user can read: a command line is visible to all.
        initrd.touch(mode=0o600)
        own = {
            "settings": (text.encode(), 0o600),
            "init": (_GUEST_INIT.read_bytes(), 0o755),
            # Copied: the guest does not see a checkout below /tmp.
            "agent.py": (AGENT.read_bytes(), 0o644),
        }
        initrd.write_bytes(boot.initrd.read_bytes() + cpio.archive(own))
        self._process = subprocess.Popen(
            [
                "qemu-system-x86_64", "-pidfile", self._process_token, "-name", self.name,
                "-machine", "q35", "-accel", "tcg,thread=multi,tb-size=256", "-cpu", "Nehalem",
                "-m", str(self._memory), "-smp", str(self._cpus),
                "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                "-serial", f"file:{self._directory / 'console'}",
                "-netdev", f"user,id=net,hostfwd=tcp:{self.address}:{_AGENT_PORT}-10.0.2.15:{_AGENT_PORT}",
                "-device", "virtio-net-pci,netdev=net",
                "-virtfs", f"local,path={lab_root()},mount_tag=root,security_model=none,readonly=on,multidevs=remap",
                "-kernel", str(boot.kernel), "-initrd", str(initrd),
                # no_timer_check: the kernel's test of its timer panics if emulation is late.
                # tsc=unstable: time is the HPET's, which is qemu's own. On a busy machine the kernel gauges
                # the processor's counter wrong, and then its clock runs twenty times too fast.
                # Nehalem has the instruction for Ceph's checksums. What later processors add, such as page tables of
                # five levels, costs the emulation a seventh more.
                # norandmaps: with random addresses qemu translates a program anew for each process.
                "-append",
                "console=ttyS0 quiet panic=-1 tsc=unstable no_timer_check mitigations=off norandmaps",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(self._directory / "qemu").open("wb"),
        )  # fmt: skip
        end = time.monotonic() + _BOOT_SECONDS
        while LISTENING not in self.console:
            if self._process.poll() is not None:
                output = (self._directory / "qemu").read_text(errors="replace")
                raise LabError(f"{self.name}: qemu has ended: {output}; console: {self.console[-2000:]}")
            if time.monotonic() > end:
                raise LabError(f"{self.name}: not up in {_BOOT_SECONDS} s; console: {self.console[-2000:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        self.thaw()  # close() waits for its end
        super().kill()
        self._process.wait()

    def freeze(self) -> None:
        """Freeze the host: no processor runs, and its network is silent."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume a frozen host."""
        self._process.send_signal(signal.SIGCONT)

    def _connect(self, timeout: float) -> socket.socket:
        return socket.create_connection((self.address, _AGENT_PORT), timeout)


def _as_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member
