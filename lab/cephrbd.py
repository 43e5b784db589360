"""A pool of hosts with the driver, a Ceph cluster, and SRs in its pools.

Tests use `xe`, `smblock`, and a cephx user with the caps of docs/user/ceph-setup.md, as an administrator
does.  Only the lab itself uses `client.admin`: to inspect the cluster, and to disturb it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import run, wait_for
from lab.ceph import OneNodeCeph
from lab.dom0 import Dom0
from lab.sr import LabSr
from lab.xapi.lab_pool import LabPool, Tree

# RBD's own objects in a pool, and the driver's list of the pool's SRs.
STANDING_OBJECTS = {"rbd_directory", "rbd_info", "rbd_task", "rbd_trash", "smblock.directory"}


class CephRbdLab(LabPool):
    """A pool of hosts with the driver and the cluster's configuration."""

    def __init__(self, hosts: Sequence[Dom0], sm: Path, driver: Path, ceph: OneNodeCeph, lab_file: Path) -> None:
        super().__init__(hosts, Tree(sm, driver, ceph.client_conf()), lab_file)
        self.ceph = ceph

    def distribute_keyring(self, keyring: Path) -> None:
        """Put a user's key on every host, where Ceph looks for it; also on one that starts later."""
        self.provide(f"/etc/ceph/ceph.{keyring.stem}.keyring", keyring.read_bytes(), mode=0o600)

    def user(self, name: str, **caps: str) -> str:
        """Create a user with other caps than the driver needs; its key is on every host. Returns its name."""
        self.distribute_keyring(self.ceph.write_keyring(name, caps))
        return name


@dataclass(frozen=True)
class RbdPool:
    """A pool of the cluster, or a namespace of it, and its user, as an administrator prepares them for an SR."""

    lab: CephRbdLab
    name: str
    user: str
    namespace: str = field(default="", kw_only=True)

    @property
    def spec(self) -> str:
        """The pool as `rbd` names it: POOL, or POOL/NAMESPACE."""
        return f"{self.name}/{self.namespace}" if self.namespace else self.name

    @property
    def device_config(self) -> list[str]:
        """The words of `xe` and `smblock` that name this pool."""
        words = [f"device-config:pool={self.name}", f"device-config:ceph_user={self.user}"]
        return [*words, f"device-config:namespace={self.namespace}"] if self.namespace else words

    def tenant(self, namespace: str) -> RbdPool:
        """Create a namespace of this pool, and a user with the caps for it alone that docs/user/ceph-setup.md lists."""
        profile = f"profile rbd pool={self.name} namespace={namespace}"
        self.lab.ceph.rbd("namespace", "create", f"{self.name}/{namespace}")
        user = self.lab.user(f"{self.user}-{namespace}", mon="profile rbd", osd=profile, mgr=profile)
        return RbdPool(self.lab, self.name, user, namespace=namespace)

    def create_sr(self, name: str = "ceph", *words: str) -> CephSr:
        """`xe sr-create`, shared by all hosts."""
        uuid = self.lab.xe("sr-create", "type=cephrbd", "shared=true", f"name-label={name}",
                           *self.device_config, *words)  # fmt: skip
        return CephSr(self, uuid)

    def introduce_sr(self, uuid: str, name: str = "introduced", description: str = "") -> CephSr:
        """Bring a forgotten SR back, as in a new pool: introduce, PBDs, plug."""
        lab = self.lab
        lab.xe("sr-introduce", f"uuid={uuid}", "type=cephrbd", "shared=true", f"name-label={name}",
               f"name-description={description}", "content-type=user")  # fmt: skip
        for host in lab.hosts:
            pbd = lab.xe("pbd-create", f"sr-uuid={uuid}", f"host-uuid={host.uuid}", *self.device_config)
            lab.xe("pbd-plug", f"uuid={pbd}")
        lab.xe("sr-scan", f"uuid={uuid}")
        return CephSr(self, uuid)

    def delete(self) -> None:
        """Remove the pool and its user.  XAPI keeps the records of the SRs in it."""
        ceph = self.lab.ceph
        ceph.admin("osd", "pool", "delete", self.name, self.name, "--yes-i-really-really-mean-it")
        ceph.admin("auth", "rm", f"client.{self.user}")

    def rados(self, *args: str, input: bytes = b"") -> str:
        """Run `rados ARGS` on the pool, as the cluster's administrator."""
        place = ["--pool", self.name, *(["--namespace", self.namespace] if self.namespace else [])]
        argv = ["rados", "--conf", str(self.lab.ceph.conf), *place, *args]
        return run(argv, timeout=30, input=input).stdout.decode(errors="replace")

    def objects(self) -> set[str]:
        """Every RADOS object."""
        return set(self.rados("ls").split())

    def images(self) -> set[str]:
        """The names of the images."""
        return set(self.lab.ceph.rbd("ls", self.spec).split())

    def image_info(self, image: str) -> dict[str, Any]:
        """What `rbd info` prints about an image."""
        return dict(json.loads(self.lab.ceph.rbd("info", "--format", "json", f"{self.spec}/{image}")))

    def trash(self) -> str:
        """What `rbd trash ls` prints."""
        return self.lab.ceph.rbd("trash", "ls", "--all", self.spec).strip()


@dataclass(frozen=True)
class OtherPool(RbdPool):
    """A pool of another cluster than the hosts' default; `cluster` names its files on the hosts."""

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
        """Name of the SR's catalogue object."""
        return f"smblock.sr.{self.uuid}"

    def image(self, vdi: str) -> str:
        """Name of a disk's image."""
        return f"smblock.{self.uuid}.{vdi}.0"

    def catalogue_keys(self) -> set[str]:
        """The catalogue's keys, without those of the hosts that have plugged the SR."""
        keys = self.pool.rados("listomapkeys", self.catalogue).split()
        return {key for key in keys if not key.startswith("host.")}

    def wait_for_size_of_pool(self) -> None:
        """Scan until the SR's size is what Ceph reports of its pool right after, to one in a hundred.

        The free space is shared with other pools, whose use changes meanwhile.
        """

        def has_pools_size() -> bool:
            self.scan()
            stats = self.lab.ceph.wait_pool_stats(self.pool.name)
            size, reported = int(self.get("physical-size")), stats["stored"] + stats["max_avail"]
            return abs(size - reported) <= reported / 100

        wait_for(has_pools_size, "the SR to have its pool's size", seconds=60)

    def destroy(self) -> None:
        """Destroy the SR when the cluster has freed its deleted images."""
        wait_for(lambda: self.uuid not in self.pool.trash(), "the trash to be emptied")
        self.unplug()
        self.lab.xe("sr-destroy", f"uuid={self.uuid}")
