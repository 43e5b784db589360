"""Simulator of SM's lock: named locks of one host, as fcntl locks on files.

Lock(name, namespace) is one object in a process, which counts its holders; between
processes it is the file /var/lock/sm/<namespace>/<name>. Other hosts do not see it.
"""

import errno
import fcntl
import os

import util

LOCK_TYPE_GC_RUNNING = "running"
VERBOSE = True


class LockException(util.SMException):
    pass


class LockImplementation:
    def __init__(self, name, ns=None):
        assert not name.startswith(".") and os.path.sep not in name
        self.name = name
        self.ns = Lock._mknamespace(ns)
        self.nspath = os.path.join(Lock.BASE_DIR, self.ns)
        self.lockpath = os.path.join(self.nspath, name)
        self.count = 0
        self._held = False
        try:
            os.makedirs(self.nspath, exist_ok=True)
        except OSError as error:
            raise LockException(f"Failed to makedirs({self.nspath})") from error
        self.lockfile = open(self.lockpath, "w+")  # noqa: SIM115 - open as long as the lock object lives

    def _try(self):
        try:
            fcntl.lockf(self.lockfile, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            raise
        self._held = True
        return True

    def acquire(self):
        if not self._held and not self._try():
            util.SMlog(f"Failed to lock {self.lockpath} on first attempt")
            fcntl.lockf(self.lockfile, fcntl.LOCK_EX)
            self._held = True
        if VERBOSE and self.count == 0:
            util.SMlog(f"lock: acquired {self.lockpath}")
        self.count += 1

    def acquireNoblock(self):
        got = self._held or self._try()
        if got:
            self.count += 1
        return got

    def held(self):
        return self._held

    def release(self):
        self.count = max(0, self.count - 1)
        if self.count == 0:
            fcntl.lockf(self.lockfile, fcntl.LOCK_UN)
            self._held = False
            if VERBOSE:
                util.SMlog(f"lock: released {self.lockpath}")

    def cleanup(self, name, ns=None):
        Lock.cleanup(name, ns)


class Lock:
    BASE_DIR = "/var/lock/sm"
    INSTANCES = {}

    def __new__(cls, name, ns=None):
        if (ns, name) not in Lock.INSTANCES:
            Lock.INSTANCES[(ns, name)] = LockImplementation(name, ns)
        return Lock.INSTANCES[(ns, name)]

    @staticmethod
    def _mknamespace(ns):
        if ns is None:
            return ".nil"
        assert not ns.startswith(".") and os.path.sep not in ns
        return ns

    @staticmethod
    def clearAll():
        """Drops every lock object; for a process that forked without exec."""
        Lock.INSTANCES = {}

    @staticmethod
    def cleanup(name, ns=None):
        Lock.INSTANCES.pop((ns, name), None)
        path = os.path.join(Lock.BASE_DIR, Lock._mknamespace(ns), name)
        try:
            os.unlink(path)
        except OSError as error:
            util.SMlog(f"Failed to unlink({path}): {error}")
