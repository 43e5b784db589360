"""The tested versions, and the Debian suites that have them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Suite:
    """What Debian ships in one suite."""

    ceph: str
    kernel: str
    python: str


SUITES = {
    "bullseye": Suite(ceph="14.2", kernel="5.10", python="3.9"),
    "bookworm": Suite(ceph="16.2", kernel="6.1", python="3.11"),
    "trixie": Suite(ceph="18.2", kernel="6.12", python="3.13"),
    "sid": Suite(ceph="20.2", kernel="7.2", python="3.14"),
}
OLDEST, NEWEST = "bullseye", "sid"

# What Ceph and Linux themselves do not support; tests/compat/refusals.py shows it.
CLIENT_LIMIT = "librados before 20.2 has no keys of type aes256k"
MESSENGER_LIMIT = "Linux before 5.11 speaks version 1 of the messenger only"
KERNEL_LIMIT = "Linux before 7.0 has no keys of type aes256k"
