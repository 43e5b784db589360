"""Simulator of the part of SM's blktap2 that drives tapdisk processes through tap-ctl."""

import errno
import os
import re
import signal
import subprocess
import time

import util

TAP_CTL = "/usr/sbin/tap-ctl"
DEV_BASEDIR = "/dev/xen/blktap-2"


class TapdiskExists(Exception):
    def __init__(self, tapdisk):
        Exception.__init__(self, f"{tapdisk} already running")


class TapdiskNotRunning(Exception):
    def __init__(self, **attrs):
        Exception.__init__(self, f"No such Tapdisk({attrs})")


class TapdiskInvalidState(Exception):
    pass


class TapdiskFailed(Exception):
    """tapdisk did not start: get_error() is tap-ctl's failure."""

    def __init__(self, arg, err):
        Exception.__init__(self, f"Tapdisk({arg}): {err}")
        self._error = err

    def get_error(self):
        return self._error


class TapCtl:
    """One run of tap-ctl. Its exit status is an errno."""

    class CommandFailure(Exception):
        def __init__(self, cmd, status, message):
            Exception.__init__(self, f"{cmd} failed: status={status}, {message}")
            self.status = status

        def get_error_code(self):
            return self.status

    @classmethod
    def run(cls, *args):
        """Returns the lines that tap-ctl printed."""
        cmd = [TAP_CTL] + [str(arg) for arg in args]
        util.SMlog(cmd)
        process = subprocess.Popen(
            cmd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True
        )
        stdout, stderr = process.communicate()
        if process.returncode:
            raise cls.CommandFailure(cmd, process.returncode, stderr.strip())
        return stdout.splitlines()

    @classmethod
    def pause(cls, pid, minor):
        cls.run("pause", "-p", pid, "-m", minor)

    @classmethod
    def unpause(cls, pid, minor, _type=None, _file=None, mirror=None):
        """Resumes with that image; mirror is tapdisk's second destination for writes."""
        mirrored = ["-2", mirror] if mirror else []
        image = ["-a", f"{_type}:{_file}"] if _type and _file else []
        cls.run("unpause", "-p", pid, "-m", minor, *mirrored, *image)


class Tapdisk:
    """A tapdisk process with one disk open, as ``tap-ctl list`` shows it."""

    TYPES = ["aio", "vhd", "qcow2"]
    # bits of tap-ctl's state; a paused one also is quiesced (0x8) and closed (0x2)
    PAUSED = 0x20
    PAUSE_REQUESTED = 0x10

    def __init__(self, pid, minor, state, type, path):
        self.pid, self.minor, self.state, self.type, self.path = pid, minor, state, type, path

    def __str__(self):
        return f"Tapdisk({self.type}:{self.path}, pid={self.pid}, minor={self.minor})"

    @classmethod
    def list(cls, *filters):
        for line in TapCtl.run("list", *filters):
            match = re.match(r"pid=(\d+) minor=(\d+) state=(\S+) args=(\w+):(.*)$", line)
            if match:
                pid, minor, state, kind, path = match.groups()
                yield cls(int(pid), int(minor), int(state, 16), kind, path)

    @classmethod
    def find_by_path(cls, path):
        return next(cls.list("-f", path), None)

    @classmethod
    def from_minor(cls, minor):
        tapdisk = next(cls.list("-m", minor), None)
        if tapdisk is None:
            raise TapdiskNotRunning(minor=minor)
        return tapdisk

    @classmethod
    def get(cls, minor):
        return cls.from_minor(minor)

    @staticmethod
    def major():
        """The major number of tapdisk's devices, or None if the kernel has none."""
        with open("/proc/devices") as devices:
            for line in devices:
                fields = line.split()
                if len(fields) == 2 and fields[1] == "tapdev":
                    return int(fields[0])
        return None

    def get_devpath(self):
        return f"{DEV_BASEDIR}/tapdev{self.minor}"

    @classmethod
    def launch(cls, path, kind, options):
        """allocate, spawn, attach, open; undone in reverse order at the first failure."""
        arg = f"{kind}:{path}"
        undo = []
        try:
            device = TapCtl.run("allocate")[0]
            minor = int(re.search(r"/tapdev(\d+)$", device).group(1))
            undo.append(lambda: TapCtl.run("free", "-m", minor))
            pid = int(TapCtl.run("spawn")[0])
            undo.append(lambda: os.kill(pid, signal.SIGTERM))
            util.pread2(["cgclassify", str(pid)])
            TapCtl.run("attach", "-p", pid, "-m", minor)
            undo.append(lambda: TapCtl.run("detach", "-p", pid, "-m", minor))
            cls._open(pid, minor, arg, ["-R"] if options.get("rdonly") else [])
            undo.append(lambda: TapCtl.run("close", "-p", pid, "-m", minor, "-t", 120))
            tapdisk = cls.from_minor(minor)
            util.set_scheduler_sysfs_node(f"/sys/dev/block/{cls.major()}:{minor}", ["none", "noop"])
            return tapdisk
        except Exception as error:
            for step in reversed(undo):
                try:
                    step()
                except Exception as another:
                    util.SMlog(f"undoing a tapdisk launch: {another}")
            if isinstance(error, TapCtl.CommandFailure):
                raise TapdiskFailed(arg, error) from error
            raise

    @staticmethod
    def _open(pid, minor, arg, flags):
        """Retries a temporary failure as SM does: five times, a second apart."""
        for attempt in range(6):
            try:
                TapCtl.run("open", "-p", pid, "-m", minor, "-a", arg, *flags)
                return
            except TapCtl.CommandFailure as error:
                if attempt == 5 or error.status not in (errno.EIO, errno.EROFS, errno.EAGAIN):
                    raise
            time.sleep(1)

    def shutdown(self):
        TapCtl.run("close", "-p", self.pid, "-m", self.minor, "-t", 120)
        TapCtl.run("detach", "-p", self.pid, "-m", self.minor)
        TapCtl.run("free", "-m", self.minor)

    def pause(self):
        if self.state & (self.PAUSED | self.PAUSE_REQUESTED):
            raise TapdiskInvalidState(self)
        TapCtl.pause(self.pid, self.minor)

    def unpause(self, mirror=None):
        if not self.state & self.PAUSED:
            raise TapdiskInvalidState(self)
        TapCtl.unpause(self.pid, self.minor, self.type, self.path, mirror)
