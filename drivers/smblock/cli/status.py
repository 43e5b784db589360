"""`smblock status`: SRs on one screen each."""

import json

from smblock import Error
from smblock._core import overview_of
from smblock.cli import srs
from smblock.cli.arguments import add_command, add_sr
from smblock.cli.output import at, show, size, table

NONE = "none"


def add_to(commands):
    parser = add_command(commands, "status", _run, help="show an SR, or all SRs of this host, on one screen each")
    add_sr(parser)


def _run(options):
    found = srs.one_or_all(options)
    names = srs.host_names(options)
    seen, failed = [], 0
    for sr in found:
        try:
            seen.append((sr, json.loads(overview_of(sr.open(options.session)))))
        except Error as error:
            failed = 1
            seen.append((sr, {"sr": sr.uuid, "error": str(error)}))
    text = "\n\n".join(screen(sr, overview, names) for sr, overview in seen)
    show(
        options, text or "this host has no SR of smblock", [dict(o, name=sr.name, plugged=sr.plugged) for sr, o in seen]
    )
    return failed


def screen(sr, overview, names):
    """The lines about one SR. names: the names of hosts, by UUID."""
    title = "SR %s (%s)" % (sr.uuid, sr.name or sr.type)
    if "error" in overview:
        return "%s\n  cannot be read: %s\n  look further with: smblock doctor %s" % (
            title,
            overview["error"],
            sr.uuid,
        )
    quota = [size(overview["quota_bytes"])] if overview["quota_bytes"] else []
    quota += ["%d objects" % overview["quota_objects"]] if overview["quota_objects"] else []
    claims = ["%s: %d" % (names.get(host, host), count) for host, count in sorted(overview["claims"].items())]
    plugged = {True: "plugged on this host", False: "not plugged on this host"}.get(sr.plugged, "no PBD of this host")
    rows = [
        ("type", "%s, smblock %s" % (overview["sr_type"], overview["version"])),
        ("where", overview["place"]),
        ("state", plugged),
        ("size", "%s, %s free" % (size(overview["size"]), size(overview["free"]))),
        ("quota", " and ".join(quota) or NONE),
        (
            "VDIs",
            "%(disks)d disks, %(snapshots)d snapshots" % overview + ", " + size(overview["allocated"]) + " virtual",
        ),
        ("claims", ", ".join(claims) or NONE),
        ("operations", "; ".join(_operation(each, names) for each in overview["operations"]) or NONE),
    ]
    if overview["backlog"]:
        rows.append(("reclaim", _backlog(overview["backlog"])))
    return title + "\n" + table([("  " + name, text) for name, text in rows])


def _operation(each, names):
    host = names.get(each["host"], each["host"])
    return "%s %s by process %d of %s since %s" % (each["what"], each["vdi"], each["pid"], host, at(each["since"]))


def _backlog(backlog):
    if not (backlog["images"] or backlog["waiting"]):
        return "nothing to free"
    text = "%d image(s) with up to %s to free or flatten" % (backlog["images"], size(backlog["bytes"]))
    return "%s, %d more wait" % (text, backlog["waiting"])
