"""Asks a guard of several disks of this host to pause or resume them (disks.py).

Disks are paused while this module is imported for their resume: it needs little.
"""

import errno
import json
import os
import re
import socket
import time

DIRECTORY = "/run/smblock/guards"
# What a host replies about a disk: done; it runs, and for how many seconds it was paused. Any other reply is an error.
DONE, RAN = "", "ran "
READY_SECONDS = 10  # for a guard to start
ASK_SECONDS = 25  # the caller's own deadline is longer
POLL = 0.02
SILENT = "the guard did not %s the disks within %d s: a tapdisk has requests that do not end, or does not reply"
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
# There is no guard, or it has ended.
_ABSENT = (errno.ENOENT, errno.ECONNREFUSED)


def path_of(name):
    """The socket of the guard of that name."""
    return os.path.join(DIRECTORY, name + ".socket")


def ask(name, what, ready=0):
    """Has a guard do its method `what`. Returns its results by UUID. Waits for the guard's start up to `ready` seconds.

    Returns None if there is no guard: nothing was done. Raises `OSError` if it does not reply.
    """
    end = time.monotonic() + ready
    while True:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asked:
            asked.settimeout(ASK_SECONDS)
            try:
                asked.connect(path_of(name))
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
                if time.monotonic() > end:
                    return None
            else:
                return _talk(asked, what)
        time.sleep(POLL)


def _talk(asked, what):
    try:
        asked.sendall(what.encode() + b"\n")
        with asked.makefile("rb") as reader:
            reply = reader.read().decode()
    except socket.timeout:
        raise OSError(SILENT % (what, ASK_SECONDS)) from None
    if not reply:
        raise OSError("the guard has ended without a reply")
    return json.loads(reply)


def resume_disks(_, args):
    """The plugin's function: resumes several disks of this host, and ends their guard."""
    vdi_uuids = args["vdis"].split(",")
    for each in [args["sr"], args["guard"], *vdi_uuids]:  # they become parts of paths
        if _UUID.match(each) is None:
            raise ValueError("%r is no UUID" % each)
    return json.dumps(resume(args["sr"], vdi_uuids, args["guard"]))


def resume(sr_uuid, vdi_uuids, name):
    """Resumes disks of this host. Returns the results of `Disks.resume`."""
    try:
        done = ask(name, "resume")
    except OSError:
        done = None
    if done is not None:
        return done
    from smblock.disks import Disks  # the guard was killed

    return Disks(sr_uuid, vdi_uuids, name).resume_and_release()
