"""`smblock vdi`: where the VDIs of an SR are, which VDI an image of the pool is, and the limits of a VDI."""

from smblock._core import measure_vdi
from smblock.cli import image, srs, vdi_limit
from smblock.cli.arguments import add_command, add_group, add_sr
from smblock.cli.output import at, show, size, table
from smblock.cli.places import all_places, find, image_of, path_of
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
    ("changed_blocks", "changed blocks"),
    ("operation", "under way"),
)


def add_to(commands):
    group = add_group(commands, "vdi", help="list the VDIs of an SR with their images, show one, or limit one")
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
    image.add_import(group)
    image.add_spec(group)
    vdi_limit.add_to(group)


def _list(options):
    places = all_places(srs.find(options).open(options.session))
    rows = [(p["uuid"], size(p["size"]), image_of(p), p["device"] or "-", p["name"]) for p in places]
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
            place["exact"] = measure_vdi(core, place["uuid"], progress.report)
        progress.end()
    names = srs.host_names(options)
    return show(options, "\n\n".join(_text(place, sr, names) for place in found), found)


def _text(place, sr, names):
    shown = dict({"exact": None}, **place)
    for key in ("size", "exact"):
        if shown[key] is not None:
            shown[key] = "%s (%d bytes)" % (size(shown[key]), shown[key])
    is_known = place["utilisation"] is not None
    shown["utilisation"] = size(place["utilisation"]) if is_known else "not counted yet"
    shown["sr"] = " ".join(filter(None, [sr.uuid, sr.name and "(%s)" % sr.name]))
    shown["image"] = path_of(place)
    shown["flags"] = ", ".join(place["flags"]) or None
    if place["claimed_by"]:
        shown["claimed_by"] = "%s (%s)" % (place["claimed_by"], names.get(place["claimed_by"], "not in this pool"))
        shown["claimed_since"] = at(place["claimed_since"])
    return table([(label, shown[key]) for key, label in ROWS if shown[key] is not None])
