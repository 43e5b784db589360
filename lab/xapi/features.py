"""The drivers of a host and their capabilities, found as xapi finds them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from lab.xapi.dom0 import Host
from lab.xapi.sm_exec import DriverReply, build_call, read_reply

SM_DIR = "/opt/xensource/sm"
_INFO_TIMEOUT = 60.0
_LOG = logging.getLogger(__name__)

# The capabilities of xapi; it drops any other (sm alone uses ATOMIC_PAUSE).
KNOWN_FEATURES = frozenset(
    {
        "SR_CREATE",
        "SR_DELETE",
        "SR_ATTACH",
        "SR_DETACH",
        "SR_SCAN",
        "SR_PROBE",
        "SR_UPDATE",
        "SR_SUPPORTS_LOCAL_CACHING",
        "SR_METADATA",
        "SR_TRIM",
        "SR_MULTIPATH",
        "SR_CACHING",
        "SR_STATS",
        "VDI_CREATE",
        "VDI_DELETE",
        "VDI_ATTACH",
        "VDI_DETACH",
        "VDI_MIRROR",
        "VDI_MIRROR_IN",
        "VDI_RESIZE",
        "VDI_RESIZE_ONLINE",
        "VDI_CLONE",
        "VDI_SNAPSHOT",
        "VDI_ACTIVATE",
        "VDI_ACTIVATE_READONLY",
        "VDI_DEACTIVATE",
        "VDI_UPDATE",
        "VDI_INTRODUCE",
        "VDI_GENERATE_CONFIG",
        "VDI_ATTACH_OFFLINE",
        "VDI_RESET_ON_BOOT",
        "VDI_CONFIG_CBT",
        "VDI_COMPOSE",
        "LARGE_VDI",
        "THIN_PROVISIONING",
        "VDI_READ_CACHING",
    }
)
# In xapi since 26.16.
REVERT_FEATURE = "VDI_REVERT"


@dataclass(frozen=True)
class Driver:
    """One SR type, as `sr_get_driver_info` describes it."""

    type: str
    filename: str
    info: dict[str, str]
    capabilities: list[str]
    features: dict[str, int]
    configuration: dict[str, str]


def parse_features(capabilities: Sequence[str], *, revert: bool) -> dict[str, int]:
    """The versions of the capabilities that this xapi has, from "NAME" or "NAME/version"."""
    known = KNOWN_FEATURES | {REVERT_FEATURE} if revert else KNOWN_FEATURES
    features: dict[str, int] = {}
    for capability in capabilities:
        name, _, version = capability.partition("/")
        if name not in known:
            _LOG.info("unknown capability %s dropped", capability)
            continue
        features[name] = int(version) if version.isdigit() else 1
    if "VDI_MIRROR" in features:
        features.setdefault("VDI_MIRROR_IN", features["VDI_MIRROR"])
    return features


def discover(dom0: Host, allowed: Sequence[str], *, revert: bool) -> dict[str, Driver]:
    """The drivers of a host by type: every allowed, executable `<X>SR` that replies.

    `allowed` is xapi.conf's sm-plugins: types, or "*" for all.
    """
    # In C order, so that every host registers the same drivers in the same order.
    listing = dom0.exec(["find", SM_DIR, "-maxdepth", "1", "-name", "?*SR", "-executable"], timeout=_INFO_TIMEOUT)
    drivers: dict[str, Driver] = {}
    for path in sorted(listing.stdout.decode().split()):
        sr_type = path.rpartition("/")[2].removesuffix("SR").lower()
        if "*" not in allowed and sr_type not in {name.lower() for name in allowed}:
            continue
        try:
            drivers[sr_type] = _ask(dom0, path, sr_type, revert)
        except Exception as error:  # noqa: BLE001 - xapi continues without it after any failure
            _LOG.warning("%s: rejecting SM plugin %s: %s", dom0.name, path, error)
    return drivers


def _ask(dom0: Host, path: str, sr_type: str, revert: bool) -> Driver:
    call = build_call("sr_get_driver_info", {"host_ref": "", "device_config": {}})
    reply: DriverReply = dom0.sm([path, call], _INFO_TIMEOUT)
    info = read_reply(reply, sr="", vdi="")
    capabilities = [str(name) for name in info["capabilities"]]
    return Driver(
        type=sr_type,
        filename=path,
        info={key: str(value) for key, value in info.items() if isinstance(value, str)},
        capabilities=capabilities,
        features=parse_features(capabilities, revert=revert),
        configuration={item["key"]: item["description"] for item in info["configuration"]},
    )
