"""`smblock sr`: the SRs of this pool that smblock serves."""

import json

from smblock._core import overview_of
from smblock.cli import srs
from smblock.cli.arguments import add_command, add_group, add_sr
from smblock.cli.output import show, table
from smblock.cli.status import screen

STATES = {True: "plugged", False: "unplugged", None: "no PBD"}


def add_to(commands):
    group = add_group(commands, "sr", help="list the SRs of this pool, or show one")
    add_command(group, "list", _list, help="list the SRs of this pool, with their state on this host")
    show_parser = add_command(group, "show", _show, help="show an SR with its device-config")
    add_sr(show_parser)


def _list(options):
    with options.session as session:
        found = srs.all_srs(session)
    rows = [(sr.uuid, sr.type, STATES[sr.plugged], sr.name) for sr in found]
    data = [{"uuid": sr.uuid, "type": sr.type, "name": sr.name, "plugged": sr.plugged} for sr in found]
    header = [("UUID", "TYPE", "STATE", "NAME")]
    return show(options, table(header + rows) if rows else "this pool has no SR of smblock", data)


def _show(options):
    sr = srs.find(options)
    overview = json.loads(overview_of(sr.open(options.session)))
    text = screen(sr, overview, srs.host_names(options))
    config = [("  device-config:%s" % key, value) for key, value in sorted(sr.device_config.items())]
    data = dict(overview, name=sr.name, plugged=sr.plugged, device_config=sr.device_config)
    return show(options, "\n".join([text, table(config)]), data)
