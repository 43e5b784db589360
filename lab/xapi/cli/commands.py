"""The commands that change something: each takes its arguments and returns its output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lab.xapi.cli import records
from lab.xapi.cli.arguments import Arguments, size_in_bytes
from lab.xapi.cli.views import CliError
from lab.xapi.client import Session
from lab.xapi.schema import NULL

Command = Callable[[Session, Arguments], str]


def run(session: Session, args: Arguments) -> str:
    """Execute one command line; the text for stdout."""
    done = records.run(session, args)
    if done is not None:
        return done
    if args.command not in COMMANDS:
        raise CliError(f"Unknown command: {args.command}")
    return COMMANDS[args.command](session, args)


def _ref(session: Session, cls: str, uuid: str) -> str:
    return str(session.call(f"{cls}.get_by_uuid", uuid))


def _uuid(session: Session, cls: str, ref: str) -> str:
    return f"{session.call(f'{cls}.get_uuid', ref)}\n"


def _host(session: Session, args: Arguments, key: str = "host-uuid") -> str:
    """The host of the given uuid, or the pool's master."""
    if key in args.values:
        return _ref(session, "host", args.values[key])
    return str(session.pool.get_master(session.pool.get_all()[0]))


def _on(cls: str, call: str) -> Command:
    """A command that makes one call on the object of the given uuid, and prints nothing."""

    def command(session: Session, args: Arguments) -> str:
        session.call(f"{cls}.{call}", _ref(session, cls, args.need("uuid")))
        return ""

    return command


def _sr_create(session: Session, args: Arguments) -> str:
    label = args.need("name-label")
    sr = session.SR.create(
        _host(session, args),
        args.map("device-config"),
        str(size_in_bytes(args.get("physical-size", "0"))),
        label,
        args.get("name-description"),
        args.need("type"),
        args.get("content-type"),
        args.flag("shared"),
        args.map("sm-config"),
    )
    return _uuid(session, "SR", sr)


def _sr_probe(session: Session, args: Arguments) -> str:
    reply = session.SR.probe(
        _host(session, args),
        args.map("device-config"),
        args.need("type"),
        args.map("sm-config"),
    )
    return f"{reply}\n"


def _sr_introduce(session: Session, args: Arguments) -> str:
    sr = session.SR.introduce(
        args.need("uuid"),
        args.need("name-label"),
        args.get("name-description"),
        args.need("type"),
        args.get("content-type"),
        args.flag("shared"),
        args.map("sm-config"),
    )
    return _uuid(session, "SR", sr)


def _pbd_create(session: Session, args: Arguments) -> str:
    pbd = session.PBD.create(
        {
            "host": _ref(session, "host", args.need("host-uuid")),
            "SR": _ref(session, "SR", args.need("sr-uuid")),
            "device_config": args.map("device-config"),
        }
    )
    return _uuid(session, "PBD", pbd)


def _vdi_create(session: Session, args: Arguments) -> str:
    vdi = session.VDI.create(
        {
            "SR": _ref(session, "SR", args.need("sr-uuid")),
            "name_label": args.need("name-label"),
            "name_description": args.get("name-description"),
            "virtual_size": str(size_in_bytes(args.need("virtual-size"))),
            "type": args.get("type", "user"),
            "sharable": args.flag("sharable"),
            "read_only": False,
            "sm_config": args.map("sm-config"),
            "other_config": args.map("other-config"),
            "xenstore_data": {},
            "tags": [],
        }
    )
    return _uuid(session, "VDI", vdi)


def _vdi_resize(session: Session, args: Arguments) -> str:
    size = size_in_bytes(args.need("disk-size"))
    session.VDI.resize(_ref(session, "VDI", args.need("uuid")), str(size))
    return ""


def _copy_of(call: str) -> Command:
    def command(session: Session, args: Arguments) -> str:
        vdi = _ref(session, "VDI", args.need("uuid"))
        new = session.call(f"VDI.{call}", vdi, args.map("driver-params"))
        if "new-name-label" in args.values:
            session.VDI.set_name_label(new, args.values["new-name-label"])
        return _uuid(session, "VDI", new)

    return command


def _vdi_copy(session: Session, args: Arguments) -> str:
    sr = _ref(session, "SR", args.need("sr-uuid"))
    return _uuid(session, "VDI", str(session.VDI.copy(_ref(session, "VDI", args.need("uuid")), sr)))


def _vdi_list_changed_blocks(session: Session, args: Arguments) -> str:
    first, second = (_ref(session, "VDI", args.need(key)) for key in ("vdi-from-uuid", "vdi-to-uuid"))
    return f"{session.VDI.list_changed_blocks(first, second)}\n"


def _vdi_introduce(session: Session, args: Arguments) -> str:
    vdi = session.VDI.introduce(
        args.need("uuid"),
        args.get("name-label"),
        args.get("name-description"),
        _ref(session, "SR", args.need("sr-uuid")),
        args.need("type"),
        args.flag("sharable"),
        args.flag("read-only"),
        args.map("other-config"),
        args.need("location"),
        args.map("xenstore-data"),
        args.map("sm-config"),
    )
    return _uuid(session, "VDI", vdi)


def _vbd_create(session: Session, args: Arguments) -> str:
    vdi = _ref(session, "VDI", args.values["vdi-uuid"]) if "vdi-uuid" in args.values else NULL
    record: dict[str, Any] = {
        "VM": _ref(session, "VM", args.need("vm-uuid")),
        "VDI": vdi,
        "userdevice": args.need("device"),
        "bootable": args.flag("bootable"),
        "mode": args.get("mode", "RW").upper(),
        "type": args.get("type", "Disk"),
        "unpluggable": args.flag("unpluggable", True),
        "empty": vdi == NULL,
        "other_config": {},
    }
    return _uuid(session, "VBD", session.VBD.create(record))


def _vm_create(session: Session, args: Arguments) -> str:
    return _uuid(session, "VM", session.VM.create({"name_label": args.need("name-label")}))


def _vm_start(session: Session, args: Arguments) -> str:
    named = session.host.get_by_name_label(args.get("on"))
    host = named[0] if named else _host(session, args, "on")
    session.VM.start_on(_ref(session, "VM", args.need("uuid")), host, False, False)
    return ""


def _vm_migrate(session: Session, args: Arguments) -> str:
    host = _ref(session, "host", args.need("host-uuid"))
    session.VM.pool_migrate(_ref(session, "VM", args.need("uuid")), host, {"live": "true"})
    return ""


def _vm_snapshot(session: Session, args: Arguments) -> str:
    vm = _ref(session, "VM", args.need("uuid"))
    return _uuid(session, "VM", session.VM.snapshot(vm, args.need("new-name-label")))


def _snapshot_revert(session: Session, args: Arguments) -> str:
    session.VM.revert(_ref(session, "VM", args.need("snapshot-uuid")))
    return ""


def _secret_create(session: Session, args: Arguments) -> str:
    return _uuid(session, "secret", session.secret.create({"value": args.need("value")}))


def _host_call_plugin(session: Session, args: Arguments) -> str:
    host = _ref(session, "host", args.need("host-uuid"))
    result = session.host.call_plugin(host, args.need("plugin"), args.need("fn"), args.map("args"))
    return f"{result}\n"


COMMANDS: dict[str, Command] = {
    "sr-create": _sr_create,
    "sr-probe": _sr_probe,
    "sr-introduce": _sr_introduce,
    "sr-scan": _on("SR", "scan"),
    "sr-update": _on("SR", "update"),
    "sr-forget": _on("SR", "forget"),
    "sr-destroy": _on("SR", "destroy"),
    "pbd-create": _pbd_create,
    "pbd-plug": _on("PBD", "plug"),
    "pbd-unplug": _on("PBD", "unplug"),
    "pbd-destroy": _on("PBD", "destroy"),
    "vdi-create": _vdi_create,
    "vdi-destroy": _on("VDI", "destroy"),
    "vdi-resize": _vdi_resize,
    "vdi-snapshot": _copy_of("snapshot"),
    "vdi-clone": _copy_of("clone"),
    "vdi-copy": _vdi_copy,
    "vdi-update": _on("VDI", "update"),
    "vdi-introduce": _vdi_introduce,
    "vdi-forget": _on("VDI", "forget"),
    "vdi-enable-cbt": _on("VDI", "enable_cbt"),
    "vdi-disable-cbt": _on("VDI", "disable_cbt"),
    "vdi-data-destroy": _on("VDI", "data_destroy"),
    "vdi-list-changed-blocks": _vdi_list_changed_blocks,
    "vbd-create": _vbd_create,
    "vbd-plug": _on("VBD", "plug"),
    "vbd-unplug": _on("VBD", "unplug"),
    "vbd-destroy": _on("VBD", "destroy"),
    "vm-create": _vm_create,
    "vm-destroy": _on("VM", "destroy"),
    "vm-start": _vm_start,
    "vm-shutdown": _on("VM", "hard_shutdown"),
    "vm-migrate": _vm_migrate,
    "vm-snapshot": _vm_snapshot,
    "snapshot-revert": _snapshot_revert,
    "secret-create": _secret_create,
    "host-declare-dead": _on("host", "declare_dead"),
    "host-forget": _on("host", "destroy"),
    "host-disable": _on("host", "disable"),
    "host-enable": _on("host", "enable"),
    "host-call-plugin": _host_call_plugin,
    "message-destroy": _on("message", "destroy"),
}
