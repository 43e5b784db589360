"""A host's kernel as an RBD client, looked at and used past everything that is tested."""

from __future__ import annotations

from tests.lab.ceph import OneNodeCeph
from tests.lab.dom0 import Dom0

_BUS = "/sys/bus/rbd"
_LIST = f"cd {_BUS}/devices; for n in *; do [ ! -e $n/name ] || echo /dev/rbd$n $(cat $n/pool $n/name); done"


def devices(host: Dom0) -> dict[str, str]:
    """The kernel's RBD devices: path to the image, POOL/NAME, as it was called when it was mapped."""
    rows = host.exec(["sh", "-c", _LIST]).check().decode().splitlines()
    return {device: f"{pool}/{name}" for device, pool, name in (row.split() for row in rows)}


def map_image(host: Dom0, ceph: OneNodeCeph, image: str) -> str:
    """Map POOL/NAME as the cluster's administrator, without any tool: the path of its device."""
    pool, name = image.split("/")
    before = devices(host)
    order = f"{ceph.mon_host} name=admin,secret={ceph.key('admin')} {pool} {name} -"
    host.exec(["tee", f"{_BUS}/add_single_major"], input=order.encode()).check()
    (device,) = devices(host).keys() - before.keys()
    return device


def unmap(host: Dom0, device: str) -> None:
    """Take a device away; `LabError` where it is open."""
    number = device.removeprefix("/dev/rbd").encode()
    host.exec(["tee", f"{_BUS}/remove_single_major"], input=number).check()
