"""What smblock installs where. install.sh and the RPM both take it from here."""

import collections
import os

from smblock_setup import SM_HOME

LIBEXEC = "/opt/xensource/libexec"
# Directories beside this package, and where their files go. A file that can be executed here can be executed there.
DIRECTORIES = {
    "bugtool": "/etc/xensource/bugtool",
    "completion": "/usr/share/bash-completion/completions",
    "grafana": "/usr/share/smblock/grafana",
    "man": "/usr/share/man/man8",
    "modules-load.d": "/etc/modules-load.d",
    "systemd": "/etc/systemd/system",
    "xapi": "/etc/xapi.d",
}
# Links in /usr/bin, and the program of SM_HOME that each runs. SM_HOME has the package `smblock`, and so no file of
# that name.
COMMANDS = {"smblock": "smblock-admin", "smblock-admin": "smblock-admin"}
MANIFEST = "/var/lib/smblock/installed.json"
# What the driver writes on a host, besides /run.
STATE = "/var/lib/smblock"

Item = collections.namedtuple("Item", "path source mode link")
"""A path of the host; the file that is installed there, and its mode; or a link's destination."""


def items(package, core):
    """All items, in the order in which they are put in place: what is called first, its callers after it.

    A driver that xapi starts in between finds a core that is at least as new as itself. `package` is the directory of
    install.sh, `core` the directory of the unpacked wheel.
    """
    yield _file(SM_HOME + "/smblock/_core.abi3.so", os.path.join(core, "smblock/_core.abi3.so"), 0o755)
    for name in _files(os.path.join(core, "smblock")):
        if not name.endswith(".so"):
            yield _file("%s/smblock/%s" % (SM_HOME, name), os.path.join(core, "smblock", name), 0o644)
    setup = os.path.join(package, "packaging")
    for name in _files(os.path.join(setup, "smblock_setup")):
        yield _file("%s/smblock_setup/%s" % (LIBEXEC, name), os.path.join(setup, "smblock_setup", name), 0o644)
    yield _file(LIBEXEC + "/smblock-setup", os.path.join(setup, "smblock-setup"), 0o755)
    for directory in sorted(DIRECTORIES):
        for name in _files(os.path.join(setup, directory)):
            source = os.path.join(setup, directory, name)
            yield _file("%s/%s" % (DIRECTORIES[directory], name), source, _mode(source))
    for directory in ("provisioners/ssh", "drivers"):
        for name in sorted(os.listdir(os.path.join(package, directory))):
            path = os.path.join(package, directory, name)
            if os.path.isfile(path):
                yield _file("%s/%s" % (SM_HOME, name), path, _mode(path))
    for name in sorted(COMMANDS):
        yield Item("/usr/bin/" + name, None, None, "%s/%s" % (SM_HOME, COMMANDS[name]))
    # xapi executes the name without suffix. SM imports the file that it points to, by its suffix.
    for name in sorted(os.listdir(os.path.join(package, "drivers"))):
        if name.endswith("SR.py"):
            yield Item("%s/%s" % (SM_HOME, name[: -len(".py")]), None, None, name)


def _mode(source):
    return 0o755 if os.access(source, os.X_OK) else 0o644


def _file(path, source, mode):
    return Item(path, source, mode, None)


def _files(directory):
    """The files below a directory, as paths in it, without Python's caches."""
    for parent, directories, names in os.walk(directory):
        directories[:] = sorted(name for name in directories if name != "__pycache__")
        for name in sorted(names):
            yield os.path.relpath(os.path.join(parent, name), directory)
