"""A host's kernel as an RBD client, inspected and used without the driver."""

from __future__ import annotations

from lab.ceph import OneNodeCeph
from lab.dom0 import Dom0

_BUS = "/sys/bus/rbd"
_LIST = f"cd {_BUS}/devices; for n in *; do [ ! -e $n/name ] || echo /dev/rbd$n $(cat $n/pool $n/pool_ns $n/name); done"
# Attributes that differ between two mappings of one image.
_OWN = ("client_addr", "client_id", "config_info", "minor", "uevent")


def devices(host: Dom0) -> dict[str, str]:
    """The kernel's RBD devices: path to the image, POOL/NAME or POOL/NAMESPACE/NAME, as it was mapped."""
    rows = host.exec(["sh", "-c", _LIST]).check().decode().splitlines()
    return {device: "/".join(names) for device, *names in (row.split() for row in rows)}


def map_image(host: Dom0, ceph: OneNodeCeph, image: str) -> str:
    """Map POOL/NAME as the cluster's administrator, by sysfs. Returns the path of its device."""
    pool, name = image.split("/")
    before = devices(host)
    order = f"{ceph.mon_host} name=admin,secret={ceph.key('admin')} {pool} {name} -"
    host.exec(["tee", f"{_BUS}/add_single_major"], input=order.encode()).check()
    (device,) = devices(host).keys() - before.keys()
    return device


def unmap(host: Dom0, device: str) -> None:
    """Unmap a device; `LabError` if it is open."""
    number = device.removeprefix("/dev/rbd").encode()
    host.exec(["tee", f"{_BUS}/remove_single_major"], input=number).check()


def settings(host: Dom0, device: str) -> dict[str, str]:
    """The attributes of a device and its queue in sysfs, without those that differ for each mapping."""
    name = device.removeprefix("/dev/")
    number = name.removeprefix("rbd")
    directories = f"/sys/block/{name}/queue/* {_BUS}/devices/{number}/*"
    said = host.exec(["sh", "-c", f"grep -s '' {directories}; true"]).check().decode()
    rows = (row.partition(":") for row in said.splitlines())
    found = {path.replace(f"/{name}/", "/").replace(f"/{number}/", "/"): text for path, _, text in rows}
    return {path: text for path, text in found.items() if path.rpartition("/")[2] not in _OWN}


def options(host: Dom0, device: str) -> set[str]:
    """The options that a device was mapped with, without those of its client."""
    info = host.get(f"{_BUS}/devices/{device.removeprefix('/dev/rbd')}/config_info").decode()
    given = info.split()[1].split(",")
    return {option for option in given if option.partition("=")[0] not in ("name", "key", "secret")}
