"""Removes the snapshots that were prepared for a snapshot of a VM and not used: those of disks that xapi ignores, and
those of a snapshot that failed.

No command comes after the last disk of a VM. So the command that prepares snapshots starts a process that waits for the
end of xapi's task. The next scan does the same.
"""

import time

from smblock.core import core_of
from smblock.hosts import LocalSession, is_task_over
from smblock.sm import util

POLL = 1  # seconds between two looks at the task
LONG, LONG_POLL = 60, 10  # seconds after which it looks less often
LIFETIME = 2 * 60 * 60  # seconds; a scan does what is left
TRIES = 3


def collect(sr_uuid, task):
    """Waits for the end of a task of xapi, and removes what was prepared for it."""
    began = time.monotonic()
    failed = 0
    while failed < TRIES and time.monotonic() - began < LIFETIME:
        time.sleep(POLL if time.monotonic() - began < LONG else LONG_POLL)
        try:
            with LocalSession() as session:
                if is_task_over(session, task):
                    core_of(session, sr_uuid).drop_prepared()
                    return
        except Exception:
            failed += 1
            util.logException("SR %s: removing the unused snapshots of task %s" % (sr_uuid, task))
