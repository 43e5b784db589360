"""`smblock release`: releases the claim of a host that is certainly off."""

import sys

from smblock._core import release_vdi
from smblock.cli import srs
from smblock.cli.arguments import add_command, add_vdi
from smblock.cli.output import refuse, show
from smblock.local import LOCK_SECONDS, LocalVdi, vdi_lock


def add_to(commands):
    parser = add_command(commands, "release", _run, help="release the claim of a host that is certainly off")
    parser.add_argument(
        "--force",
        action="store_true",
        help="check neither the host nor the image's watchers: a host that still writes destroys the disk's content",
    )
    add_vdi(parser, "confirm that the host is off and cannot write to the disk")


def _run(options):
    if not options.yes and options.force:
        return refuse(
            options,
            "--force does not ask the host that has claimed the disk. If that host still writes,",
            "two hosts destroy the disk's content. Switch its power off first, then add --yes",
        )
    if not options.yes:
        return refuse(options, "a host that runs can still write to the disk: make sure that it is off, then add --yes")
    sr = srs.find(options)
    core = sr.open(options.session)
    if not _reconcile_here(options, sr, core):
        return 1
    host = release_vdi(core, options.vdi, options.force)
    text = "no host has claimed it: nothing to release" if host is None else "released the claim of host %s" % host
    return show(options, text, {"vdi": options.vdi, "released": host})


def _reconcile_here(options, sr, core):
    """Removes what a killed command of this host left of a disk. Returns False if this host uses the disk."""
    local = LocalVdi(sr.uuid, options.vdi)
    with vdi_lock(options.vdi, LOCK_SECONDS) as locked:
        in_use = not locked or local.reconcile(core)
        if not in_use:
            local.note.remove()
    if in_use:
        why = "this host uses VDI %s: unplug it, or shut its VM down, instead" % options.vdi
        print("%s: %s" % (options.parser.prog, why), file=sys.stderr)
    return not in_use
