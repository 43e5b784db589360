"""The core of the SM drivers, in Rust.

UUIDs are strings. All sizes are in bytes. A call that fails raises `Error`. An argument that must be a UUID and
is not raises `ValueError`. Nothing here prints.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, Protocol, TypeAlias, TypedDict, final, type_check_only

__all__ = [
    "DoctorReport",
    "Error",
    "Finding",
    "Pending",
    "Report",
    "Scan",
    "Sr",
    "__version__",
    "accept_vdi",
    "adopt_disks",
    "alarm_body",
    "alarm_ended_server",
    "alarm_unless_shared",
    "blocklist_hosts",
    "capabilities",
    "check",
    "configuration",
    "doctor_report",
    "health_of",
    "host_findings",
    "import_vdi",
    "is_same_finding",
    "limit_vdi",
    "limits_of",
    "locate_vdi",
    "measure_vdi",
    "metrics_page",
    "overview_of",
    "pending_work",
    "pool_findings",
    "release_vdi",
    "repair_sr",
    "serve_crucible",
    "serve_exports",
    "sr_findings",
    "sr_type_of",
    "unreadable_sr",
    "update_alarms",
]

__version__: str

# A key of the device-config, and its description with the default: a list of two, as SM's DRIVER_INFO has it.
_ConfigKey: TypeAlias = list[str]

# Whether a host was declared dead, and the boot id that it has published, or None.
_HostState: TypeAlias = tuple[bool, str | None]

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
    """The result of a scan."""

    @property
    def vdis(self) -> list[VdiAttributes]:
        """Every VDI of the SR."""
    @property
    def disks_of_snapshots(self) -> dict[str, str]:
        """Snapshot UUID to disk UUID, for snapshots whose disk XAPI does not have."""
    @property
    def sr(self) -> SrAttributes:
        """The attributes of the SR."""

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
        """What must happen first; None if the work can be done now."""

@final
class Report:
    """The result of a check of this host."""

    @property
    def text(self) -> str:
        """The report: lines, or one JSON object."""
    @property
    def healthy(self) -> bool:
        """Whether an SR works on this host."""

@final
class Finding:
    """One thing that the doctor has found. docs/user/findings.md has all kinds."""

    @property
    def id(self) -> str:
        """The id, which never changes its meaning: "SMB-F110"."""
    @property
    def severity(self) -> str:
        """How much it matters: "ok", "not run", "note", "warning" or "FAILURE"."""
    @property
    def object(self) -> str:
        """What it is about."""
    @property
    def found(self) -> str:
        """What was found, in one sentence."""
    @property
    def fix(self) -> str:
        """How to fix it; empty if nothing has to be done."""
    @property
    def since(self) -> int | None:
        """Since when, in seconds since 1970; None if that is not known."""
    @property
    def remedy(self) -> tuple[str, str, str] | None:
        """What a repair may do about it without a risk: None, or what, and to which objects.

        "remove_key"   of a VDI (UUID), that key of its sm_config
        "settle_host"  of a VDI (UUID), have that host (reference) remove what it has of the VDI, unless it uses it
        "remove_link"  of a VDI (UUID), that link (path)
        """

@final
class DoctorReport:
    """What the doctor has found, as a report."""

    @property
    def text(self) -> str:
        """The report: lines, or one JSON object."""
    @property
    def status(self) -> int:
        """The exit status: 0 if nothing is wrong, 1 if the worst is a warning, 2 if something fails."""

def host_findings(sr_types: Sequence[str]) -> list[Finding]:
    """Returns what is wrong with this host's configuration. sr_types: those that it is to serve."""

def pool_findings(facts: str) -> list[Finding]:
    """Returns what is wrong with the versions of smblock in the pool.

    facts  what XAPI has about hosts and drivers, and what hosts reply, as JSON: see sr::doctor::PoolFacts
    """

def unreadable_sr(sr_uuid: str, reason: str) -> Finding:
    """Returns the finding that an SR cannot be looked at."""

def is_same_finding(one: Finding, other: Finding) -> bool:
    """Returns whether two findings are of one kind and about one object."""

def update_alarms(sr: Sr, facts: str) -> None:
    """Looks at the SR, and raises and clears alarms in XAPI. For SM's timer.

    facts  what XAPI has about the pool, as JSON: see sr::alarm::CheckFacts

    Raises `Error` if XAPI does not reply, and `ValueError` if the facts cannot be read. An SR that cannot be read
    is an alarm.
    """

def health_of(sr: Sr) -> str:
    """Returns the state of the SR as JSON: see sr::engine::Health. An SR that cannot be read is a finding."""

def alarm_unless_shared(sr: Sr, facts: str) -> None:
    """Raises an alarm if only one host of the pool can use the SR. `facts`: as for `update_alarms`.

    Raises `Error` if XAPI does not reply.
    """

def alarm_ended_server(sr: Sr, vdi_uuid: str, name: str, host_uuid: str, how: str) -> None:
    """Raises an alarm that the server of a volume has ended on this host by itself.

    Raises `Error` if XAPI does not reply.
    """

def alarm_body(name: str, value: str, trigger: str, rows: Sequence[tuple[str, str]]) -> str:
    """Returns the body of a message of XAPI with the name ALARM. rows: the names and values of further elements."""

def metrics_page(host_name: str, srs: Sequence[tuple[str, str, str, str, float]]) -> str:
    """Returns the state of SRs in the text format of Prometheus.

    srs  of each SR: its UUID, type, name, what `health_of` has returned, or "" if it could not be read, and how many
         seconds that took

    Raises `ValueError` if a health cannot be read.
    """

def doctor_report(sections: Sequence[tuple[str, Sequence[Finding]]], as_json: bool, all: bool) -> DoctorReport:
    """Returns the report on sections of findings, each with its title. all: also what is well."""

def capabilities(sr_type: str) -> list[str]:
    """Returns SM's names of the capabilities of an SR type. Opens no file and no library.

    Raises `Error` with the key "Unimplemented" if smblock does not have the SR type.
    """

def configuration(sr_type: str) -> list[_ConfigKey]:
    """Returns the keys of an SR type's device-config. Opens no file and no library.

    Raises `Error` with the key "Unimplemented" if smblock does not have the SR type.
    """

def sr_type_of(device_config: Mapping[str, str]) -> str:
    """Returns the SR type that a device-config is meant for, by its keys. For an SR that XAPI does not have."""

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

def overview_of(sr: Sr) -> str:
    """Returns the SR on one screen, as JSON: see sr::engine::Overview. Raises `Error` if it cannot be read."""

def pending_work(sr: Sr) -> list[Pending]:
    """Returns the work of `Sr.reclaim`, also what waits. Raises `Error` if the storage cannot be read."""

def sr_findings(sr: Sr, sm_datapaths: Sequence[str], others: Sequence[Mapping[str, str]], facts: str) -> list[Finding]:
    """Returns what is wrong with the SR, as seen from this host. Changes nothing.

    facts  what XAPI and SM have about the SR, as JSON: see sr::doctor::Facts

    Raises `ValueError` if the facts cannot be read. An SR that cannot be read is a finding.
    """

def repair_sr(sr: Sr) -> None:
    """Repairs what the next scan and the next plug repair. Raises `Error` if the SR cannot be read."""

def adopt_disks(sr: Sr, facts: str, records: Mapping[str, dict[str, Any]], undo: bool, act: bool) -> str:
    """Takes over the disks of another driver, or gives them back. Without `act` nothing is changed.

    facts    what XAPI has about the SR, as JSON: see sr::engine::AdoptionFacts
    records  XAPI's records of the SR's VDIs, by reference

    Returns what was done, or would be, and what refuses it, as JSON: see sr::engine::Adoption. Raises
    `ValueError` if the facts cannot be read, and `Error` if the storage cannot be read or changed.
    """

def import_vdi(sr: Sr, vdi_uuid: str, source: str, size: int | None, name_label: str, name_description: str) -> int:
    """Makes a disk of a snapshot of an image that does not belong to the SR. Returns the disk's size in bytes.

    source  POOL/IMAGE@SNAPSHOT, or POOL/NAMESPACE/IMAGE@SNAPSHOT
    size    the least bytes; None: those of the snapshot

    XAPI gets the disk with the next scan. Raises `Error` if no disk can be made of it.
    """

def locate_vdi(sr: Sr, vdi_uuid: str) -> str:
    """Where a VDI is, for programs outside XCP-ng, as JSON: see sr::engine::Location.

    Raises `Error` if a host uses the VDI.
    """

def measure_vdi(sr: Sr, vdi_uuid: str, report: Progress) -> int:
    """Returns the bytes that a VDI takes, which needs seconds for each TiB of its size.

    `report` gets the state "counting". Raises `Error` if the SR does not have the VDI.
    """

def release_vdi(sr: Sr, vdi_uuid: str, force: bool) -> str | None:
    """Releases the claim on a VDI. `force` does not check whether the claim's host uses the VDI.

    Returns that host's UUID, or None if no host had claimed it. Raises `Error` if the claim stays.
    """

def accept_vdi(sr: Sr, vdi_uuid: str) -> None:
    """Removes the record of a volume's regions and key: the next activation records what it finds.

    Raises `Error` if the volume is in use.
    """

def blocklist_hosts(sr: Sr, addresses: Sequence[str]) -> list[str]:
    """Blocklists every client of the IP addresses of those clients for 24 h, also after a restart of the host.

    Returns the IP addresses that were blocklisted. Raises `Error` if one was not.
    """

def serve_exports(settings: Mapping[str, str], directory: str) -> NoReturn:
    """Serves the exports whose files are in a directory by NBD, with the settings of export.conf.

    Returns never. Raises `Error` if a setting is wrong, or the server cannot listen.
    """

def limits_of(sr: Sr, other_config: Mapping[str, str]) -> str:
    """Returns the limits of a VDI as JSON: "iops" and "mbps", each a number or null. See sr::limits::DiskLimits.

    other_config  that of the VDI

    Raises `Error` if a limit cannot be used.
    """

def limit_vdi(sr: Sr, device: str, tapdisk: int | None, other_config: Mapping[str, str]) -> str:
    """Sets the limits of a VDI that this host uses. Returns what was done as JSON: see sr::limits::Limited.

    device        its block device
    tapdisk       the pid of the process that reads and writes the device; None if it is the kernel
    other_config  that of the VDI

    A limit that cannot be used or set raises no error: the reply has it.
    """

def serve_crucible(directory: str, log: Callable[[str], object]) -> str | None:
    """Runs the server of a runtime directory until it ends, and calls `log` with each line that it prints.

    Returns how it ended, or None if it was stopped on purpose. Requests in flight have failed by then.
    Raises `Error` if the server cannot be started.
    """

@type_check_only
class Alarms(Protocol):
    """XAPI's messages, and the notes about them in the SR. A method that fails raises any exception."""

    def alarm_notes(self) -> Mapping[str, str]:
        """Returns the SR's other_config."""
    def add_alarm_note(self, key: str, value: str) -> bool:
        """Adds a key to the SR's other_config. Returns False if the key exists."""
    def remove_alarm_note(self, key: str) -> object:
        """Removes a key from the SR's other_config, if it exists."""
    def raise_alarm(self, name: str, priority: str, cls: str, object_uuid: str, body: str) -> str:
        """Creates a message about an object of class `cls` ("SR", "Host"). `priority`: "1" (highest) to "5".

        Returns the message's reference.
        """
    def destroy_alarm(self, message_ref: str) -> object:
        """Destroys a message, if it exists."""

@type_check_only
class CephXapi(Alarms, Protocol):
    """Calls of XAPI and SM, for an SR of type cephrbd. A method that fails raises any exception."""

    def pool_uuid(self) -> str:
        """Returns the UUID of the XAPI pool."""
    def knows_host(self, host_uuid: str) -> bool:
        """Returns whether the pool has the host."""
    def declared_dead(self, host_uuid: str) -> bool:
        """Returns whether the host was declared dead."""
    def revive(self) -> object:
        """Removes XAPI's note that this host was declared dead."""
    def reconcile_host(self, host_uuid: str, vdi_uuid: str) -> str:
        """Returns a host's reply about a VDI, as JSON: see sr::host::HostReply. Empty if the host cannot be asked."""
    def grows_in_use(self, vdi_uuid: str) -> bool:
        """Returns whether XAPI asks for growth of a VDI that may be in use."""
    def pause(self, *vdi_uuids: str) -> Sequence[str | None]:
        """Pauses the I/O of disks at once, on each host that runs them. Returns the error of each disk, or None."""
    def unpause(self, *vdi_uuids: str) -> Sequence[tuple[bool, str | None]]:
        """Resumes the I/O of disks at once, also of those that are not paused.

        Returns for each disk whether it was still paused, and its error, or None.
        """
    def is_task_over(self, task: str) -> bool:
        """Returns whether a task of XAPI has ended."""

@type_check_only
class CrucibleXapi(Alarms, Protocol):
    """XAPI's database, for an SR of type crucible. A method that fails raises any exception."""

    # The command that supervises one server. The server's runtime directory is added.
    server_supervisor: Sequence[str]

    def sm_config(self, vdi_uuid: str) -> Mapping[str, str] | None:
        """Returns the sm_config of a VDI; None if XAPI has no such VDI."""
    def add(self, vdi_uuid: str, key: str, value: str) -> bool:
        """Adds a key to the sm_config of a VDI. Returns False if the key exists."""
    def remove(self, vdi_uuid: str, key: str) -> object:
        """Removes a key from the sm_config of a VDI, if it exists."""
    def vdis(self) -> Mapping[str, Mapping[str, str]]:
        """Returns the sm_config of each VDI of the SR, by UUID."""
    def pool_uuid(self) -> str:
        """Returns the UUID of the XAPI pool."""
    def host_state(self, host_uuid: str) -> _HostState | None:
        """Returns the state of a host; None if XAPI has no such host."""
    def reconcile_host(self, host_uuid: str, vdi_uuid: str) -> str:
        """Returns a host's reply about a VDI, as JSON: see sr::host::HostReply. Empty if the host cannot be asked."""
    def publish_boot(self, boot_id: str) -> object:
        """Publishes the boot id of this host."""
    def revive(self, host_uuid: str) -> object:
        """Removes XAPI's note that a host was declared dead."""
    def secret(self, secret_uuid: str) -> str:
        """Returns the value of a secret of XAPI."""

@type_check_only
class Progress(Protocol):
    """The callback of `Sr.reclaim` and `measure_vdi`."""

    def __call__(self, __state: str, __image: str, __text: str, __done: int, __total: int) -> object:
        """Reports about one image.

        state        "progress", "done", "failed" or "waits"; "counting" at the end, which is about no image
        image        the image's name
        text         of "progress" and "counting": the unit of `done` and `total`, "objects" or "bytes"; else the
                     result or the reason
        done, total  how much of the image is freed, or how many objects are counted; else 0
        """

@final
class Sr:
    """An SR of any type, as one SM command on one host sees it. The first call that needs the storage opens it.

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
        """Checks the device-config, and opens nothing.

        sr_uuid  may be any text until a method needs it: sr_probe has no SR
        xapi     `CephXapi` or `CrucibleXapi`, for the type; None for methods that need no XAPI

        Raises `Error` if the device-config cannot be used, and with the key "Unimplemented" if smblock does not
        have the SR type.
        """
    @property
    def vdi_type(self) -> str:
        """SM's type of every VDI: "aio" (tapdisk) or "phy" (blkback)."""
    @property
    def sm_config(self) -> dict[str, str]:
        """Keys that every VDI's sm_config must have besides those of XAPI and of the SR type."""
    @property
    def needs_worker(self) -> bool:
        """Whether the calls so far have left space to free: the caller then starts `smblock reclaim`."""
    def require(self, capability: str) -> None:
        """Raises `Error` if the SR type does not have a capability: a name of SM's, "fence", "reclaim" or "accept".

        Raises `ValueError` if there is no capability of that name.
        """
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
    def probe(self) -> str:
        """Returns the SRs that exist, or the places that could hold one, as XML. Needs no SR UUID.

        Raises `Error` if the storage cannot be read.
        """
    def scan(self, records: Mapping[str, dict[str, Any]]) -> Scan:
        """Lists all VDIs of the SR. `records`: XAPI's records of the SR's VDIs, by reference.

        Raises `Error` if the list could be incomplete.
        """
    def update(self, name_label: str = "", name_description: str = "") -> SrAttributes:
        """Records the SR's name of XAPI. Returns how full the SR is. Raises `Error` if the storage cannot be read."""
    def create_vdi(self, vdi_uuid: str, size: int, vdi: Any, is_mirror: bool = False) -> int:
        """Creates a disk. `vdi`: SM's object for it, which has its name. `is_mirror`: for a migration between SRs.

        Returns the size, which is never less than `size`. Raises `Error` with the key "VDISize" if no disk can have
        that size, and with "SRNoSpace" if the storage is full.
        """
    def delete_vdi(self, vdi_uuid: str) -> None:
        """Deletes a VDI. Succeeds if the VDI does not exist. Raises `Error` with the key "VDIInUse" if it is in use."""
    def snapshot_vdi(
        self, vdi_uuid: str, new_uuid: str, task: str = "", siblings: Sequence[str] = ...
    ) -> VdiAttributes:
        """Takes a snapshot of a VDI. Returns the snapshot. Its UUID is `new_uuid`, unless an earlier call for the same
        task has taken the snapshot. Raises `Error` if none was taken.

        task        XAPI's reference of the task that snapshots the VM
        siblings    the UUIDs of the VM's other disks: those in use get snapshots of the same instant
        """
    @property
    def has_prepared(self) -> bool:
        """Whether a call has prepared snapshots for a task: call `drop_prepared` when the task has ended."""
    def drop_prepared(self) -> None:
        """Removes the snapshots that were prepared for tasks that have ended, and that no command has used."""
    def clone_vdi(self, vdi_uuid: str, new_uuid: str, on_boot: str) -> VdiAttributes:
        """Clones a VDI. `on_boot` is that of the source: "persist" or "reset".

        Returns the clone, whose UUID is `new_uuid`. Raises `Error` if none was made.
        """
    def begin_epoch(self, vdi_uuid: str, on_boot: str) -> None:
        """Prepares a disk for the start of its VM. A disk with `on_boot` "reset" loses its changes.

        Raises `Error` if the disk is in use.
        """
    def revert_vdi(self, vdi_uuid: str, snapshot_uuid: str) -> int:
        """Gives a disk the content of a snapshot of it. Returns the disk's new size, which is the snapshot's.

        Raises `Error` if the disk is in use.
        """
    def resize_vdi(self, vdi_uuid: str, size: int) -> int:
        """Makes a disk larger. Returns the size, which is never less than `size`.

        A disk in use grows only if XAPI asks for that, and if blkback serves it.

        Raises `Error` with the key "VDISize" if the disk would shrink, or no disk can have that size.
        """
    def update_vdis(self, records: Mapping[str, dict[str, Any]], disks: Mapping[str, str]) -> None:
        """Records the fields that XAPI has of VDIs.

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
    def require_ha_vdi(self, vdi_uuid: str) -> None:
        """Raises `Error` if `attach_ha_vdi` cannot attach a disk."""
    def track_changes(self, vdi_uuid: str, tracked: bool) -> None:
        """`vdi_enable_cbt` and `vdi_disable_cbt`: switches the tracking of a disk's changes."""
    def destroy_data(self, vdi_uuid: str) -> None:
        """`vdi_data_destroy`: only the changes of the snapshot can be listed from now on."""
    def changed_blocks(self, from_uuid: str, to_uuid: str) -> bytes:
        """`vdi_list_changed_blocks`: returns the bitmap of the blocks of 64 KiB that differ between two VDIs."""
    def attach_ha_vdi(self, vdi_uuid: str) -> str:
        """Maps a disk of high availability on this host, beside all others and without XAPI. Returns its device.

        Raises `Error` if the disk has another type than ha_statefile and redo_log, or an exclusive lock.
        """
    def deactivate_vdi(self, vdi_uuid: str) -> None:
        """Disconnects a VDI from this host. Succeeds if it is not connected.

        Raises `Error` if it is still connected.
        """
    def reconcile_vdi(self, vdi_uuid: str) -> bool:
        """Removes what a killed command of this host left of a VDI.

        The caller holds SM's lock of the VDI, and has made sure that no tapdisk serves it: a paused tapdisk has
        its device closed. Returns whether this host uses the VDI. Raises `Error` if that cannot be found out.
        """
    def recover_vdi(self, vdi_uuid: str) -> None:
        """Finishes or undoes an operation on a VDI that a dead process left unfinished, and resumes the disk.

        Raises `Error` if that failed.
        """
    def declare_dead(self, host_uuid: str, reason: str) -> list[str]:
        """Records that a host is dead, and blocklists its kernel clients of the SR's disks.

        Returns the addresses that were blocklisted. Raises `Error` if the host can still write.
        """
    def reclaim(self, report: Progress, background: bool = False) -> int:
        """Frees all space that can be freed now, which may take hours. Returns how many images failed.

        Then finds out how much each VDI takes; with `background` only if the last figures are old.

        Raises `Error` with the key "SRUnavailable" if another reclaim worker runs.
        """
    def places(self) -> str:
        """Returns where each VDI is, as JSON: see sr::engine::VdiPlace. Raises `Error` if the SR cannot be read."""
