"""`smblock export`: gives VDIs stable names, by which NBD clients reach them on this host."""

from smblock import export_control as control
from smblock import export_pool as pool
from smblock import export_records as records
from smblock.cli.arguments import UsageError, add_command
from smblock.cli.output import CliError, show

ONE_OR_OTHER = "give a VDI, or a VM with --vm"


def add_to(commands):
    parser = add_command(
        commands,
        "export",
        _run,
        help="offer a VDI, or the disks of a VM, to NBD clients under a stable name",
        epilog="The name stays until smblock unexport: across jobs, restarts and boots. A VDI that another host "
        "exports moves to this host. Its SR has to be plugged here, and no VM may use the VDI.",
    )
    parser.add_argument("vdi", nargs="?", metavar="VDI", help="UUID or name of the VDI")
    parser.add_argument("--vm", metavar="VM", help="UUID or name of a VM: its disks are NAME/0, NAME/1, ...")
    parser.add_argument("--name", metavar="NAME", help="the name; by default the VDI's UUID, or the VM's name")
    parser.add_argument("--read-only", action="store_true", help="refuse writes, and take several clients at once")
    parser.add_argument("--force", action="store_true", help="take it from another host also while a client uses it")


def _run(options):
    if bool(options.vdi) == bool(options.vm):
        raise UsageError(ONE_OR_OTHER)
    with options.session as session:
        wanted = _of_vm(session, options) if options.vm else [_of_vdi(session, options)]
        for export in wanted:
            if not records.is_name(export.name):
                text = "%r cannot be the name of an export: give one with --name, of A-Z a-z 0-9 . _ : @ + - and /"
                raise CliError(text % export.name)
        try:
            for export in wanted:
                pool.require_free(session, export)
            _export_all(session, wanted, options.force)
        except control.ServerError as error:
            raise CliError(str(error)) from error
        listed = pool.states(session, wanted)
    return show(options, "\n".join("%s  %s" % (each["name"], each["uri"]) for each in listed), listed)


def _export_all(session, wanted, force):
    """Exports the VDIs, and has the server run, also if one of them cannot be exported."""
    done = []
    try:
        for export in wanted:
            pool.export_here(session, export, force)
            done.append(export.name)
    except Exception as error:
        if not done:
            raise
        control.start()
        raise CliError("%s. Exported before that: %s" % (error, ", ".join(done))) from error
    control.start()


def _of_vdi(session, options):
    vdi = pool.find_vdi(session, options.vdi)
    return _export(options.name or vdi["uuid"], vdi, options)


def _of_vm(session, options):
    vm_ref, vm = pool.find_one(session, "VM", options.vm)
    vbds = session.xenapi.VBD.get_all_records_where('field "VM" = "%s"' % vm_ref).values()
    disks = [vbd for vbd in vbds if vbd["type"] == "Disk" and not vbd["empty"]]
    if not disks:
        raise CliError("VM %s has no disk" % options.vm)
    disks.sort(key=lambda vbd: int(vbd["userdevice"]))
    name = options.name or vm["name_label"]
    found = []
    for number, vbd in enumerate(disks):
        vdi = session.xenapi.VDI.get_record(vbd["VDI"])
        found.append(_export("%s/%d" % (name, number), vdi, options, vm["uuid"], number))
    return found


def _export(name, vdi, options, vm=None, disk=None):
    read_only = options.read_only or vdi["read_only"] or vdi["is_a_snapshot"]
    return records.Export(name, vdi["uuid"], read_only, vm, disk)
