"""This host: its programs, each with a deadline, and its xapi."""

import collections
import contextlib
import os
import signal
import subprocess

from smblock_setup import SetupError

PYTHON = "/usr/bin/python3"
XAPI_SECONDS = 60
RESTART = "xe-toolstack-restart"
_ENVIRONMENT = {"PATH": "/opt/xensource/bin:/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}

Done = collections.namedtuple("Done", "status output error")
"""The exit status of a program, or None if it did not end in time or does not exist; what it printed."""


def run(argv, seconds, environment=None, data=None):
    """Runs a program. A program that does not exist or does not end in time has the status None."""
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL if data is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment or own_environment(),
            start_new_session=True,
        )
    except OSError as error:
        return Done(None, "", "%s: %s" % (argv[0], error.strerror))
    try:
        output, error = process.communicate(data, seconds)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return Done(None, "", "%s did not end within %g s" % (argv[0], seconds))
    return Done(process.returncode, output.decode("utf-8", "replace"), error.decode("utf-8", "replace"))


def own_environment(**more):
    """The environment that xapi gives to a driver, as far as it matters, and variables of the caller's own."""
    kept = {name: os.environ[name] for name in ("PYTHONPATH", "LD_LIBRARY_PATH") if name in os.environ}
    return dict(_ENVIRONMENT, **dict(kept, **more))


def last_line(text):
    """The last line that is not empty: of a traceback, the error itself."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no text"


@contextlib.contextmanager
def xapi(seconds=XAPI_SECONDS):
    """The XenAPI of this host's xapi, logged in. SetupError if it does not reply in time."""
    try:
        import XenAPI
    except ImportError as error:
        raise SetupError("Python's module XenAPI is missing (%s): yum reinstall sm xapi-core" % error) from error

    def too_late(_signal, _frame):
        raise SetupError("xapi does not reply within %d s: run %s" % (seconds, RESTART))

    before = signal.signal(signal.SIGALRM, too_late)
    signal.alarm(seconds)
    try:
        session = XenAPI.xapi_local()
        session.xenapi.login_with_password("root", "", "1.0", "smblock-setup")
        try:
            yield session.xenapi
        finally:
            with contextlib.suppress(Exception):  # it ends with this process in any case
                session.xenapi.session.logout()
    except (OSError, XenAPI.Failure) as error:
        raise SetupError("xapi does not reply: %s. Start it: %s" % (error, RESTART)) from error
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def records(xenapi, name, key, value):
    """XAPI's records of a class of which a field has that value, by reference."""
    return getattr(xenapi, name).get_all_records_where('field "%s" = "%s"' % (key, value))


def own_uuid(root=""):
    """This host's UUID, as XAPI has it."""
    path = os.path.join(root or "/", "etc/xensource-inventory")
    with contextlib.suppress(OSError), open(path) as lines:
        for line in lines:
            key, _, value = line.partition("=")
            if key.strip() == "INSTALLATION_UUID":
                return value.strip().strip("'\"")
    raise SetupError("%s has no INSTALLATION_UUID: is this an XCP-ng host?" % path)
