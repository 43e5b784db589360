"""Finds the other disks of a VM that xapi snapshots: the core takes the snapshots of all of them at one instant.

xapi calls VDI.snapshot for one disk after the other, as a subtask of the task of VM.snapshot or VM.checkpoint.
"""

from XenAPI import Failure

from smblock.sm import util

NULL = "OpaqueRef:NULL"
OPERATIONS = ("snapshot", "checkpoint")
ALONE = ("", [])
# XAPI has lost an object: its task has ended.
GONE = "HANDLE_INVALID"


def siblings_of(session, vdi_ref):
    """Returns the reference of the task that snapshots the VM of a disk, and the UUIDs of the VM's other plugged
    disks, of any SR. Returns ("", []) if the disk is snapshotted alone."""
    try:
        return _siblings_of(session.xenapi, vdi_ref)
    except Failure as failure:
        if failure.details[0] != GONE:
            raise
        util.SMlog("VDI %s: its snapshot is taken alone, because the task of its VM has ended: %s" % (vdi_ref, failure))
        return ALONE


def _siblings_of(xenapi, vdi_ref):
    vdi = xenapi.VDI.get_record(vdi_ref)
    tasks = [task for task, operation in vdi["current_operations"].items() if operation == "snapshot"]
    if not vdi["VBDs"] or len(tasks) != 1:
        return ALONE
    task = xenapi.task.get_subtask_of(tasks[0])
    if task == NULL:
        return ALONE
    # The task names the operation: another VM that has the disk, too, does not count.
    vms = {vbd["VM"] for vbd in _plugged(xenapi, "VDI", vdi_ref)}
    vms = [vm for vm in sorted(vms) if xenapi.VM.get_current_operations(vm).get(task) in OPERATIONS]
    if len(vms) != 1:
        return ALONE
    disks = {vbd["VDI"] for vbd in _plugged(xenapi, "VM", vms[0])} - {vdi_ref}
    return task, _uuids(xenapi, sorted(disks))


def _plugged(xenapi, field, ref):
    """Returns the VBDs of plugged disks of a VDI, or of a VM."""
    vbds = xenapi.VBD.get_all_records_where('field "%s" = "%s"' % (field, ref)).values()
    return [vbd for vbd in vbds if vbd["type"] == "Disk" and not vbd["empty"] and vbd["currently_attached"]]


def _uuids(xenapi, vdi_refs):
    if len(vdi_refs) < 2:
        return [xenapi.VDI.get_uuid(ref) for ref in vdi_refs]
    # One call for all. The rows of XAPI's database have their reference as a field.
    query = " or ".join('(field "_ref" = "%s")' % ref for ref in vdi_refs)
    return sorted(vdi["uuid"] for vdi in xenapi.VDI.get_all_records_where(query).values())
