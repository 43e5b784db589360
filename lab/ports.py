"""Loopback addresses, one for each server, so that several labs can run in parallel.

Each server of the lab (a cluster, a dom0) has an address in 127.1.0.0/16 of its own and listens
there on fixed ports below 32768. From 32768 on the kernel takes ephemeral ports: a free one may be
a client's a moment later.  A guest reaches 127.1.0.0/16 under the same addresses (see `lab.guest`).
"""

from __future__ import annotations

import random
import socket
from typing import Self

from lab import LabError

_LEASE_PORT = 6700
_ATTEMPTS = 64


class AddressLease:
    """One address of 127.1.0.0/16, held until `release()` or the end of this process.

    The lease is a bound socket: the kernel refuses a second one, and closes that of a killed process.
    """

    def __init__(self) -> None:
        for _ in range(_ATTEMPTS):
            # .0.x stays free for servers that are started by hand.
            address = f"127.1.{random.randint(1, 254)}.{random.randint(1, 254)}"
            held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            try:
                held.bind((address, _LEASE_PORT))
            except OSError:
                held.close()
                continue
            self.address = address
            self._held = held
            return
        raise LabError(
            f"no free loopback address in 127.1.0.0/16 after {_ATTEMPTS} tries: "
            f"is a server bound to 0.0.0.0:{_LEASE_PORT}?"
        )

    @property
    def address_v6(self) -> str:
        """The IPv6 counterpart, in brackets; only the network namespace of `tests/compat/enter.sh` has it."""
        third, fourth = self.address.split(".")[2:]
        return f"[fd53:6d62::{int(third):x}:{int(fourth):x}]"

    def release(self) -> None:
        """Give the address back; calling it twice is harmless."""
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.release()


def free_port(address: str, start: int = 8000, end: int = 32000) -> int:
    """A TCP port of `address` below 32768 on which no process listens now."""
    for port in random.sample(range(start, end), _ATTEMPTS):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((address, port))
            except OSError:
                continue
            return port
    raise LabError(f"no free port on {address} between {start} and {end}")
