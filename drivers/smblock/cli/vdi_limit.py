"""`smblock vdi limit`: how many requests and bytes a second a disk may have."""

from smblock.cli import srs
from smblock.cli.arguments import UsageError, add_command
from smblock.cli.output import CliError, show
from smblock.limits import IOPS, MBPS, NO_LIMIT, checked, limit_everywhere

EPILOG = """A limit holds for reads, and as much again for writes. It is noted in the VDI's other-config
(smblock:iops, smblock:mbps), and set at once on the hosts that use the disk. Without options the limits are set again
and shown."""


def add_to(group):
    parser = add_command(group, "limit", _run, help="limit the requests and bytes a second of a disk", epilog=EPILOG)
    parser.add_argument("vdi", metavar="VDI", help="UUID or name of a VDI")
    number = "; 'none' for no limit"
    parser.add_argument("--iops", metavar="N", help="requests a second" + number)
    parser.add_argument("--mbps", metavar="N", help="megabytes (1,000,000 bytes) a second" + number)
    parser.add_argument("--none", action="store_true", help="no limits, also if the SR has some for its disks")
    parser.add_argument("--default", action="store_true", help="the limits that the SR has for its disks")


def _run(options):
    session = options.session()
    vdi_ref, vdi = _find(session, options.vdi)
    sr = _sr_of(session, vdi)
    core = sr.open(options.session)
    other_config = _wanted(options, vdi["other_config"])
    wanted = checked(core, other_config)  # before anything is changed
    _note(session, vdi_ref, vdi["other_config"], other_config)
    replies = limit_everywhere(session, sr.uuid, vdi_ref)
    lines = ["VDI %s (%s): %s" % (vdi["uuid"], vdi["name_label"], _words(wanted))]
    failed = False
    for host, (reply, error) in replies.items():
        problems = [error] if error else (reply or {}).get("problems", [])
        if reply and reply["held"] != wanted and not problems:
            problems = ["it has %s" % _words(reply["held"])]
        failed = failed or bool(problems)
        # XAPI or SM may have a user that is gone.
        lines.append("host %s: %s" % (host, "; ".join(problems) or ("set" if reply else "no VM uses the disk there")))
    if not replies:
        lines.append("no host uses the disk: they are set when it is plugged")
    data = {"vdi": vdi["uuid"], "limits": wanted}
    data["hosts"] = [dict(reply or {}, host=host, error=error) for host, (reply, error) in replies.items()]
    show(options, "\n".join(lines), data)
    return 1 if failed else 0


def _wanted(options, before):
    """The VDI's other_config with the limits of the arguments."""
    given = {IOPS: options.iops, MBPS: options.mbps}
    given = {key: value for key, value in given.items() if value is not None}
    if options.none and options.default or ((options.none or options.default) and given):
        raise UsageError("give --iops and --mbps, or --none, or --default")
    if options.none:
        given = {IOPS: NO_LIMIT, MBPS: NO_LIMIT}
    kept = {key: value for key, value in before.items() if not (options.default and key in (IOPS, MBPS))}
    return dict(kept, **given)


def _note(session, vdi_ref, before, after):
    """Writes the keys that differ to XAPI."""
    vdi = session.xenapi.VDI
    for key in (IOPS, MBPS):
        if before.get(key) == after.get(key):
            continue
        if key in before:
            vdi.remove_from_other_config(vdi_ref, key)
        if key in after:
            vdi.add_to_other_config(vdi_ref, key, after[key])


def _find(session, word):
    """XAPI's reference and record of a VDI of smblock, by UUID or name."""
    key = "uuid" if srs.is_uuid(word) else "name__label"
    found = session.xenapi.VDI.get_all_records_where('field "%s" = "%s"' % (key, word.replace('"', '\\"')))
    ours = {sr.ref for sr in srs.all_srs(session)}
    found = {ref: vdi for ref, vdi in found.items() if vdi["SR"] in ours}
    if len(found) > 1:
        uuids = ", ".join(sorted(vdi["uuid"] for vdi in found.values()))
        raise CliError("several VDIs have the name %r: give the UUID of one of them: %s" % (word, uuids))
    if not found:
        raise CliError("no SR of smblock has a VDI %s: list them with: smblock vdi list SR" % word)
    ((ref, vdi),) = found.items()
    return ref, vdi


def _sr_of(session, vdi):
    (sr,) = [sr for sr in srs.all_srs(session) if sr.ref == vdi["SR"]]
    if sr.device_config is None:
        raise CliError("SR %s has no PBD, so the limits of its disks are not known: plug it first" % sr.uuid)
    return sr


def _words(limits):
    parts = [(limits["iops"], "IOPS"), (limits["mbps"], "MB/s")]
    return " and ".join("%d %s" % (number, unit) for number, unit in parts if number is not None) or "no limit"
