"""smblock-admin: what an administrator does on a host outside xe."""

import argparse
import sys

from smblock import Error, Sr, __version__, check
from smblock.sm import DATAPATHS, Toolstack, util

PREFIX = "device-config:"


def main(arguments=None):
    """Runs one command; the exit status is 0 where all is well."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except Error as error:
        print("smblock-admin: %s" % error, file=sys.stderr)
        return 1


def _parser():
    parser = argparse.ArgumentParser(prog="smblock-admin", description="Ceph RBD storage for XCP-ng: what xe cannot do")
    parser.add_argument("--version", action="version", version="smblock " + __version__)
    commands = parser.add_subparsers(dest="command")
    commands.required = True

    checks = commands.add_parser("check", help="look at every part that an SR needs on this host, before creating one")
    _add_device_config(checks)
    checks.set_defaults(run=_check)

    reclaim = commands.add_parser("reclaim", help="free the space of deleted disks now, in the foreground")
    reclaim.add_argument("--sr", required=True, metavar="UUID")
    reclaim.add_argument("--list", action="store_true", help="only show what is still to be freed")
    _add_device_config(reclaim)
    reclaim.set_defaults(run=_reclaim)

    release = commands.add_parser("release", help="drop the claim of a host that certainly does not run any more")
    release.add_argument("--sr", required=True, metavar="UUID")
    release.add_argument("--vdi", required=True, metavar="UUID")
    release.add_argument("--yes", action="store_true", help="that host is off: it cannot write to the disk")
    _add_device_config(release)
    release.set_defaults(run=_release)
    return parser


def _add_device_config(parser):
    parser.add_argument(
        "device_config",
        nargs="*",
        type=_device_config_pair,
        metavar="device-config:KEY=VALUE",
        help="as for xe sr-create",
    )


def _device_config_pair(text):
    key, equals, value = text.partition("=")
    if not (equals and key.startswith(PREFIX)):
        raise argparse.ArgumentTypeError("%r is not %sKEY=VALUE" % (text, PREFIX))
    return key[len(PREFIX) :], value


def _check(options):
    lines, healthy = check(dict(options.device_config), DATAPATHS)
    for line in lines:
        print(line)
    return 0 if healthy else 1


def _reclaim(options):
    sr = _sr(options)
    if options.list:
        for image in sr.pending():
            print(image)
        return 0
    freed, left = sr.reclaim()
    for image in freed:
        print("freed    %s" % image)
    for image, reason in left.items():
        print("pending  %s: %s" % (image, reason))
    return 1 if left else 0


def _release(options):
    if not options.yes:
        print("smblock-admin: a host that still runs would go on writing: check that it is off, then add --yes")
        return 2
    host = _sr(options).release_vdi(options.vdi)
    print("nobody had claimed it" if host is None else "released the claim of host %s" % host)
    return 0


def _sr(options):
    return Sr(options.sr, util.get_this_host(), dict(options.device_config), Toolstack(None))


if __name__ == "__main__":
    sys.exit(main())
