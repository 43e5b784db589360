"""Starts the process that frees an SR's space, so that it outlives the SM command that found it needed."""

import os
import subprocess

from smblock import detached

ADMIN = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "smblock-admin")


def start(sr_uuid, device_config, log):
    """Starts it, unless one is at work. If that fails it is logged: the next scan tries again."""
    command = [ADMIN, "reclaim", "--background", "--sr", sr_uuid]
    command += ["device-config:%s=%s" % pair for pair in sorted(device_config.items())]
    try:
        detached.start("smblock-reclaim-%s.service" % sr_uuid, command)
    except (OSError, subprocess.SubprocessError) as error:
        log("no worker was started to free the space of SR %s: %s" % (sr_uuid, error))
