"""`smblock unexport`: ends an export, and unplugs its VDI."""

from smblock import export_control as control
from smblock import export_pool as pool
from smblock.cli.arguments import UsageError, add_command
from smblock.cli.output import CliError, show


def add_to(commands):
    parser = add_command(
        commands,
        "unexport",
        _run,
        help="end an export, on whichever host it is",
        epilog="Refused while a client uses the export. The data of the VDI stays.",
    )
    parser.add_argument("name", nargs="?", metavar="NAME|VDI", help="name of the export, or UUID of its VDI")
    parser.add_argument("--vm", metavar="NAME", help="all exports NAME/0, NAME/1, ...")
    parser.add_argument("--force", action="store_true", help="end the connections of its clients")


def _run(options):
    if bool(options.name) == bool(options.vm):
        raise UsageError("give the name of an export, or that of a VM's exports with --vm")
    with options.session as session:
        found = pool.find_exports(session, options.name, options.vm)
        try:
            for export in found:
                pool.unexport(session, export, options.force)
        except control.ServerError as error:
            raise CliError(str(error)) from error
    names = [export.name for export in found]
    return show(options, "\n".join("%s is not exported any more" % name for name in names), names)
