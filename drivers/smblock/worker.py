"""Starts the process that frees an SR's space, so that it outlives the SM command that found it needed."""

import os
import subprocess

ADMIN = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "smblock-admin")
HAS_SYSTEMD = os.path.isdir("/run/systemd/system")
TIMEOUT = 5  # seconds that each command of systemd may take


def start(sr_uuid, device_config, log):
    """Starts it, unless one is at work. Where that fails it is logged: the next scan tries again."""
    command = [ADMIN, "reclaim", "--background", "--sr", sr_uuid]
    command += ["device-config:%s=%s" % pair for pair in sorted(device_config.items())]
    try:
        if HAS_SYSTEMD:
            _start_unit("smblock-reclaim-%s.service" % sr_uuid, command)
        else:
            _start_detached(command)
    except (OSError, subprocess.SubprocessError) as error:
        log("no worker was started to free the space of SR %s: %s" % (sr_uuid, error))


def _start_unit(unit, command):
    """A unit is no child of xapi's, and its name keeps a second one from starting."""
    # One that was killed would keep its name. (systemd-run --collect is newer than XCP-ng 8.3.)
    _run(["systemctl", "reset-failed", unit])
    done = _run(["systemd-run", "--unit=" + unit, *command])
    said = done.stderr.decode(errors="replace").strip()
    if done.returncode != 0 and "already" not in said:
        raise OSError("systemd-run: " + said)


def _run(argv):
    pipe = subprocess.PIPE
    return subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, timeout=TIMEOUT)


def _start_detached(command):
    """xapi reads the command's output until everybody has closed it: this one never has it open."""
    null = subprocess.DEVNULL
    subprocess.Popen(command, stdin=null, stdout=null, stderr=null, cwd="/", start_new_session=True)
