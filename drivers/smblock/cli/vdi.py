"""`smblock vdi`: where the VDIs of an SR are, and which VDI an image of the pool is."""

import json

from smblock.cli import srs
from smblock.cli.arguments import add_command, add_group, add_sr
from smblock.cli.output import CliError, at, show, size, table
from smblock.progress import Progress

# What `show` prints, in this order.
ROWS = (
    ("uuid", "VDI"),
    ("name", "name"),
    ("sr", "SR"),
    ("size", "size"),
    ("utilisation", "takes at most"),
    ("exact", "takes"),
    ("image", "image"),
    ("image_id", "image id"),
    ("snapshot", "snapshot"),
    ("snapshot_id", "snapshot id"),
    ("snapshots", "snapshots"),
    ("parents", "parents"),
    ("flags", "flags"),
    ("claimed_by", "claimed by host"),
    ("claimed_since", "claimed since"),
    ("device", "device on this host"),
    ("operation", "under way"),
)


def add_to(commands):
    group = add_group(commands, "vdi", help="list the VDIs of an SR with their images, or show one")
    add_sr(add_command(group, "list", _list, help="list the VDIs of an SR with their images"))
    shows = add_command(
        group,
        "show",
        _show,
        help="show a VDI by its UUID or name, or the VDIs of an image by the image's name or id",
    )
    shows.add_argument(
        "--vdi", required=True, metavar="VDI|IMAGE", help="UUID or name of a VDI; name or id of an image"
    )
    shows.add_argument(
        "--exact", action="store_true", help="also find out what it takes now, which needs some seconds for each TiB"
    )
    add_sr(shows)


def _list(options):
    places = _places(srs.find(options).open(options.session))
    rows = [(p["uuid"], size(p["size"]), _image(p), p["device"] or "-", p["name"]) for p in places]
    header = [("UUID", "SIZE", "IMAGE", "DEVICE", "NAME")]
    return show(options, table(header + rows) if rows else "the SR has no VDI", places)


def _show(options):
    sr = srs.find(options)
    core = sr.open(options.session)
    found = find(core, options.vdi)
    if options.exact:
        core.require("measure")
        progress = Progress()
        for place in found:
            place["exact"] = core.measure_vdi(place["uuid"], progress.report)
        progress.end()
    names = srs.host_names(options)
    return show(options, "\n\n".join(_text(place, sr, names) for place in found), found)


def find(core, word):
    """The VDIs with that UUID or name, or with an image of that name or id: those of `smblock vdi list`."""
    found = [place for place in _places(core) if word in _names(place)]
    if not found:
        raise CliError("the SR has no VDI %s, and no VDI with an image of that name or id" % word)
    return found


def _places(core):
    places = json.loads(core.places())
    return sorted(places, key=lambda place: (place["image"], place["snapshot_id"] or 0, place["uuid"]))


def _names(place):
    """What a VDI is found by. An image may be named with its pool."""
    names = {place["uuid"], place["name"], place["image"], place["image_id"], _image(place), _path(place)}
    return names - {None, ""}


def _path(place):
    """The image with its pool. A Crucible volume has none."""
    return "/".join(filter(None, [place["pool"], place["image"]]))


def _image(place):
    return place["image"] + ("@" + place["snapshot"] if place["snapshot"] else "")


def _text(place, sr, names):
    shown = dict({"exact": None}, **place)
    for key in ("size", "exact"):
        if shown[key] is not None:
            shown[key] = "%s (%d bytes)" % (size(shown[key]), shown[key])
    is_known = place["utilisation"] is not None
    shown["utilisation"] = size(place["utilisation"]) if is_known else "not counted yet"
    shown["sr"] = " ".join(filter(None, [sr.uuid, sr.name and "(%s)" % sr.name]))
    shown["image"] = _path(place)
    shown["flags"] = ", ".join(place["flags"]) or None
    if place["claimed_by"]:
        shown["claimed_by"] = "%s (%s)" % (place["claimed_by"], names.get(place["claimed_by"], "not in this pool"))
        shown["claimed_since"] = at(place["claimed_since"])
    return table([(label, shown[key]) for key, label in ROWS if shown[key] is not None])
