"""The VMs whose disk is exported for writing: they do not start meanwhile.

XAPI alone would start them. It counts a disk in a control domain as one that is shared safely (xapi_vbd_helpers.ml,
valid_operations), and does not ask SM for a disk that the host has active. So each VM has blocked operations.
"""

from smblock import export_records as records
from smblock.hosts import failure_code

OPERATIONS = ("start", "start_on", "resume", "resume_on")
# The same for all exports: a VM with two of them is free when both have ended.
REASON = "smblock exports a disk of this VM: list it with: smblock exports"


def block(session, export):
    """Has XAPI refuse to start the VMs that have the disk. Does nothing if they are blocked."""
    if export.read_only or export.ref is None:
        return
    vm = session.xenapi.VM
    for vbd in session.xenapi.VBD.get_all_records_where('field "VDI" = "%s"' % export.ref).values():
        if vm.get_is_control_domain(vbd["VM"]):
            continue
        for operation in OPERATIONS:
            _add(vm, vbd["VM"], operation)


def unblock(session, export):
    """Lets the VMs start of which no disk is exported besides this one."""
    others = [other for other in records.all_exports(session) if other.name != export.name and not other.read_only]
    exported = {other.ref for other in others}
    for ref, vm in session.xenapi.VM.get_all_records().items():
        blocked = [operation for operation in OPERATIONS if vm["blocked_operations"].get(operation) == REASON]
        if not blocked:
            continue
        vbds = session.xenapi.VBD.get_all_records_where('field "VM" = "%s"' % ref).values()
        if exported.isdisjoint(vbd["VDI"] for vbd in vbds):
            for operation in blocked:
                session.xenapi.VM.remove_from_blocked_operations(ref, operation)


def _add(vm, ref, operation):
    try:
        if operation not in vm.get_blocked_operations(ref):
            vm.add_to_blocked_operations(ref, operation, REASON)
    except Exception as error:
        # Another process has added it.
        if failure_code(error) != "MAP_DUPLICATE_KEY":
            raise
