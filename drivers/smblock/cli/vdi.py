"""`smblock vdi`: where the VDIs of an SR are, and which VDI an image of the pool is."""

import json

from smblock.cli import srs
from smblock.cli.arguments import add_command, add_group, add_sr
from smblock.cli.output import CliError, at, show, size, table

# What `show` prints, in this order.
ROWS = (
    ("uuid", "VDI"),
    ("name", "name"),
    ("size", "size"),
    ("image", "image"),
    ("image_id", "image id"),
    ("snapshot", "snapshot"),
    ("snapshot_id", "snapshot id"),
    ("parents", "parents"),
    ("claimed_by", "claimed by host"),
    ("claimed_since", "claimed since"),
    ("device", "device on this host"),
    ("changed_blocks", "changed blocks"),
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
    add_sr(shows)


def _list(options):
    places = _places(options)
    rows = [(p["uuid"], size(p["size"]), _image(p), p["device"] or "-", p["name"]) for p in places]
    header = [("UUID", "SIZE", "IMAGE", "DEVICE", "NAME")]
    return show(options, table(header + rows) if rows else "the SR has no VDI", places)


def _show(options):
    word = options.vdi
    found = [place for place in _places(options) if word in _names(place)]
    if not found:
        raise CliError("the SR has no VDI %s, and no VDI with an image of that name or id" % word)
    names = srs.host_names(options)
    return show(options, "\n\n".join(_text(place, names) for place in found), found)


def _places(options):
    places = json.loads(srs.find(options).open(options.session).places())
    return sorted(places, key=lambda place: (place["image"], place["snapshot_id"] or 0, place["uuid"]))


def _names(place):
    """What a VDI is found by. An image may be named with its pool."""
    names = {place["uuid"], place["name"], place["image"], place["image_id"], _image(place)}
    return names - {None, ""}


def _image(place):
    return place["image"] + ("@" + place["snapshot"] if place["snapshot"] else "")


def _text(place, names):
    shown = dict(place, size="%s (%d bytes)" % (size(place["size"]), place["size"]))
    if place["claimed_by"]:
        shown["claimed_by"] = "%s (%s)" % (place["claimed_by"], names.get(place["claimed_by"], "not in this pool"))
        shown["claimed_since"] = at(place["claimed_since"])
    return table([(label, shown[key]) for key, label in ROWS if shown[key] is not None])
