"""`smblock exports`: the exports of this pool, where each is served, and which client uses it."""

from smblock import export_pool as pool
from smblock import export_records as records
from smblock.cli.arguments import add_command
from smblock.cli.output import show, size, table


def add_to(commands):
    add_command(commands, "exports", _run, help="list the exports of this pool, with their URIs and clients")


def _run(options):
    with options.session as session:
        listed = pool.states(session, records.all_exports(session))
    rows = [
        (
            each["name"],
            each["state"],
            size(each["size"]),
            each["host_name"] or "-",
            ", ".join(each["clients"]) or "-",
            each["uri"] or "-",
            each["vdi"] or "-",
            each["sr_name"] or "-",
        )
        for each in listed
    ]
    header = [("NAME", "STATE", "SIZE", "HOST", "CLIENT", "URI", "VDI", "SR")]
    return show(options, table(header + rows) if rows else "this pool has no exports", listed)
