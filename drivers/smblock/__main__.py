"""smblock-admin: what an administrator does on a host outside xe."""

import argparse
import contextlib
import os
import signal
import sys
import time

from smblock import Error, Sr, __version__, check, crucible
from smblock.hosts import LocalSession
from smblock.pause import Toolstack
from smblock.sm import DATAPATHS, util

PREFIX = "device-config:"


def main(arguments=None):
    """Runs one command; the exit status is 0 where all is well."""
    options = _parser().parse_args(arguments)
    options.session = LocalSession()
    with contextlib.closing(options.session):
        try:
            return options.run(options)
        except Error as error:
            print("smblock-admin: %s" % error, file=sys.stderr)
            return 1


def _parser():
    parser = argparse.ArgumentParser(
        prog="smblock-admin", description="smblock's storage for XCP-ng: what xe cannot do"
    )
    parser.add_argument("--version", action="version", version="smblock " + __version__)
    commands = parser.add_subparsers(dest="command")
    commands.required = True

    checks = commands.add_parser("check", help="look at every part that an SR needs on this host, before creating one")
    _add_device_config(checks)
    checks.set_defaults(run=_check)

    reclaim = commands.add_parser(
        "reclaim",
        help="free the space of deleted disks now, and flatten disks with long chains of parents",
        epilog="The exit status is 1 where something failed: the text says why. Waiting for others is no failure.",
    )
    reclaim.add_argument("--sr", required=True, metavar="UUID")
    how = reclaim.add_mutually_exclusive_group()
    how.add_argument("--list", action="store_true", help="only show what is to be done, and what waits for others")
    how.add_argument("--background", action="store_true", help="give way to everything else, and tell SMlog alone")
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
    config = dict(options.device_config)
    lines, healthy = (crucible.check if crucible.is_meant(config) else check)(config, DATAPATHS)
    for line in lines:
        print(line)
    return 0 if healthy else 1


def _reclaim(options):
    sr = _sr(options)
    if options.list:
        for image, what, holds_up in sr.pending():
            _print_state("waits" if holds_up else "pending", image, "; ".join(filter(None, [what, holds_up])))
        return 0
    # It may be stopped anywhere: Python's own handler would wait for the core to come back.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if options.background:
        os.nice(19)
    failed = sr.reclaim(_log_state if options.background else _print_progress())
    return 1 if failed else 0


def _print_state(state, image, text):
    print("%-8s %s: %s" % (state, image, text), flush=True)


def _print_progress():
    """Prints what reclaim says: how far it is at most once a second."""
    last = 0.0

    def report(state, image, text):
        nonlocal last
        if state == "progress":
            if time.monotonic() - last < 1:
                return
            last = time.monotonic()
        _print_state(state, image, text)

    return report


def _log_state(state, image, text):
    if state in ("done", "failed"):
        util.SMlog("reclaim: %s %s: %s" % (state, image, text))


def _release(options):
    if not options.yes:
        print("smblock-admin: a host that still runs would go on writing: check that it is off, then add --yes")
        return 2
    config = dict(options.device_config)
    if crucible.is_meant(config):
        host = crucible.release(options.sr, options.vdi, config)
    else:
        host = _sr(options).release_vdi(options.vdi)
    print("nobody had claimed it" if host is None else "released the claim of host %s" % host)
    return 0


def _sr(options):
    return Sr(options.sr, util.get_this_host(), dict(options.device_config), Toolstack(options.session, options.sr))


if __name__ == "__main__":
    sys.exit(main())
