"""A command that waits for the lock of its SR logs that."""

from __future__ import annotations

import threading

from lab import wait_for
from lab.crucible import CrucibleLab

HOLD = (
    "import fcntl, os, sys, time\n"
    "os.makedirs(os.path.dirname(sys.argv[1]), exist_ok=True)\n"
    "held = open(sys.argv[1], 'w')\n"
    "fcntl.lockf(held, fcntl.LOCK_EX); open('/run/held', 'w').close()\n"
    "while os.path.exists('/run/held'): time.sleep(0.05)\n"
)


def test_a_scan_that_waits_for_another_command_logs_the_lock(crucible_lab: CrucibleLab) -> None:
    crucible_lab.declare(crucible_lab.storage.create_volume("waits"))
    sr = crucible_lab.create_sr()
    host, lock = sr.lab.hosts[0], f"/var/lock/sm/{sr.uuid}/sr"
    holder = threading.Thread(target=lambda: host.exec(["python3", "-c", HOLD, lock]).check())
    holder.start()
    wait_for(lambda: host.exec(["test", "-e", "/run/held"]).returncode == 0, "the lock to be held")
    scan = threading.Thread(target=sr.scan)
    scan.start()

    def log() -> str:
        return host.exec(["cat", "/run/sm/SMlog"]).check().decode()

    try:
        wait_for(lambda: f"waiting for another command of this host, which holds {lock}" in log(), "a line in SMlog")
        assert scan.is_alive()
    finally:
        host.exec(["rm", "/run/held"]).check()
        holder.join()
        scan.join()
    assert f"s for {lock}" in log()
    sr.forget()
