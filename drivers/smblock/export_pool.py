"""Exports as the commands of `smblock` see them: the whole pool, from one host."""

import json
import socket

from smblock import export_control as control
from smblock import export_place as place
from smblock import export_records as records
from smblock import export_vms as vms
from smblock.cli.output import CliError
from smblock.cli.srs import is_uuid
from smblock.hosts import DECLARED_DEAD, NO_SUCH_HOST, bounded, call_plugins, failure_code
from smblock.sm import util

# The name on the wire of functions of the plugin.
STATUS, RELEASE = "exports", "release_export"
STATUS_SECONDS = 10
RELEASE_SECONDS = 300  # it unplugs the disk
PLUG_SECONDS = 300


def find_one(session, cls, word):
    """XAPI's reference and record of the object with that UUID or name."""
    field = "uuid" if is_uuid(word) else "name_label"
    kind = getattr(session.xenapi, cls)
    refs = kind.get_by_name_label(word) if field == "name_label" else _by_uuid(kind, word)
    if cls == "VM":
        refs = [ref for ref in refs if not kind.get_is_a_snapshot(ref)]
    if not refs:
        raise CliError("this pool has no %s %s" % (cls, word))
    if len(refs) > 1:
        uuids = ", ".join(sorted(kind.get_uuid(ref) for ref in refs))
        raise CliError("several %ss have the name %r: give the UUID of one of them: %s" % (cls, word, uuids))
    return refs[0], kind.get_record(refs[0])


def find_vdi(session, word):
    """XAPI's record of a VDI."""
    return find_one(session, "VDI", word)[1]


def find_exports(session, name, vm):
    """The export of that name or VDI, or all exports below the name of a VM."""
    exports = records.all_exports(session)
    found = [export for export in exports if vm and export.name.startswith(vm + "/")]
    found += [export for export in exports if name and name in (export.name, export.vdi)]
    if not found:
        word = "below %s/" % vm if vm else name
        raise CliError("this pool has no export %s: list them with: smblock exports" % word)
    return found


def require_free(session, export):
    """`CliError` if an export cannot be made here: found before anything is changed."""
    export.load(session)
    for other in records.all_exports(session):
        if other.is_damaged and other.name == export.name:
            text = "the pool's key of export %s cannot be read: remove it with: smblock unexport %s"
            raise CliError(text % (other.name, other.name))
        if other.vdi == export.vdi and other.name != export.name:
            text = "VDI %s is exported as %s already: end that with: smblock unexport %s"
            raise CliError(text % (export.vdi, other.name, other.name))
        if other.name == export.name and other.vdi != export.vdi:
            raise CliError("the name %s is taken by VDI %s: give another one with --name" % (other.name, other.vdi))
        if other.name == export.name and other.read_only != export.read_only:
            how = "read-only" if other.read_only else "writable"
            raise CliError("%s is exported %s: end that with: smblock unexport %s" % (other.name, how, other.name))
    users = place.users(session, export)
    if users and not export.read_only:
        text = "VDI %s is in use by %s: shut the VM down, or detach the disk, then export it"
        raise CliError(text % (export.vdi, ", ".join(users)))
    _require_plugged(session, export)


def export_here(session, export, force):
    """Serves a VDI under a name on this host. Does nothing if that is so already."""
    require_free(session, export)
    is_new = records.add(session, export)
    here = util.get_this_host()
    before = export.host if export.host != here else ""
    if before:
        _release(session, export, force)
    try:
        with control.changing(export.vdi):
            with control.choosing():
                records.set_host(session, export, here)
            with bounded(session, PLUG_SECONDS) as own:
                place.serve(own, export)
    except socket.timeout as error:
        control.start()  # its keeper goes on
        text = "XAPI has not plugged VDI %s in %d s. If that is done later, it is served: smblock exports shows that. "
        text += "Give up: smblock unexport %s"
        raise CliError(text % (export.vdi, PLUG_SECONDS, export.name)) from error
    except Exception as error:
        text = "VDI %s cannot be plugged on this host: %s" % (export.vdi, error)
        if is_new:
            _undo(session, export)
        elif before:
            _end_here(session, export)
            text += ". No host serves %s now: export it again, here or on host %s"
            text %= (export.name, _name_of_host(session, before))
        if failure_code(error) is None and not isinstance(error, control.ServerError):
            raise
        raise CliError(text) from error


def unexport(session, export, force):
    """Ends an export on its host, and gives its name free."""
    if export.host == util.get_this_host():
        place.withdraw(session, export, force)
    elif export.host:
        _release(session, export, force)
    vms.unblock(session, export)
    records.remove(session, export)


def states(session, exports):
    """What `smblock exports` prints of each, for JSON."""
    if not exports:
        return []
    hosts = {host["uuid"]: (ref, host) for ref, host in session.xenapi.host.get_all_records().items()}
    wanted = {export.load(session).host for export in exports} & set(hosts)
    replies = _statuses(session, {uuid: hosts[uuid][0] for uuid in wanted})
    return [_state(session, export, hosts.get(export.host, (None, None))[1], replies) for export in exports]


def status_here():
    """The reply of the plugin: the server's state as JSON."""
    return json.dumps(control.status())


def _statuses(session, refs):
    """The reply of each host's server, by UUID: None if no server runs there, a text if the host does not reply."""
    here = util.get_this_host()
    others = {uuid: ref for uuid, ref in refs.items() if uuid != here}
    replies = call_plugins(session, list(others.values()), STATUS, STATUS_SECONDS)
    found = {}
    for uuid, ref in others.items():
        text, error = replies[ref]
        found[uuid] = json.loads(text) if error is None else str(error) or type(error).__name__
    if here in refs:
        found[here] = control.status()
    return found


def _state(session, export, host, replies):
    reply = replies.get(export.host)
    server = reply if isinstance(reply, dict) else {"exports": [], "clients": []}
    is_served = any(each["vdi"] == export.vdi for each in server["exports"])
    if export.is_damaged:
        state = "damaged"
    elif export.ref is None:
        state = "VDI missing"
    elif isinstance(reply, str):
        state = "host does not reply"
    else:
        state = "served" if is_served else "not served"
    sr = session.xenapi.SR.get_record(export.record["SR"]) if export.ref else {"uuid": None, "name_label": None}
    return {
        "name": export.name,
        "state": state,
        "vdi": export.vdi or None,
        "vdi_name": export.record.get("name_label"),
        "size": int(export.record["virtual_size"]) if export.ref else None,
        "read_only": export.read_only,
        "vm": export.vm,
        "disk": export.disk,
        "sr": sr["uuid"],
        "sr_name": sr["name_label"],
        "host": export.host or None,
        "host_name": host["name_label"] if host else None,
        "clients": [each["peer"] for each in server["clients"] if each["vdi"] == export.vdi],
        "uri": _uri(export.name, server, host) if is_served else None,
    }


def _uri(name, server, host):
    address = server["address"]
    if address in ("0.0.0.0", "::"):
        address = host["address"]
    if ":" in address:
        address = "[%s]" % address
    return "%s://%s:%d/%s" % ("nbds" if server["tls"] else "nbd", address, server["port"], name)


def _release(session, export, force):
    """Has the export's host end its service, unless that host is dead."""
    try:
        ref = session.xenapi.host.get_by_uuid(export.host)
    except Exception as error:
        if failure_code(error) in NO_SUCH_HOST:
            return  # forgotten
        raise
    args = {"name": export.name, "force": "true" if force else "false"}
    try:
        with bounded(session, RELEASE_SECONDS) as own:
            reply = own.xenapi.host.call_plugin(ref, "smblock", RELEASE, args)
    except Exception as error:
        if not isinstance(error, (OSError, socket.timeout)) and failure_code(error) is None:
            raise
        if DECLARED_DEAD in session.xenapi.host.get_other_config(ref):
            return
        text = "host %s serves %s and does not end that: %s. If the host is dead: xe host-declare-dead uuid=%s"
        raise CliError(text % (session.xenapi.host.get_name_label(ref), export.name, error, export.host)) from error
    if reply:
        raise CliError("host %s: %s" % (session.xenapi.host.get_name_label(ref), reply))
    export.load(session)


def release_here(session, name, force):
    """The plugin's function: ends an export of this host. Returns why it refuses that, or ""."""
    for export in records.all_exports(session):
        if export.name == name:
            try:
                place.withdraw(session, export, force)
            except control.ServerError as error:
                return str(error)
    return ""


def _require_plugged(session, export):
    """`CliError` if the SR of an export is not plugged here."""
    query = 'field "host" = "%s"' % util.get_this_host_ref(session)
    pbds = session.xenapi.PBD.get_all_records_where(query).values()
    pbds = [pbd for pbd in pbds if pbd["SR"] == export.record["SR"]]
    sr_uuid = session.xenapi.SR.get_uuid(export.record["SR"])
    if not pbds:
        raise CliError("VDI %s cannot be plugged on this host: it has no PBD of SR %s" % (export.vdi, sr_uuid))
    if not pbds[0]["currently_attached"]:
        text = "VDI %s cannot be plugged on this host: its SR %s is not. Plug that with: xe pbd-plug uuid=%s"
        raise CliError(text % (export.vdi, sr_uuid, pbds[0]["uuid"]))


def _end_here(session, export):
    """After a failed move: this host's keeper does not go on with it."""
    try:
        place.withdraw(session, export, True)
    except Exception:
        util.logException("export %s: ending it here" % export.name)


def _name_of_host(session, host_uuid):
    try:
        return session.xenapi.host.get_name_label(session.xenapi.host.get_by_uuid(host_uuid))
    except Exception as error:
        if failure_code(error) in NO_SUCH_HOST:
            return host_uuid
        raise


def _undo(session, export):
    """Removes what a failed `export` has made. The first error counts."""
    try:
        place.withdraw(session, export, True)
        vms.unblock(session, export)
        records.remove(session, export)
    except Exception:
        util.logException("export %s: undoing it" % export.name)


def _by_uuid(kind, uuid):
    return list(kind.get_all_records_where('field "uuid" = "%s"' % uuid))
