"""Whether this host uses smblock: plugged SRs of its types, and exports of VDIs of any type."""

import json
import os

from smblock_setup import DRIVERS, SetupError, host

EXPORTS = "/run/smblock/export/exports"
# The keys of XAPI, as in drivers/smblock/export_records.py.
POOL_KEY, VDI_HOST = "smblock:export:", "smblock:export-host"
EXPORT_UNIT = "smblock-export.service"


def _plugged(xenapi, root):
    """The SRs of smblock's types that are plugged here, as (uuid, name)."""
    here = list(host.records(xenapi, "host", "uuid", host.own_uuid(root)))
    found = []
    for sr_type in sorted(DRIVERS):
        for ref, sr in host.records(xenapi, "SR", "type", sr_type).items():
            pbds = host.records(xenapi, "PBD", "SR", ref).values()
            if any(pbd["currently_attached"] and pbd["host"] in here for pbd in pbds):
                found.append((sr["uuid"], sr["name_label"]))
    return sorted(found)


def _served():
    """The names of the exports that this host's server has."""
    try:
        files = [os.path.join(EXPORTS, name) for name in os.listdir(EXPORTS) if name.endswith(".json")]
    except FileNotFoundError:
        return set()
    found = set()
    for path in files:
        with open(path) as file:
            found.add(json.load(file)["name"])
    return found


def _registered(xenapi, root):
    """The names of the exports that this host is to serve, also if it does not at the moment."""
    here = host.own_uuid(root)
    found = set()
    for pool in xenapi.pool.get_all_records().values():
        for key, value in pool["other_config"].items():
            if not key.startswith(POOL_KEY):
                continue
            try:
                vdi_uuid = json.loads(value)["vdi"]
            except (KeyError, TypeError, ValueError):
                continue  # no host serves it
            for vdi in host.records(xenapi, "VDI", "uuid", vdi_uuid).values():
                if vdi["other_config"].get(VDI_HOST) == here:
                    found.add(key[len(POOL_KEY) :])
    return found


def end_export_server():
    """Ends the server of exports, which has none left."""
    if os.path.isdir("/run/systemd/system"):
        host.run(["systemctl", "disable", "--now", EXPORT_UNIT], 60)


def require_unplugged(root, force):
    """SetupError with the commands, if a VDI is exported or an SR is plugged here. `force` goes on if xapi does not
    reply."""
    exports, srs, unknown = _served(), [], None
    try:
        with host.xapi() as xenapi:
            exports |= _registered(xenapi, root)
            srs = _plugged(xenapi, root)
    except SetupError as error:
        unknown = error
    if exports:
        lines = ["VDIs are exported by this host: smblock cannot be removed. End the exports first:"]
        raise SetupError("\n".join(lines + ["  smblock unexport %s" % name for name in sorted(exports)]))
    if unknown and not force:
        text = "whether SRs are plugged is unknown: %s. --force removes smblock without that check (for the package: "
        text += "SMBLOCK_FORCE=1 yum remove smblock)"
        raise SetupError(text % unknown) from unknown
    if srs:
        lines = ["SRs of smblock are plugged on this host: it cannot be removed. Shut their VMs down, then"]
        lines += ["  xe pbd-unplug uuid=$(xe pbd-list sr-uuid=%s host-uuid=%s --minimal)   # %s"
                  % (uuid, host.own_uuid(root), name) for uuid, name in srs]  # fmt: skip
        raise SetupError("\n".join(lines))
