"""Times the work of a shim between SM's imports and the end of its process.

Runs on a dom0's Python, in a process of its own as every SM command has: no connection is open when it
starts.  Takes a request as JSON on stdin and prints a reply as JSON, times in seconds.
"""

import atexit
import importlib.util
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

HOST = "6a1f1d0c-8f0e-4a57-9d0b-0a5f6f1f2b11"
THREADS = 8


class Disk:
    """Attributes of SM's `VDI` object when `vdi_create` calls the driver."""

    def __init__(self, uuid: str) -> None:
        self.label = "disk " + uuid
        self.description = ""
        self.ty = "user"
        self.read_only = self.shareable = self.is_a_snapshot = False
        self.managed = True
        self.metadata_of_pool = ""
        self.snapshot_time = "19700101T00:00:00Z"


class Xapi:
    """A XAPI that pauses and resumes disks in no time."""

    def pause(self, *vdis: str) -> list:
        return [None] * len(vdis)

    def unpause(self, *vdis: str) -> list:
        return [(True, None)] * len(vdis)


def record(uuid: str, size: int) -> dict:
    """XAPI's record of such a disk."""
    disk = Disk(uuid)
    return {
        "uuid": uuid,
        "virtual_size": str(size),
        "physical_utilisation": "0",
        "name_label": disk.label,
        "name_description": disk.description,
        "type": disk.ty,
        "read_only": disk.read_only,
        "sharable": disk.shareable,
        "managed": disk.managed,
        "metadata_of_pool": disk.metadata_of_pool,
        "is_a_snapshot": disk.is_a_snapshot,
        "snapshot_of": "OpaqueRef:NULL",
        "snapshot_time": disk.snapshot_time,
        "sm_config": {},
    }


def call(sr: Any, name: str, arguments: list) -> Any:
    """Calls one method of the core. Returns how many VDIs it listed, if it lists them."""
    if name == "create_vdi":
        sr.create_vdi(arguments[0], arguments[1], Disk(arguments[0]))
    elif name == "fill":
        uuids, size = arguments
        with ThreadPoolExecutor(THREADS) as threads:
            list(threads.map(lambda uuid: sr.create_vdi(uuid, size, Disk(uuid)), uuids))
    elif name == "reclaim":
        sr.reclaim(lambda *report: None)
    elif name == "scan":
        return len(sr.scan(arguments[0]).vdis)
    else:
        getattr(sr, name)(*arguments)
    return None


def main() -> None:
    request = json.load(sys.stdin)
    if "known" in request:
        size = request["size"]
        records = {"OpaqueRef:" + uuid: record(uuid, size) for uuid in request["known"]}
        request["calls"] = [["scan", records]] * request["times"]
    # SM's own modules are in the same directory, so Python has read it before.
    importlib.util.find_spec("smblock")
    began = time.perf_counter()
    import smblock

    imported = time.perf_counter() - began
    if request.get("announce"):
        print("ready", flush=True)
    time.sleep(max(0.0, request.get("start_at", 0.0) - time.monotonic()))
    began = time.perf_counter()
    moment = time.monotonic()
    xapi: Any = Xapi()
    sr = smblock.Sr("cephrbd", request["sr"], HOST, request["device_config"], xapi)
    calls, listed = [], None
    for name, *arguments in request["calls"]:
        start = time.perf_counter()
        listed = call(sr, name, arguments)
        calls.append(time.perf_counter() - start)
    atexit._run_exitfuncs()  # closes the connection, as the end of the process would
    reply = {
        "imported": imported,
        "began": moment,
        "operation": time.perf_counter() - began,
        "calls": calls,
        "listed": listed,
    }
    with open("/proc/self/status") as status:
        # Not getrusage(): that includes the process that this one was forked from.
        peak = next(line for line in status if line.startswith("VmHWM:"))
    reply["peak_bytes"] = int(peak.split()[1]) << 10
    json.dump(reply, sys.stdout)


if __name__ == "__main__":
    main()
