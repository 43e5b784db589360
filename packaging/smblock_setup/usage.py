"""Whether SRs of smblock's types are in use on this host."""

from smblock_setup import DRIVERS, SetupError, host


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


def require_unplugged(root, force):
    """SetupError with the commands, if an SR is plugged here. `force` goes on if xapi does not reply."""
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
