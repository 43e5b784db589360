"""The pool's exports, in XAPI.

The pool's other_config has a key for each name, so that a name is given once: XAPI refuses a key that exists. Its
value never changes. The VDI's other_config has the name, too, and the host that serves it, which changes. xapi copies
a VDI's other_config to its snapshots and clones, so that the VDI alone does not make an export.
"""

import json
import re

from smblock.hosts import failure_code
from smblock.sm import util

POOL_KEY = "smblock:export:"
VDI_NAME = "smblock:export"
VDI_HOST = "smblock:export-host"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+-]*(/[A-Za-z0-9._:@+-]+)*")
_LONGEST = 255
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Export:
    """An export.

    name       the name by which clients choose it
    vdi        the UUID of its VDI
    read_only  whether clients can only read
    vm, disk   the UUID of the VM and the number of the disk, if it is one of a VM's disks; else None
    ref        XAPI's reference to the VDI; None if XAPI does not have the VDI
    record     XAPI's record of the VDI
    is_damaged whether the pool's key cannot be read: only the name is known, which stays taken
    """

    def __init__(self, name, vdi, read_only=False, vm=None, disk=None):
        self.name = name
        self.vdi = vdi
        self.read_only = read_only
        self.vm = vm
        self.disk = disk
        self.ref = None
        self.record = {}
        self.is_damaged = False

    @property
    def host(self):
        """The UUID of the host that serves it, or "" if none does."""
        other_config = self.record.get("other_config", {})
        # A copy of another VDI's keys, or none.
        return other_config.get(VDI_HOST, "") if other_config.get(VDI_NAME) == self.name else ""

    def value(self):
        """The value of the pool's key."""
        facts = {"vdi": self.vdi, "read_only": self.read_only, "vm": self.vm, "disk": self.disk}
        return json.dumps(facts, sort_keys=True)

    def load(self, session):
        """Reads the VDI's record."""
        if self.is_damaged:
            return self
        found = session.xenapi.VDI.get_all_records_where('field "uuid" = "%s"' % self.vdi)
        for self.ref, self.record in found.items():
            pass
        return self


def is_name(name):
    """Whether a text can be the name of an export: it becomes part of URIs, and of commands."""
    return len(name) <= _LONGEST and _NAME.fullmatch(name) is not None


def all_exports(session):
    """The pool's exports, sorted by name."""
    (pool,) = session.xenapi.pool.get_all_records().values()
    found = [
        _parse(key[len(POOL_KEY) :], value) for key, value in pool["other_config"].items() if key.startswith(POOL_KEY)
    ]
    return [export.load(session) for export in sorted(found, key=lambda export: export.name)]


def of_host(session, host_uuid):
    """The exports that a host is to serve, sorted by name."""
    return [export for export in all_exports(session) if export.host == host_uuid]


def _parse(name, value):
    """Returns the export of a key. One that cannot be read is served by no host, and stops no other one."""
    try:
        facts = json.loads(value)
        export = Export(name, facts["vdi"], facts["read_only"], facts["vm"], facts["disk"])
        if not is_name(name) or _UUID.fullmatch(export.vdi) is None or not isinstance(export.read_only, bool):
            raise ValueError("not the value of an export")
    except (KeyError, TypeError, ValueError) as error:
        util.SMlog("export %r: its key of the pool cannot be read: %r: %r" % (name, value, error))
        export = Export(name, "", True)
        export.is_damaged = True
    return export


def add(session, export):
    """Takes the name. Returns False if the pool has an export of that name."""
    try:
        session.xenapi.pool.add_to_other_config(_pool(session), POOL_KEY + export.name, export.value())
    except Exception as error:
        if failure_code(error) == "MAP_DUPLICATE_KEY":
            return False
        raise
    return True


def remove(session, export):
    """Gives the name free. The export is on no host any more."""
    if export.ref is not None and export.record["other_config"].get(VDI_NAME) == export.name:
        session.xenapi.VDI.remove_from_other_config(export.ref, VDI_NAME)
    session.xenapi.pool.remove_from_other_config(_pool(session), POOL_KEY + export.name)


def set_host(session, export, host_uuid):
    """Notes the host that serves the export; "" if none does."""
    vdi = session.xenapi.VDI
    vdi.remove_from_other_config(export.ref, VDI_HOST)
    if host_uuid:
        vdi.remove_from_other_config(export.ref, VDI_NAME)
        vdi.add_to_other_config(export.ref, VDI_NAME, export.name)
        vdi.add_to_other_config(export.ref, VDI_HOST, host_uuid)
    export.load(session)


def _pool(session):
    (ref,) = session.xenapi.pool.get_all_records()
    return ref
