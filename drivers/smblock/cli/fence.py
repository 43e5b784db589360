"""`smblock fence`: declares a host dead in an SR, and cuts it off from the SR's disks."""

from smblock._core import blocklist_hosts
from smblock.cli import srs
from smblock.cli.arguments import add_command, add_sr
from smblock.cli.output import refuse, show


def add_to(commands):
    parser = add_command(
        commands,
        "fence",
        _run,
        help="declare a host dead in an SR of type cephrbd, and cut it off from its disks",
        epilog="For a host that 'xe host-declare-dead' does not cover, for example one of another pool.",
    )
    parser.add_argument("--host", required=True, metavar="UUID")
    parser.add_argument(
        "--all-clients",
        action="store_true",
        help="cut off every client of the host's addresses for 24 h, also after a restart; never for a host with OSDs",
    )
    parser.add_argument("--yes", action="store_true", help="confirm that the host's VMs lose their disks of this SR")
    add_sr(parser)


def _run(options):
    found = srs.find(options)
    sr = found.open(options.session)
    sr.require("fence")
    if not options.yes:
        return refuse(
            options,
            "the host's running VMs lose their disks of this SR: make sure that you want this, then",
            "add --yes",
        )
    addresses = sr.declare_dead(options.host, "smblock fence")
    lines = ["host %s is declared dead in SR %s" % (options.host, found.uuid)]
    lines += ["blocklisted %s" % address for address in addresses]
    everything = blocklist_hosts(sr, addresses) if options.all_clients else []
    lines += ["blocklisted %s: all clients of that address" % address for address in everything]
    if not addresses:
        lines.append("the host has claimed no disk of the SR: there is no client to blocklist")
    data = {"host": options.host, "sr": found.uuid, "blocklisted": addresses, "all_clients_of": everything}
    return show(options, "\n".join(lines), data)
