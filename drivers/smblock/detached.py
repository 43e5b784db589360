"""Starts processes that outlive the command of xapi's that starts them, without its streams."""

import os
import subprocess

from smblock.child import close_streams

HAS_SYSTEMD = os.path.isdir("/run/systemd/system")
TIMEOUT = 5  # seconds that each command of systemd may take


def start_unit(unit, command):
    """Starts a command as a systemd unit, which is no child of xapi's. Returns False if a unit of that name
    exists. Raises `OSError` or `subprocess.SubprocessError`."""
    if _run_unit(unit, command):
        return True
    # A failed unit keeps its name until this. (systemd-run --collect is newer than XCP-ng 8.3.)
    _run(["systemctl", "reset-failed", unit])
    return _run_unit(unit, command)


def _run_unit(unit, command):
    """Returns False if a unit of that name exists."""
    # A service, not a scope: a scope would keep this process's environment and streams.
    done = _run(["systemd-run", "--unit=" + unit, *command])
    message = done.stderr.decode(errors="replace").strip()
    if done.returncode != 0 and "already" not in message:
        raise OSError("systemd-run: " + message)
    return done.returncode == 0


def start_process(command):
    """Starts a program in a session of its own."""
    null = subprocess.DEVNULL
    subprocess.Popen(command, stdin=null, stdout=null, stderr=null, cwd="/", start_new_session=True)


def start(unit, command):
    """Starts a program as a unit, or in a session of its own if systemd does not run."""
    if HAS_SYSTEMD:
        start_unit(unit, command)
    else:
        start_process(command)


def fork_process(work):
    """Calls `work()` in a process that is no child of this one, without a new start of Python. Not for a process
    that has used the core: a fork does not copy its threads."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            if os.fork() == 0:
                os.chdir("/")
                close_streams()
                work()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def _run(argv):
    pipe = subprocess.PIPE
    return subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, timeout=TIMEOUT)
