"""The core. Each call that fails raises `Error`; a text that is no UUID where one is needed is a `ValueError`.

UUIDs are strings, all sizes are in bytes. Nothing here prints.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypedDict, final, type_check_only

__all__ = [
    "Error",
    "Pending",
    "Report",
    "Scan",
    "Sr",
    "__version__",
    "capabilities",
    "check",
    "configuration",
    "serve_crucible",
    "sr_type_of",
]

__version__: str

class Error(Exception):
    """A storage operation failed; str(error) states what, on which object, and what to do about it."""

    # The id of the error in docs/user/errors.md ("SMB-C015"), or None.
    id: str | None
    # The name of SM's error, as in XE_SR_ERRORCODES.xml: "VDIInUse", "SRNoSpace", ...
    key: str
    # The errno of the call that failed, positive, or None.
    errno: int | None

@type_check_only
class SrAttributes(TypedDict, total=False):
    """Attributes of SM's object for an SR, in bytes. The last two are absent if they are not known now."""

    virtual_allocation: int
    physical_size: int
    physical_utilisation: int

@type_check_only
class VdiAttributes(TypedDict, total=False):
    """Attributes of SM's object for a VDI. `sm_config` is there only if XAPI does not have the VDI."""

    uuid: str
    location: str
    size: int  # bytes
    utilisation: int  # bytes
    label: str
    description: str
    ty: str
    read_only: bool
    shareable: bool
    managed: bool
    metadata_of_pool: str
    is_a_snapshot: bool
    snapshot_time: str
    sm_config: dict[str, str]

@final
class Scan:
    """What a scan has found."""

    @property
    def vdis(self) -> list[VdiAttributes]:
        """Every VDI of the SR."""
    @property
    def lineage(self) -> dict[str, str]:
        """Snapshot UUID to disk UUID, where XAPI does not have which disk a snapshot is of."""
    @property
    def sr(self) -> SrAttributes:
        """The SR."""

@final
class Pending:
    """Work that frees space."""

    @property
    def image(self) -> str:
        """The name of the image that it is about."""
    @property
    def work(self) -> str:
        """What is to be done."""
    @property
    def waits_for(self) -> str | None:
        """What has to happen first; None if the work can be done now."""

@final
class Report:
    """What a check of this host has found."""

    @property
    def text(self) -> str:
        """The report: lines, or one JSON object."""
    @property
    def healthy(self) -> bool:
        """Whether an SR works on this host."""

def capabilities(sr_type: str) -> list[str]:
    """Returns SM's names of what an SR type supports. Opens no file and no library."""

def configuration(sr_type: str) -> list[list[str]]:
    """Returns the keys of an SR type's device-config: [key, description with the default]. Opens no file."""

def sr_type_of(device_config: Mapping[str, str]) -> str:
    """Returns the SR type that a device-config is meant for, by its keys. For what XAPI has no SR for."""

def check(
    sr_type: str,
    device_config: Mapping[str, str],
    sm_datapaths: Sequence[str],
    others: Sequence[Mapping[str, str]],
    as_json: bool,
) -> Report:
    """Checks each part that an SR needs on this host; there need not be an SR yet.

    sm_datapaths  the datapaths that SM on this host has: "aio", "phy"
    others        the device-configs of this host's other SRs of the type
    as_json       whether the report is JSON

    Raises `Error` if the device-config cannot be used.
    """

def serve_crucible(folder: str, log: Callable[[str], object]) -> str | None:
    """Runs the server of a run folder to its end, and calls `log` with each line that it prints.

    Returns how it ended, or None if it was stopped on purpose. Requests that were on their way to it have failed
    by then. Raises `Error` if it cannot be started.
    """

@type_check_only
class CephXapi(Protocol):
    """What only XAPI and SM can do, for an SR of type cephrbd. UUIDs in; what fails raises any exception."""

    def pool_uuid(self) -> str:
        """Returns the UUID of the XAPI pool."""
    def knows_host(self, host_uuid: str) -> bool:
        """Returns whether the pool has the host."""
    def declared_dead(self, host_uuid: str) -> bool:
        """Returns whether the host was declared dead."""
    def revive(self) -> object:
        """Removes XAPI's note that this host was declared dead."""
    def settle_host(self, host_uuid: str, vdi_uuid: str) -> str:
        """Returns another host's reply about a VDI, as JSON; empty if the host cannot be asked."""
    def alert(self, name: str, priority: str, cls: str, object_uuid: str, text: str) -> object:
        """Creates a message of XAPI about an object of a class."""
    def pause(self, vdi_uuid: str) -> object:
        """Pauses the I/O of a disk on each host that runs it."""
    def unpause(self, vdi_uuid: str) -> object:
        """Resumes the I/O of a disk."""

@type_check_only
class CrucibleXapi(Protocol):
    """XAPI's database, for an SR of type crucible. UUIDs in; what fails raises any exception."""

    # The command that looks after one server; the server's run folder is added.
    runner: Sequence[str]

    def sm_config(self, vdi_uuid: str) -> Mapping[str, str] | None:
        """Returns the sm_config of a VDI; None if XAPI has no such VDI."""
    def add(self, vdi_uuid: str, key: str, value: str) -> bool:
        """Adds a key to the sm_config of a VDI. Returns False if the key exists."""
    def remove(self, vdi_uuid: str, key: str) -> object:
        """Removes a key from the sm_config of a VDI."""
    def vdis(self) -> Mapping[str, Mapping[str, str]]:
        """Returns the sm_config of each VDI of the SR, by UUID."""
    def pool_uuid(self) -> str:
        """Returns the UUID of the XAPI pool."""
    def host_state(self, host_uuid: str) -> tuple[bool, str | None] | None:
        """Returns whether the host was declared dead, and the boot that it has published; None: no such host."""
    def settle_host(self, host_uuid: str, vdi_uuid: str) -> str:
        """Returns another host's reply about a VDI, as JSON; empty if the host cannot be asked."""
    def publish_boot(self, boot_id: str) -> object:
        """Publishes the boot in which this host is."""
    def revive(self, host_uuid: str) -> object:
        """Removes XAPI's note that a host was declared dead."""
    def tell(self, vdi_uuid: str, title: str, text: str) -> object:
        """Raises an alert about a VDI."""
    def secret(self, secret_uuid: str) -> str:
        """Returns the value of a secret of XAPI."""

@final
class Sr:
    """An SR of any type, as one SM command on one host sees it. All sizes in bytes.

    An operation that the SR type does not have raises `Error` with the key "Unimplemented".
    """

    def __new__(
        cls,
        sr_type: str,
        sr_uuid: str,
        host_uuid: str,
        device_config: Mapping[str, str],
        xapi: CephXapi | CrucibleXapi | None,
    ) -> Sr:
        """Checks the device-config, and opens nothing. `sr_uuid` is read by the first method that needs an SR.

        Raises `Error` if a key or a value of the device-config cannot be used.
        """
    @property
    def vdi_type(self) -> str:
        """SM's type of every VDI: "aio" (tapdisk) or "phy" (blkback)."""
    @property
    def sm_config(self) -> dict[str, str]:
        """What every VDI's sm_config must hold besides the keys of XAPI and of the SR type."""
    @property
    def needs_worker(self) -> bool:
        """Whether the calls so far have left space to be freed: then `smblock-admin reclaim` is to be started."""
    def require(self, capability: str) -> None:
        """Raises `Error` if the SR type lacks a capability: a name of SM's, "fence", "reclaim" or "accept"."""
    def create(self, sm_datapaths: Sequence[str], name_label: str = "", name_description: str = "") -> None:
        """Creates the SR.

        Raises `Error` if the SR exists, or if the device-config asks for a datapath that is none of sm_datapaths.
        """
    def delete(self) -> None:
        """Deletes the SR. Raises `Error` if it is not empty."""
    def attach(self, sm_datapaths: Sequence[str]) -> None:
        """Plugs the SR on this host. Raises `Error` as `create` does for the datapath."""
    def detach(self) -> None:
        """Unplugs the SR on this host. Raises `Error` if a disk of the SR is in use here."""
    def check(self) -> None:
        """Looks for what an administrator must know about this host, and raises alerts. For SM's timer."""
    def probe(self) -> str:
        """Returns the SRs that exist, or the places that could hold one, as XML. Needs no SR UUID."""
    def scan(self, records: Mapping[str, dict[str, Any]]) -> Scan:
        """Lists all VDIs of the SR. `records`: XAPI's records of the SR's VDIs, by reference.

        Raises `Error` if the list could be incomplete.
        """
    def update(self, name_label: str = "", name_description: str = "") -> SrAttributes:
        """Takes over the SR's name from XAPI. Returns how full the SR is."""
    def create_vdi(self, vdi_uuid: str, size: int, vdi: Any) -> int:
        """Creates a disk. `vdi`: SM's object for it, which has its name.

        Returns the size, which is never less than asked. Raises `Error` with the key "VDISize" if no disk can have
        that size, and with "SRNoSpace" if the storage is full.
        """
    def delete_vdi(self, vdi_uuid: str) -> None:
        """Deletes a VDI; one that does not exist is deleted already. Raises `Error` if it is in use."""
    def snapshot_vdi(self, vdi_uuid: str, new_uuid: str) -> VdiAttributes:
        """Takes a snapshot of a VDI under a new UUID. Returns the snapshot. Raises `Error` if none was taken."""
    def clone_vdi(self, vdi_uuid: str, new_uuid: str, on_boot: str) -> VdiAttributes:
        """Clones a VDI under a new UUID. `on_boot`: that of the VDI, "persist" or "reset".

        Returns the clone. Raises `Error` if none was made.
        """
    def begin_epoch(self, vdi_uuid: str, on_boot: str) -> None:
        """Prepares a disk for the start of its VM: one with the `on_boot` "reset" forgets its changes.

        Raises `Error` if the disk is in use.
        """
    def revert_vdi(self, vdi_uuid: str, snapshot_uuid: str) -> int:
        """Gives a disk the content of a snapshot. Returns the disk's size. Raises `Error` if the disk is in use."""
    def resize_vdi(self, vdi_uuid: str, size: int) -> int:
        """Makes a disk larger. Returns the size, which is never less than asked.

        Raises `Error` with the key "VDISize" if the disk would shrink, or no disk can have that size.
        """
    def update_vdis(self, records: Mapping[str, dict[str, Any]], disks: Mapping[str, str]) -> None:
        """Takes over what XAPI has about VDIs.

        records  XAPI's records of the VDIs, by reference
        disks    the UUIDs of the disks that those are snapshots of, by reference

        Raises `Error` if a VDI does not exist.
        """
    def introduce_vdi(self, vdi_uuid: str) -> VdiAttributes:
        """Returns a VDI that the SR has and XAPI does not. Raises `Error` if the SR does not have it."""
    def activate_vdi(self, vdi_uuid: str, writable: bool) -> str:
        """Connects a VDI to this host. Returns the path of its block device, the same one at each call.

        Raises `Error` if another host uses the VDI, or it cannot be connected.
        """
    def deactivate_vdi(self, vdi_uuid: str) -> None:
        """Disconnects a VDI from this host; one that is not connected is disconnected already.

        Raises `Error` if it is still connected.
        """
    def release_vdi(self, vdi_uuid: str, force: bool) -> str | None:
        """Releases the claim on a VDI. `force` does not check whether the claim's host uses the VDI.

        Returns that host's UUID, or None if no host had claimed it. Raises `Error` if the claim stays.
        """
    def settle_vdi(self, vdi_uuid: str) -> bool:
        """Removes what a killed command of this host left of a VDI. The caller holds SM's lock of the VDI.

        Returns whether this host uses the VDI. Raises `Error` if that is not known.
        """
    def recover_vdi(self, vdi_uuid: str) -> None:
        """Finishes or undoes an operation that a dead process left unfinished. Raises `Error` if it cannot."""
    def accept_vdi(self, vdi_uuid: str) -> None:
        """Forgets what identifies the storage behind a volume. Raises `Error` if the volume is in use."""
    def declare_dead(self, host_uuid: str, reason: str) -> list[str]:
        """Records that a host is dead and cuts it off from the SR's disks.

        Returns the addresses that were cut off. Raises `Error` if it still can write.
        """
    def blocklist_hosts(self, addresses: Sequence[str]) -> list[str]:
        """Cuts off every client of the IP addresses of those clients for 24 h. Returns what was cut off.

        Raises `Error` if an address was not cut off.
        """
    def reclaim(self, report: Callable[[str, str, str, int, int], object]) -> int:
        """Frees all space that can be freed now, which may take hours. Returns how many images failed.

        `report` is called with a state ("progress", "done", "failed", "waits"), an image's name, a text, how much
        is done, and of how much. The text of a progress is the unit: "objects" or "bytes".

        Raises `Error` if another process does it.
        """
    def pending(self) -> list[Pending]:
        """Returns what `reclaim` has to do, and what waits for something else. Raises `Error` if it is not known."""
