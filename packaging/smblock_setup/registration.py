"""Lets xapi run smblock's drivers: adds their types to the option sm-plugins.

xapi's files replace the list of the files before them. So a file of smblock's own, which xapi reads last, contains the
list that the other files make, and smblock's types. It is made anew before each start of xapi and after each update of
xapi: a type that an update adds is in it. No other file is written.

If xapi's sm-dir is not the directory of the drivers, links to them are made there.
"""

import collections
import glob
import os

from smblock_setup import DRIVERS, SM_HOME, SetupError, atomic, below, reason, xapi_conf

FILE = xapi_conf.DIRECTORY + "/zz-smblock.conf"
LOCK_SECONDS = 20
_HEADER = """\
# smblock-setup writes this file before each start of xapi: a change by hand is lost.
"""
_LINKED = "# drivers are linked in: "

Plan = collections.namedtuple("Plan", "content types warnings directory")
"""The bytes of FILE; the list in force with it; what an administrator should look at; where drivers are linked."""


def register(root):
    """Adds the types. Returns the Plan, and whether a file changed."""
    directory = below(root, xapi_conf.DIRECTORY)
    os.makedirs(directory, exist_ok=True)
    with locked(root):
        plan = make_plan(root)
        changed = _link_drivers(root, plan.directory)
        target = below(root, FILE)
        if _content(target) != plan.content:
            _remove_scratch(root)
            atomic.write(target, plan.content, scratch=below(root, "/etc"))
            changed = True
    return plan, changed


def unregister(root):
    """Undoes `register`. Returns whether there was something to undo."""
    if not os.path.isdir(below(root, xapi_conf.DIRECTORY)):
        return False
    with locked(root):
        changed = _link_drivers(root, None)
        _remove_scratch(root)
        return atomic.remove(below(root, FILE)) or changed


def locked(root):
    """The lock of all registrations of a host."""
    return atomic.locked(below(root, xapi_conf.DIRECTORY), LOCK_SECONDS)


def make_plan(root):
    """What FILE has to contain now. Writes nothing."""
    found = xapi_conf.option(root, "sm-plugins", [path for path in xapi_conf.files(root) if path != FILE])
    if found is None:
        text = "no file of xapi's sets sm-plugins: %s is damaged or missing. yum reinstall xapi-core restores it"
        raise SetupError(text % xapi_conf.MAIN)
    listed = xapi_conf.fields(found.value)
    allowed = {name.lower() for name in listed}
    missing = [name.encode() for name in DRIVERS if b"*" not in listed and name.encode() not in allowed]
    if missing and found.file != xapi_conf.MAIN and os.fsencode(found.file) > os.fsencode(FILE):
        text = "%s sets sm-plugins, and xapi reads it after %s. Rename it: mv %s %s/90-%s"
        name = os.path.basename(found.file).lstrip("z-")
        raise SetupError(text % (found.file, FILE, found.file, xapi_conf.DIRECTORY, name))
    listed += missing
    lines = [_HEADER.encode()]
    directory = xapi_conf.sm_dir(root)
    if directory != SM_HOME:
        _missing_links(root, directory)
        lines.append(("%s%s\n" % (_LINKED, directory)).encode("utf-8", "surrogateescape"))
    if missing:
        lines.append(b"# The list of %s, line %d, and smblock's types.\n" % (_printable(found.file), found.line))
        lines.append(b"sm-plugins=" + b" ".join(listed) + b"\n")
    else:
        lines.append(b"# The list of %s, line %d, has smblock's types.\n" % (_printable(found.file), found.line))
    types = [name.decode("utf-8", "replace") for name in listed]
    warnings = list(_warnings(root, found, types))
    return Plan(b"".join(lines), types, warnings, None if directory == SM_HOME else directory)


def effective_types(root):
    """The types that xapi allows when it starts next, in lower case, or None if no file sets the list."""
    found = xapi_conf.option(root, "sm-plugins")
    if found is None:
        return None
    return [name.decode("utf-8", "replace").lower() for name in xapi_conf.fields(found.value)]


def _warnings(root, found, types):
    at = "%s, line %d" % (found.file, found.line)
    quoted = [name for name in types if "'" in name or '"' in name]
    if quoted:
        yield "%s: xapi takes a quote for a part of the name, and does not run %s" % (at, " ".join(quoted))
    if not xapi_conf.fields(found.value):
        yield "%s: the list is empty: xapi runs no other driver than smblock's" % at
    hidden = [] if "*" in types else sorted(set(_types_of_main(root)) - {name.lower() for name in types})
    if hidden:
        yield "%s: the list hides types that %s has: %s" % (at, xapi_conf.MAIN, " ".join(hidden))


def _types_of_main(root):
    found = xapi_conf.option(root, "sm-plugins", [xapi_conf.MAIN])
    return [name.decode("utf-8", "replace").lower() for name in xapi_conf.fields(found.value)] if found else []


def _printable(path):
    return "".join(letter if letter.isprintable() else "?" for letter in path).encode("utf-8", "replace")


def _content(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SetupError("reading %s: %s" % (path, reason(error))) from error


def _remove_scratch(root):
    """Removes what a killed registration left. The lock is held: no other one is under way."""
    for path in glob.glob(os.path.join(glob.escape(below(root, "/etc")), atomic.SCRATCH + "????????")):
        if os.path.isfile(path):
            atomic.remove(path)


def _link_drivers(root, directory):
    """Links the drivers in `directory`, and no longer in the one that FILE names; returns whether a link changed."""
    changed = False
    before = _linked_directory(root)
    if before and before != directory:
        for name in DRIVERS.values():
            if _destination(root, before, name) == _driver(name):
                changed = atomic.remove(below(root, os.path.join(before, name))) or changed
    if directory and os.path.isdir(below(root, directory)):
        for name in _missing_links(root, directory):
            os.symlink(_driver(name), below(root, os.path.join(directory, name)))
            changed = True
    return changed


def _missing_links(root, directory):
    missing = [name for name in DRIVERS.values() if _destination(root, directory, name) != _driver(name)]
    for path in (os.path.join(directory, name) for name in missing):
        if os.path.lexists(below(root, path)):
            text = "%s is not smblock's, and xapi would run it for SRs of smblock's type. Move it away, then try again"
            raise SetupError(text % path)
    return missing


def _driver(name):
    return "%s/%s.py" % (SM_HOME, name)


def _destination(root, directory, name):
    try:
        return os.readlink(below(root, os.path.join(directory, name)))
    except OSError:
        return None


def _linked_directory(root):
    for line in (_content(below(root, FILE)) or b"").split(b"\n"):
        if line.startswith(_LINKED.encode()):
            return os.fsdecode(line[len(_LINKED) :])
    return None
