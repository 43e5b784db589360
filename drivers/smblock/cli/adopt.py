"""`smblock adopt`: takes over the disks that the driver CephRBDSR has made, or gives them back."""

import json
import shlex

from smblock._core import adopt_disks
from smblock.cli import srs
from smblock.cli.arguments import add_command, add_sr
from smblock.cli.facts import adoption_facts_of
from smblock.cli.output import show, size

PREFIX = "prefix"
EPILOG = """Without --yes the command changes nothing, and prints what it would do. The exit status is 1 if something
refuses it: the text has the reason. No data is copied; XAPI keeps the SR, its VDIs and the disks of the VMs. A run
that was interrupted is repeated, with or without --undo. docs/user/migration.md describes all steps."""


def add_to(commands):
    parser = add_command(
        commands,
        "adopt",
        _run,
        help="take over the disks of an SR that the driver CephRBDSR has made, in place, or give them back",
        epilog=EPILOG,
    )
    parser.add_argument("--yes", action="store_true", help="do it")
    parser.add_argument("--undo", action="store_true", help="give the disks back to CephRBDSR")
    parser.add_argument(
        "--prefix", metavar="PREFIX", help="the prefix of CephRBDSR's image names (default: that of the device-config)"
    )
    add_sr(parser)


def _run(options):
    found = srs.find(options)
    old_config = found.device_config
    found.device_config = {key: value for key, value in old_config.items() if key != PREFIX}
    prefix = old_config.get(PREFIX, "") if options.prefix is None else options.prefix
    core = found.open(options.session)
    core.require("adopt")
    session = options.session()
    facts, records = adoption_facts_of(session, found, prefix)
    report = json.loads(adopt_disks(core, json.dumps(facts), records, options.undo, options.yes))
    if report["done"]:
        _remove_stale_keys(session, report["stale_keys"])
    pbds = _pbds(session, found)
    show(options, "\n".join(_lines(options, report, pbds)), dict(report, next=_next(report, pbds)))
    return 1 if report["refused"] else 0


def _remove_stale_keys(session, stale_keys):
    for stale in stale_keys:
        vdi = session.xenapi.VDI.get_by_uuid(stale["vdi"])
        session.xenapi.VDI.remove_from_sm_config(vdi, stale["key"])


def _pbds(session, sr):
    """The SR's PBDs, with the UUIDs of their hosts."""
    pbds = session.xenapi.PBD.get_all_records_where('field "SR" = "%s"' % sr.ref).values() if sr.ref else []
    return [dict(pbd, host=session.xenapi.host.get_uuid(pbd["host"])) for pbd in pbds]


def _lines(options, report, pbds):
    if report["refused"]:
        yield "SR %s: nothing is done, because" % report["sr"]
    elif report["done"] and not report["disks"]:
        yield "SR %s: nothing is left to do" % report["sr"]
    else:
        what = "gives back" if report["undo"] else "takes over"
        yield "SR %s in pool %s: smblock %s %d disk(s)" % (report["sr"], report["pool"], what, len(report["disks"]))
    for remark in report["refused"]:
        yield _remark(remark)
    for disk in report["disks"]:
        yield "  disk %s  %s  %s" % (disk["uuid"], size(disk["size"]), disk["name"])
        yield "    image %s, for smblock %s" % (disk["from"], disk["to"])
        for snapshot in disk["snapshots"]:
            yield "    snapshot %s  %s  %s" % (snapshot["uuid"], size(snapshot["size"]), snapshot["name"])
    for title, remarks in (("left alone:", report["left"]), ("notes:", report["notes"])):
        if remarks:
            yield title
        for remark in remarks:
            yield _remark(remark)
    if report["done"]:
        yield "done. Now run:"
        for command in _next(report, pbds):
            yield "  " + command
    elif not (report["refused"] or options.yes):
        yield "nothing was changed; to do it, add --yes"


def _remark(remark):
    fix = " Fix: %s" % remark["fix"] if remark["fix"] else ""
    return "  %s: %s.%s" % (remark["object"], remark["why"].rstrip("."), fix)


def _next(report, pbds):
    """The commands that follow. smblock refuses the key `prefix`, and XAPI cannot change a device-config."""
    if not report["done"]:
        return []
    commands = ["# on each host: remove smblock and install CephRBDSR; then:"] if report["undo"] else []
    for pbd in pbds:
        config = pbd["device_config"]
        wanted = {key: value for key, value in config.items() if key != PREFIX}
        if report["undo"]:
            wanted.update(_prefix_of(report["disks"]))
        if config == wanted:
            commands.append("xe pbd-plug uuid=%s" % pbd["uuid"])
            continue
        pairs = [shlex.quote("device-config:%s=%s" % pair) for pair in sorted(wanted.items())]
        create = ["xe pbd-create", "sr-uuid=%s" % report["sr"], "host-uuid=%s" % pbd["host"]]
        commands.append("xe pbd-destroy uuid=%s" % pbd["uuid"])
        commands.append("xe pbd-plug uuid=$(%s)" % " ".join(create + pairs))
    return [*commands, "xe sr-scan uuid=%s" % report["sr"]]


def _prefix_of(disks):
    """The device-config that CephRBDSR needs for the images' names."""
    for disk in disks:
        prefix = disk["from"][: -len("vdi-" + disk["uuid"])]
        if prefix:
            return {PREFIX: prefix}
    return {}
