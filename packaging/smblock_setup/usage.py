"""Whether this host uses smblock: plugged SRs of its types, and exports of VDIs of any type."""

import json
import os

from smblock_setup import DRIVERS, SetupError, host

EXPORTS = "/run/smblock/export/exports"
EXPORT_UNIT = "smblock-export.service"


def plugged(root=""):
    """The SRs of smblock's types that are plugged here, as (uuid, name). SetupError if xapi does not reply."""
    with host.xapi() as xenapi:
        here = list(host.records(xenapi, "host", "uuid", host.own_uuid(root)))
        found = []
        for sr_type in sorted(DRIVERS):
            for ref, sr in host.records(xenapi, "SR", "type", sr_type).items():
                pbds = host.records(xenapi, "PBD", "SR", ref).values()
                if any(pbd["currently_attached"] and pbd["host"] in here for pbd in pbds):
                    found.append((sr["uuid"], sr["name_label"]))
        return sorted(found)


def exported():
    """The names of this host's exports, sorted."""
    try:
        files = [os.path.join(EXPORTS, name) for name in os.listdir(EXPORTS) if name.endswith(".json")]
    except FileNotFoundError:
        return []
    found = []
    for path in files:
        with open(path) as file:
            found.append(json.load(file)["name"])
    return sorted(found)


def end_export_server():
    """Ends the server of exports, which has none left."""
    if os.path.isdir("/run/systemd/system"):
        host.run(["systemctl", "disable", "--now", EXPORT_UNIT], 60)


def require_unplugged(root, force):
    """SetupError with the commands, if a VDI is exported or an SR is plugged here. `force` goes on if xapi does not
    reply."""
    exports = exported()
    if exports:
        lines = ["VDIs are exported by this host: smblock cannot be removed. End the exports first:"]
        raise SetupError("\n".join(lines + ["  smblock unexport %s" % name for name in exports]))
    try:
        found = plugged(root)
    except SetupError as error:
        if force:
            return
        text = "whether SRs are plugged is unknown: %s. --force removes smblock without that check (for the package: "
        text += "SMBLOCK_FORCE=1 yum remove smblock)"
        raise SetupError(text % error) from error
    if found:
        lines = ["SRs of smblock are plugged on this host: it cannot be removed. Shut their VMs down, then"]
        lines += ["  xe pbd-unplug uuid=$(xe pbd-list sr-uuid=%s host-uuid=%s --minimal)   # %s"
                  % (uuid, host.own_uuid(root), name) for uuid, name in found]  # fmt: skip
        raise SetupError("\n".join(lines))
