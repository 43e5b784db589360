"""Simulator of the part of SM's blktap2 that gives each VDI fixed names on its host."""

import grp
import os
import stat

import util


class Link:
    """A fixed name for one VDI on this host: BASEDIR/<sr>/<vdi>, a symbolic link."""

    BASEDIR = ""

    def __init__(self, path):
        self._path = path

    @classmethod
    def from_uuid(cls, sr_uuid, vdi_uuid):
        return cls(f"{cls.BASEDIR}/{sr_uuid}/{vdi_uuid}")

    def path(self):
        return self._path

    def readlink(self):
        return os.readlink(self._path)

    def _make(self, target):
        os.symlink(target, self._path)

    def _equals(self, target):
        return self.readlink() == target

    def mklink(self, target):
        """Idempotent for the same target; another target is a bug of the caller."""
        util.SMlog(f"{self._path} -> {target}")
        util.makedirs(os.path.dirname(self._path))
        try:
            self._make(target)
        except FileExistsError:
            assert self._equals(target), f"'{self._path}' not equal to '{target}'"

    def unlink(self):
        util.force_unlink(self._path)


class PhyLink(Link):
    BASEDIR = "/dev/sm/phy"


class NBDLink(Link):
    BASEDIR = "/run/blktap-control/nbd"


class BackendLink(Link):
    """A block device becomes a device node of its own, anything else a symbolic link."""

    BASEDIR = "/dev/sm/backend"

    def _make(self, target):
        found = os.stat(target)
        if not stat.S_ISBLK(found.st_mode):
            os.symlink(target, self._path)
            return
        os.mknod(self._path, found.st_mode | stat.S_IRGRP, found.st_rdev)
        os.chown(self._path, found.st_uid, grp.getgrnam("disk").gr_gid)

    def _equals(self, target):
        return os.stat(self._path).st_rdev == os.stat(target).st_rdev

    def rdev(self):
        """(major, minor) of a block device, (None, None) of anything else."""
        found = os.stat(self._path)
        if not stat.S_ISBLK(found.st_mode):
            return None, None
        return os.major(found.st_rdev), os.minor(found.st_rdev)
