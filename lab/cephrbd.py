"""The driver at work: a pool of hosts with it installed, a Ceph cluster, and SRs in its pools.

Everything goes the way an administrator's does: `xe`, `smblock-admin`, and a cephx user with the
rights that docs/user/ceph-setup.md lists.  Only the lab itself, to look and to do harm, is `client.admin`.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import run, wait_for
from lab.ceph import OneNodeCeph
from lab.dom0 import Dom0
from lab.sr import LabSr
from lab.xapi.lab_pool import LabPool, Tree

# What RBD keeps in a pool whatever is in it, and the driver's list of the pool's SRs.
STANDING_OBJECTS = {"rbd_directory", "rbd_info", "rbd_task", "rbd_trash", "smblock.directory"}


class CephRbdLab(LabPool):
    """A pool of hosts with the driver installed, which know where the cluster is."""

    def __init__(self, hosts: Sequence[Dom0], sm: Path, driver: Path, ceph: OneNodeCeph, lab_file: Path) -> None:
        super().__init__(hosts, Tree(sm, driver, ceph.client_conf()), lab_file)
        self.ceph = ceph

    def hand_out(self, keyring: Path) -> None:
        """Bring a user's key to every host, where Ceph looks for it; also to one started again."""
        self.provide(f"/etc/ceph/ceph.{keyring.stem}.keyring", keyring.read_bytes(), mode=0o600)

    def user(self, name: str, **caps: str) -> str:
        """A new user with other rights than the driver asks for, known to every host: its name."""
        keyring = self.ceph.directory / f"client.{name}.keyring"
        words = [word for service, cap in caps.items() for word in (service, cap)]
        self.ceph.admin("auth", "get-or-create", f"client.{name}", *words, "--out-file", str(keyring),
                        "--format", "plain")  # fmt: skip
        self.hand_out(keyring)
        return name


@dataclass(frozen=True)
class RbdPool:
    """A pool of the cluster, and the one user of it: what an administrator prepares for an SR."""

    lab: CephRbdLab
    name: str
    user: str

    @property
    def device_config(self) -> list[str]:
        """The words of `xe` and `smblock-admin` that lead here."""
        return [f"device-config:pool={self.name}", f"device-config:ceph_user={self.user}"]

    def create_sr(self, name: str = "ceph", *words: str) -> CephSr:
        """`xe sr-create`, shared by all hosts."""
        uuid = self.lab.xe("sr-create", "type=cephrbd", "shared=true", f"name-label={name}",
                           *self.device_config, *words)  # fmt: skip
        return CephSr(self, uuid)

    def introduce_sr(self, uuid: str, name: str = "introduced", description: str = "") -> CephSr:
        """Bring a forgotten SR back, as a pool does that never knew it: introduce, PBDs, plug."""
        lab = self.lab
        lab.xe("sr-introduce", f"uuid={uuid}", "type=cephrbd", "shared=true", f"name-label={name}",
               f"name-description={description}", "content-type=user")  # fmt: skip
        for host in lab.hosts:
            pbd = lab.xe("pbd-create", f"sr-uuid={uuid}", f"host-uuid={host.uuid}", *self.device_config)
            lab.xe("pbd-plug", f"uuid={pbd}")
        lab.xe("sr-scan", f"uuid={uuid}")
        return CephSr(self, uuid)

    def delete(self) -> None:
        """Take the pool and its user away.  SRs in it stay known to XAPI, which does not mind."""
        ceph = self.lab.ceph
        ceph.admin("osd", "pool", "delete", self.name, self.name, "--yes-i-really-really-mean-it")
        ceph.admin("auth", "rm", f"client.{self.user}")

    def rados(self, *args: str, input: bytes = b"") -> str:
        """Run `rados ARGS` on the pool, as the cluster's administrator."""
        argv = ["rados", "--conf", str(self.lab.ceph.conf), "--pool", self.name, *args]
        return run(argv, timeout=30, input=input).stdout.decode(errors="replace")

    def objects(self) -> set[str]:
        """Every RADOS object."""
        return set(self.rados("ls").split())

    def images(self) -> set[str]:
        """The names of the images."""
        return set(self.lab.ceph.rbd("ls", self.name).split())

    def image_info(self, image: str) -> dict[str, Any]:
        """What `rbd info` says about an image."""
        return dict(json.loads(self.lab.ceph.rbd("info", "--format", "json", f"{self.name}/{image}")))

    def trash(self) -> str:
        """What `rbd trash ls` prints."""
        return self.lab.ceph.rbd("trash", "ls", "--all", self.name).strip()


@dataclass(frozen=True)
class OtherPool(RbdPool):
    """A pool of another cluster than the one that the hosts know by default; `cluster` names its files there."""

    cluster: str

    @classmethod
    def create(cls, lab: CephRbdLab, ceph: OneNodeCeph, cluster: str) -> OtherPool:
        """A pool of `ceph` with a user of its own."""
        view = copy.copy(lab)
        view.ceph = ceph
        pool = cls(view, "vms", "xcp", cluster)
        ceph.create_pool(pool.name)
        view.provide(pool._file("conf"), ceph.client_conf().encode())
        view.provide(pool._file("keyring"), ceph.create_user(pool.user, pool.name).read_bytes(), mode=0o600)
        return pool

    @property
    def device_config(self) -> list[str]:
        files = [f"device-config:ceph_conf={self._file('conf')}", f"device-config:keyring={self._file('keyring')}"]
        return [*super().device_config, *files]

    def _file(self, kind: str) -> str:
        return f"/etc/ceph/{self.cluster}.{kind}"


@dataclass(frozen=True)
class CephSr(LabSr):
    """An SR in a pool of the cluster."""

    pool: RbdPool
    uuid: str

    @property
    def lab(self) -> CephRbdLab:
        return self.pool.lab

    @property
    def catalogue(self) -> str:
        """Name of the object that holds what the SR knows of its disks."""
        return f"smblock.sr.{self.uuid}"

    def image(self, vdi: str) -> str:
        """Name of a disk's image."""
        return f"smblock.{self.uuid}.{vdi}.0"

    def catalogue_keys(self) -> set[str]:
        """The keys of what the SR holds; each host that has plugged it has one of its own beside them."""
        keys = self.pool.rados("listomapkeys", self.catalogue).split()
        return {key for key in keys if not key.startswith("host.")}

    def wait_for_size_of_pool(self) -> None:
        """Scan until the SR's size is what Ceph reports of its pool right after, to one in a hundred.

        Other pools of the cluster fill and empty meanwhile, and what is free there is shared by all.
        """

        def is_it() -> bool:
            self.scan()
            stats = self.lab.ceph.wait_pool_stats(self.pool.name)
            size, reported = int(self.get("physical-size")), stats["stored"] + stats["max_avail"]
            return abs(size - reported) <= reported / 100

        wait_for(is_it, "the SR to have its pool's size", seconds=60)

    def destroy(self) -> None:
        """Destroy the SR, once the cluster has freed what was deleted in it."""
        wait_for(lambda: self.uuid not in self.pool.trash(), "the trash to be emptied")
        self.unplug()
        self.lab.xe("sr-destroy", f"uuid={self.uuid}")
