"""Starts the reclaim worker, the process that frees an SR's space. It outlives the SM command that starts it."""

import os
import subprocess

from smblock import detached

ADMIN = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "smblock-admin")


def start(sr_uuid, device_config, log):
    """Starts the worker, unless one runs. A failure is only logged: the next scan tries again."""
    command = [ADMIN, "reclaim", "--background", "--sr", sr_uuid]
    command += ["device-config:%s=%s" % pair for pair in sorted(device_config.items())]
    try:
        detached.start("smblock-reclaim-%s.service" % sr_uuid, command)
    except (OSError, subprocess.SubprocessError) as error:
        log("SR %s: cannot start the reclaim worker that frees its space: %s" % (sr_uuid, error))
