"""The server of exports on this host: its directory, its control socket, and its start."""

import configparser
import contextlib
import errno
import fcntl
import json
import os
import socket
import subprocess
import time

from smblock.detached import HAS_SYSTEMD, start_process
from smblock.sm import util

DIRECTORY = "/run/smblock/export"
CONF = "/etc/smblock/export.conf"
UNIT = "smblock-export.service"
PROGRAM = "/opt/xensource/sm/smblock-export-server"
START_SECONDS = 20
# The server waits 10 s for the last requests of a client.
ASK_SECONDS = 15
LOCK_SECONDS = 60


class ServerError(util.SMException):
    """The server did not do what it was asked for."""


def settings():
    """The pairs of export.conf. Raises `ServerError` if it cannot be used; the server refuses pairs that are wrong."""
    parser = configparser.ConfigParser(interpolation=None, default_section="")
    try:
        with open(CONF) as file:
            parser.read_file(file)
    except FileNotFoundError:
        return {}
    except configparser.Error as error:
        raise ServerError("%s cannot be read: %s" % (CONF, str(error).replace("\n", " "))) from error
    found = dict(parser["export"]) if parser.has_section("export") else {}
    # As a setting that does not exist, which the server refuses: it would have no effect.
    found.update(("[%s]" % name, "") for name in parser.sections() if name != "export")
    _require_private(found.get("key"))
    return found


def _require_private(path):
    """Refuses the file of a key that others than root can read."""
    try:
        mode = os.stat(path).st_mode if path else 0
    except OSError:
        return  # the server has the error
    if mode & 0o077:
        raise ServerError("others than root can use the key %s: chmod 600 %s" % (path, path))


def ask(command):
    """Sends a command to the server. Returns its reply, or None if no server runs."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asked:
        asked.settimeout(ASK_SECONDS)
        try:
            asked.connect(os.path.join(DIRECTORY, "control"))
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ECONNREFUSED):
                return None
            raise
        asked.sendall(json.dumps(command).encode() + b"\n")
        with asked.makefile("rb") as reader:
            reply = json.loads(reader.read().decode())
    if "error" in reply:
        raise ServerError("the server of exports: %s" % reply["error"])
    return reply


def status():
    """The server's address, its exports and its clients. None if no server runs."""
    return ask({"do": "status"})


def start():
    """Has the server run, now and after each boot. Raises `ServerError` with the reason if it does not."""
    if HAS_SYSTEMD:
        _systemctl("enable", UNIT)
    if status() is not None:
        return
    util.force_unlink(_failure())
    if HAS_SYSTEMD:
        _systemctl("restart", UNIT)
    else:
        start_process([PROGRAM])
    end = time.monotonic() + START_SECONDS
    while status() is None:
        if os.path.exists(_failure()) or time.monotonic() > end:
            raise ServerError(_reason())
        time.sleep(0.05)


def stop():
    """Ends the server. It does not start at the next boot."""
    if HAS_SYSTEMD:
        _systemctl("disable", "--now", UNIT)


def note_failure(text):
    """Keeps the reason why the server has ended, for the command that has started it."""
    os.makedirs(DIRECTORY, mode=0o700, exist_ok=True)
    _write(_failure(), text)


def vdis():
    """The UUIDs of the VDIs that the server has."""
    try:
        names = os.listdir(_exports())
    except FileNotFoundError:
        return []
    return [name[: -len(".json")] for name in names if name.endswith(".json")]


def put(vdi_uuid, facts):
    """Adds an export to the server's directory, or replaces it."""
    os.makedirs(_exports(), mode=0o700, exist_ok=True)
    _write(_file(vdi_uuid), json.dumps(facts))


def facts(vdi_uuid):
    """What `put` has written. Empty if the server does not have the export."""
    try:
        with open(_file(vdi_uuid)) as file:
            return json.load(file)
    except FileNotFoundError:
        return {}


def take(vdi_uuid, force):
    """Removes an export from the server. With `force` its clients lose it.

    Raises `ServerError` if a client uses it, or if the kernel still has requests of one.
    """
    reply = ask({"do": "remove", "vdi": vdi_uuid, "force": force})
    if reply is None:
        util.force_unlink(_file(vdi_uuid))
    elif not reply["removed"]:
        raise ServerError("%s uses it: end that client, or add --force, which ends its connection" % reply["client"])
    elif "pending" in reply:
        raise ServerError(
            "the device has not returned the requests of %s: try again when it has, or when the device is gone"
            % reply["pending"]
        )


@contextlib.contextmanager
def changing(vdi_uuid):
    """One process, and one thread of it, at a time changes the export of a VDI. A plug may take minutes."""
    with _locked("changing-" + vdi_uuid, "the export of VDI %s" % vdi_uuid):
        yield


@contextlib.contextmanager
def choosing():
    """One process or thread at a time changes which exports this host has. No step in it waits for storage. One that
    has `changing` may take it, not the other way round."""
    with _locked("changing", "the exports of this host"):
        yield


@contextlib.contextmanager
def _locked(name, what):
    os.makedirs(DIRECTORY, mode=0o700, exist_ok=True)
    end = time.monotonic() + LOCK_SECONDS
    with open(os.path.join(DIRECTORY, name), "w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    text = "another process changes %s: `fuser -v %s` shows it" % (what, file.name)
                    raise ServerError(text) from None
                time.sleep(0.05)
        yield


def _exports():
    return os.path.join(DIRECTORY, "exports")


def _file(vdi_uuid):
    return os.path.join(_exports(), vdi_uuid + ".json")


def _failure():
    return os.path.join(DIRECTORY, "failure")


def _reason():
    try:
        with open(_failure()) as file:
            return file.read()
    except FileNotFoundError:
        return "the server of exports has not started in %d s: see `systemctl status %s`" % (START_SECONDS, UNIT)


def _write(path, text):
    new = os.path.join(os.path.dirname(path), ".%s.new" % os.path.basename(path))
    with open(new, "w") as file:
        file.write(text)
    os.rename(new, path)


def _systemctl(*words):
    pipe = subprocess.PIPE
    try:
        done = subprocess.run(["systemctl", *words], stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, timeout=30)
    except subprocess.TimeoutExpired as error:
        raise ServerError(str(error)) from error
    if done.returncode != 0:
        text = done.stderr.decode(errors="replace").strip()
        raise ServerError("systemctl %s: %s" % (" ".join(words), text))
