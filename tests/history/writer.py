"""Simulates a VM in a history: reads the whole disk, then writes numbered blocks and reads again.

Runs on a host of the lab: `writer.py SESSION SR VDI IMAGE-PREFIX LOG`. The log has one line of JSON each for
the address of the kernel's client, a reading and the end:

    {"address": "127.0.0.1:0/1234"}
    {"acked": 17, "slots": [[3, 1], [2, 40], ...]}   the session and the number in each slot
    {"error": "...", "errno": 108, "acked": 17}       how it ended; both are null if it was stopped

The file LOG.stop ends it. A block is never written before the first reading has been logged.
"""

import json
import mmap
import os
import sys
import time

SLOTS = 32
STRIDE = 512 << 10
BLOCK = 4096
READ_SECONDS = 4.0
PAUSE_SECONDS = 0.04
_BUS = "/sys/bus/rbd/devices"


def block_of(session: int, number: int) -> bytes:
    """The content of a block: its session and its number."""
    return (b"%015d %015d\n" % (session, number)) * (BLOCK // 32)


def slot_of(data: bytes) -> "tuple[int, int]":
    """The session and the number in a block; zeros are those of a block that was never written."""
    if data == bytes(BLOCK):
        return 0, 0
    session, number = data[:32].split()
    if data != block_of(int(session), int(number)):
        raise ValueError("a torn block: %r ... %r" % (data[:32], data[-32:]))
    return int(session), int(number)


def _device(sr: str, vdi: str) -> str:
    backend = f"/dev/sm/backend/{sr}/{vdi}"
    if os.path.exists(backend):
        return backend
    minor = os.readlink(f"/run/blktap-control/nbd/{sr}/{vdi}").rpartition(".")[2]
    return f"/dev/xen/blktap-2/tapdev{minor}"


def _address(prefix: str) -> str:
    for number in os.listdir(_BUS):
        with open(f"{_BUS}/{number}/name") as name, open(f"{_BUS}/{number}/client_addr") as address:
            if name.read().startswith(prefix):
                return address.read().strip()
    raise LookupError(f"no device of {prefix}")


class Writer:
    """One session of one disk."""

    def __init__(self, session: int, device: str, log: str) -> None:
        self._session = session
        self._log = log
        self._block = mmap.mmap(-1, BLOCK)
        self._file = os.open(device, os.O_RDWR | os.O_DIRECT)
        self.acked = 0

    def note(self, **line: object) -> None:
        with open(self._log, "a") as log:
            log.write(json.dumps(dict(line, acked=self.acked)) + "\n")

    def read(self) -> None:
        slots = []
        for slot in range(SLOTS):
            os.preadv(self._file, [self._block], slot * STRIDE)
            slots.append(slot_of(self._block[:]))
        self.note(slots=slots)

    def write(self) -> None:
        number = self.acked + 1
        self._block[:] = block_of(self._session, number)
        os.pwritev(self._file, [self._block], number % SLOTS * STRIDE)
        self.acked = number

    def run(self) -> None:
        try:
            self.read()
            due = time.monotonic() + READ_SECONDS
            while not os.path.exists(self._log + ".stop"):
                self.write()
                if time.monotonic() > due:
                    self.read()
                    due = time.monotonic() + READ_SECONDS
                time.sleep(PAUSE_SECONDS)
            self.read()
            self.note(error=None, errno=None)
        except Exception as error:  # any failure is part of the history
            self.note(error=repr(error), errno=getattr(error, "errno", None))
        finally:
            os.close(self._file)


def main() -> None:
    session, sr, vdi, prefix, log = sys.argv[1:]
    with open(log, "w") as first:
        first.write(json.dumps({"address": _address(prefix)}) + "\n")
    Writer(int(session), _device(sr, vdi), log).run()


if __name__ == "__main__":
    main()
