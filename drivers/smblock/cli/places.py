"""Where the VDIs of an SR are, as the core returns it: finding one, and its image's names."""

import json

from smblock.cli.output import CliError


def all_places(core):
    places = json.loads(core.places())
    return sorted(places, key=lambda place: (place["image"], place["snapshot_id"] or 0, place["uuid"]))


def find(core, word):
    """The VDIs with that UUID or name, or with an image of that name or id."""
    found = [place for place in all_places(core) if word in _names(place)]
    if not found:
        raise CliError("the SR has no VDI %s, and no VDI with an image of that name or id" % word)
    return found


def path_of(place):
    """The image with its pool. A Crucible volume has none."""
    return "/".join(filter(None, [place["pool"], place["image"]]))


def image_of(place):
    """The image, or its snapshot."""
    return place["image"] + ("@" + place["snapshot"] if place["snapshot"] else "")


def _names(place):
    names = {place["uuid"], place["name"], place["image"], place["image_id"], image_of(place), path_of(place)}
    return names - {None, ""}
