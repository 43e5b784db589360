"""`smblock accept`: accepts the regions and the key that a Crucible volume has now."""

from smblock._core import accept_vdi
from smblock.cli import srs
from smblock.cli.arguments import add_command, add_vdi
from smblock.cli.output import refuse, show


def add_to(commands):
    parser = add_command(commands, "accept", _run, help="accept the regions and the key that a Crucible volume has now")
    add_vdi(parser, "confirm that all three targets and the key belong to the volume")


def _run(options):
    if not options.yes:
        return refuse(options, "a region of another volume would be overwritten: check the targets, then add --yes")
    accept_vdi(srs.find(options).open(options.session), options.vdi)
    text = "the next activation records the regions and the key that it finds"
    return show(options, text, {"vdi": options.vdi, "accepted": True})
