"""How xe prints a failed call: a text for the errors in its table, else code and parameters."""

from __future__ import annotations

from lab.xapi.errors import ApiError

# The text of an error in the API's reference, and its parameters.
_KNOWN: dict[str, tuple[str, tuple[str, ...]]] = {
    "UUID_INVALID": ("The uuid you supplied was invalid.", ("type", "uuid")),
    "HANDLE_INVALID": (
        "You gave an invalid object reference.  The object may have recently been deleted.",
        ("class", "handle"),
    ),
    "OPERATION_BLOCKED": (
        "You attempted an operation that was explicitly blocked "
        "(see the blocked_operations field of the given object).",
        ("ref", "code"),
    ),
    "VDI_IN_USE": (
        "This operation cannot be performed because this VDI is in use by some other operation",
        ("vdi", "operation"),
    ),
    "VDI_MISSING": (
        "This operation cannot be performed because the specified VDI could not be found on the storage substrate",
        ("sr", "vdi"),
    ),
    "VDI_READONLY": (
        "The operation required write access but this VDI is read-only",
        ("vdi",),
    ),
    "SR_HAS_PBD": (
        "The SR is still connected to a host via a PBD. It cannot be destroyed or forgotten.",
        ("sr",),
    ),
    "SR_HAS_NO_PBDS": ("The SR has no attached PBDs", ("sr",)),
    "SR_NOT_EMPTY": ("The SR operation cannot be performed because the SR is not empty.", ()),
    "SR_UNKNOWN_DRIVER": (
        "The SR could not be connected because the driver was not recognised.",
        ("driver",),
    ),
    "SR_OPERATION_NOT_SUPPORTED": (
        "The SR backend does not support the operation (check the SR's allowed operations)",
        ("sr",),
    ),
    "UNIMPLEMENTED_IN_SM_BACKEND": (
        "You have attempted a function which is not implemented",
        ("message",),
    ),
}


def explain(error: ApiError) -> str:
    """The text for stderr."""
    if error.code not in _KNOWN:
        return f"Error code: {error.code}\nError parameters: {', '.join(error.params)}\n"
    words, names = _KNOWN[error.code]
    lines = [words]
    for number, value in enumerate(error.params):
        name = names[number] if number < len(names) else "<extra>"
        lines.append(f"{name}: {value}")
    lines.extend(f"{name}: <unknown>" for name in names[len(error.params) :])
    return "\n".join(lines) + "\n"
