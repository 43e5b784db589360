"""What the xapi simulator needs of a host: a part of `lab.dom0.Dom0`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

INVENTORY = "/etc/xensource-inventory"


class Completed(Protocol):
    """The result of a process on a host."""

    @property
    def returncode(self) -> int: ...
    @property
    def stdout(self) -> bytes: ...
    @property
    def stderr(self) -> bytes: ...


class Host(Protocol):
    """A host of the pool, to run programs on. Variables are called `dom0`; a `host` is XAPI's reference."""

    @property
    def name(self) -> str: ...
    @property
    def address(self) -> str: ...

    def exec(
        self,
        argv: Sequence[str],
        *,
        input: bytes = b"",
        env: Mapping[str, str] | None = None,
        timeout: float = 60,
    ) -> Completed: ...

    def sm(self, argv: Sequence[str], timeout: float = 120, *, env: Mapping[str, str] | None = None) -> Completed: ...
    def get(self, path: str) -> bytes: ...


@dataclass(frozen=True)
class Inventory:
    """The UUIDs of a host and of its control domain."""

    host_uuid: str
    control_domain_uuid: str


def read_inventory(dom0: Host) -> Inventory:
    """A host's identity, from the file that sm reads, too."""
    values: dict[str, str] = {}
    for line in dom0.get(INVENTORY).decode().splitlines():
        key, _, value = line.partition("=")
        values[key.strip()] = value.strip().strip("'\"")
    return Inventory(values["INSTALLATION_UUID"], values["CONTROL_DOMAIN_UUID"])
