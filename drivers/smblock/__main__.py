"""smblock-admin: commands for administrators that xe does not have."""

import argparse
import contextlib
import os
import signal
import sys

from smblock import Error, __version__, check, sr_type_of
from smblock.core import open_core, sr_of
from smblock.hosts import LocalSession
from smblock.local import LOCK_SECONDS, LocalVdi, vdi_lock
from smblock.progress import Progress, print_state
from smblock.sm import DATAPATHS, util

PREFIX = "device-config:"
NOTHING = "nothing pending"


def main(arguments=None):
    """Runs one command. Returns the exit status: 0 if it succeeded."""
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

    checks = commands.add_parser("check", help="check each part that an SR needs on this host, before creating one")
    checks.add_argument("--json", action="store_true", help="print one JSON object")
    _add_device_config(checks)
    checks.set_defaults(run=_check)

    reclaim = commands.add_parser(
        "reclaim",
        help="free the space of deleted disks now, and flatten disks with long clone chains",
        epilog="The exit status is 1 if an image failed; the text has the reason. An image that waits is no failure.",
    )
    reclaim.add_argument("--sr", required=True, metavar="UUID")
    how = reclaim.add_mutually_exclusive_group()
    how.add_argument("--list", action="store_true", help="only list the pending work, and what it waits for")
    how.add_argument("--background", action="store_true", help="run at low priority, and log to SMlog only")
    _add_device_config(reclaim)
    reclaim.set_defaults(run=_reclaim)

    release = commands.add_parser("release", help="release the claim of a host that is certainly off")
    _add_vdi(release, "confirm that the host is off and cannot write to the disk")
    release.add_argument(
        "--force",
        action="store_true",
        help="check neither the host nor the image's watchers: a host that still writes destroys the disk's content",
    )
    release.set_defaults(run=_release)

    fence = commands.add_parser(
        "fence",
        help="declare a host dead in an SR of type cephrbd, and cut it off from its disks",
        epilog="For a host that 'xe host-declare-dead' does not cover, for example one of another pool.",
    )
    fence.add_argument("--sr", required=True, metavar="UUID")
    fence.add_argument("--host", required=True, metavar="UUID")
    fence.add_argument(
        "--all-clients",
        action="store_true",
        help="cut off every client of the host's addresses for 24 h, also after a restart; never for a host with OSDs",
    )
    fence.add_argument("--yes", action="store_true", help="confirm that the host's VMs lose their disks of this SR")
    _add_device_config(fence)
    fence.set_defaults(run=_fence)

    accept = commands.add_parser("accept", help="accept the regions and the key that a Crucible volume has now")
    _add_vdi(accept, "confirm that all three targets and the key belong to the volume")
    accept.set_defaults(run=_accept)
    return parser


def _add_vdi(parser, yes_means):
    parser.add_argument("--sr", required=True, metavar="UUID")
    parser.add_argument("--vdi", required=True, metavar="UUID")
    parser.add_argument("--yes", action="store_true", help=yes_means)
    _add_device_config(parser)


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
    sr_type = sr_type_of(config)
    report = check(sr_type, config, DATAPATHS, _other_srs(options, sr_type), options.json)
    print(report.text)
    return 0 if report.healthy else 1


def _other_srs(options, sr_type):
    """Returns the device-configs of this host's SRs of a type. Empty if XAPI cannot be asked."""
    try:
        xenapi = options.session().xenapi
        here = util.get_this_host_ref(options.session())
        srs = xenapi.SR.get_all_records_where('field "type" = "%s"' % sr_type)
        pbds = xenapi.PBD.get_all_records_where('field "host" = "%s"' % here)
        return [pbd["device_config"] for pbd in pbds.values() if pbd["SR"] in srs]
    except Exception:
        util.logException("check: asking XAPI for this host's other SRs")
        return []


def _reclaim(options):
    sr = _sr(options)
    if options.list:
        pending = sr.pending()
        if not pending:
            print(NOTHING)
        for item in pending:
            text = "; ".join(filter(None, [item.work, item.waits_for]))
            print_state("waits" if item.waits_for else "pending", item.image, text)
        return 0
    # Ctrl-C may end it at any point. Python's own handler would wait until the core returns.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if options.background:
        os.nice(19)
    progress = Progress()
    failed = sr.reclaim(_log_state if options.background else progress.report)
    if not (options.background or progress.reports):
        print(NOTHING)
    return 1 if failed else 0


def _log_state(state, image, text, _done, _total):
    if state in ("done", "failed"):
        util.SMlog("reclaim: %s %s: %s" % (state, image, text))


def _release(options):
    if not options.yes:
        if options.force:
            print("smblock-admin: --force does not ask the host that has claimed the disk. If that host still writes,")
            print("two hosts destroy the disk's content. Switch its power off first, then add --yes")
        else:
            print(
                "smblock-admin: a host that runs can still write to the disk: make sure that it is off, then add --yes"
            )
        return 2
    core = _sr(options)
    if not _settle_here(options, core):
        return 1
    host = core.release_vdi(options.vdi, options.force)
    print("no host has claimed it: nothing to release" if host is None else "released the claim of host %s" % host)
    return 0


def _settle_here(options, core):
    """Removes what a killed command of this host left of a disk. Returns False if this host uses the disk."""
    local = LocalVdi(options.sr, options.vdi)
    with vdi_lock(options.vdi, LOCK_SECONDS) as locked:
        in_use = not locked or local.settle(core)
        if not in_use:
            local.note.remove()
    if in_use:
        why = "this host uses VDI %s: unplug it, or shut its VM down, instead" % options.vdi
        print("smblock-admin: %s" % why, file=sys.stderr)
    return not in_use


def _fence(options):
    sr = _sr(options)
    sr.require("fence")
    if not options.yes:
        print("smblock-admin: the host's running VMs lose their disks of this SR: make sure that you want this, then")
        print("add --yes")
        return 2
    addresses = sr.declare_dead(options.host, "smblock-admin fence")
    print("host %s is declared dead in SR %s" % (options.host, options.sr))
    for address in addresses:
        print("blocklisted %s" % address)
    if options.all_clients:
        for address in sr.blocklist_hosts(addresses):
            print("blocklisted %s: all clients of that address" % address)
    if not addresses:
        print("the host has claimed no disk of the SR: there is no client to blocklist")
    return 0


def _accept(options):
    if not options.yes:
        print("smblock-admin: a region of another volume would be overwritten: check the targets, then add --yes")
        return 2
    _sr(options).accept_vdi(options.vdi)
    print("the next activation records the regions and the key that it finds")
    return 0


def _sr(options):
    """Returns the core of the SR. Its type is XAPI's; if XAPI does not have the SR, the keys decide."""
    config = dict(options.device_config)
    return open_core(_sr_type(options) or sr_type_of(config), options.session, options.sr, config)


def _sr_type(options):
    try:
        found = sr_of(options.session(), options.sr)
    except Exception:
        util.logException("SR %s: asking XAPI for its type" % options.sr)
        return None
    finally:
        options.session.close()  # the work may take hours; a later use of XAPI opens another session
    return found and found[1]


if __name__ == "__main__":
    sys.exit(main())
